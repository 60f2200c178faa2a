"""Definitions on a real database, with peers in memory."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from mlops.features.v1 import feature_view_pb2 as pb
from mlops.processing.v1 import pipeline_pb2, plan_pb2
from mlops.processing.v1 import processing_job_pb2 as job_pb
from sqlalchemy import Engine

from servers.features.definitions.entities import EntityManagement
from servers.features.definitions.records import ViewVersion, Wanted
from servers.features.definitions.services import ServiceManagement, ServiceRequest
from servers.features.definitions.view_sources import ViewSources
from servers.features.definitions.views import ViewManagement, ViewRequest
from servers.features.online import JoinKey, JoinKeyType
from servers.features.store.definitions import Definitions
from servers.features.store.online_states import OnlineStates
from servers.features.store.revision import Revision
from servers.runtime.auth import Principal
from servers.runtime.data_process.errors import OperationFailed
from servers.runtime.errors import DomainError

FLIGHTS = {"carrier": "string", "at": "timestamp[us, tz=UTC]", "delay": "double", "seats": "int64"}
EVERYTHING = Principal("ada", "ada", "user", {"*": frozenset({"*"})})


def failed(code: str, reason: str, **metadata: str) -> DomainError:
    return OperationFailed(code, reason, reason, metadata=metadata)


@dataclass
class Datasets:
    """Datasets in memory."""

    there: dict[str, Mapping[str, str]] = field(default_factory=lambda: {"flights": FLIGHTS})

    def dataset(self, project: str, name: str) -> Any:
        found = self.dataset_or_none(project, name)
        if found is None:
            raise failed("NOT_FOUND", "DATASET_NOT_FOUND")
        return found

    def dataset_or_none(self, project: str, name: str) -> Any:
        return Columns(tuple(self.there[name].items())) if name in self.there else None


@dataclass(frozen=True)
class Columns:
    columns: tuple[tuple[str, str], ...]


@dataclass
class Pipelines:
    """Pipelines in memory; whatever a statement is, it gives the same columns."""

    there: dict[str, pipeline_pb2.Pipeline] = field(default_factory=dict)
    running: set[str] = field(default_factory=set)

    def explain(self, project: str, spec: job_pb.JobSpec) -> job_pb.JobExplanation:
        step = job_pb.StepExplanation(step="result")
        for name, kind in FLIGHTS.items():
            step.columns.add(name=name, type=kind)
        return job_pb.JobExplanation(plan=plan_pb2.Plan(outputs=["result"]), steps=[step])

    def create_pipeline(
        self, project: str, name: str, spec: pipeline_pb2.PipelineSpec, *, validate_only: bool = False, **more: Any
    ) -> None:
        if name in self.there:
            raise failed("ALREADY_EXISTS", "PIPELINE_EXISTS")
        if not validate_only:
            self.there[name] = pipeline_pb2.Pipeline(name=name, spec=spec)

    def delete_pipeline(self, project: str, name: str) -> None:
        if name in self.running:
            raise failed("FAILED_PRECONDITION", "PIPELINE_IN_USE", job_id="j")
        if self.there.pop(name, None) is None:
            raise failed("NOT_FOUND", "PIPELINE_NOT_FOUND")


class Stored:
    """Management of definitions on a database."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.project = f"p-{uuid.uuid4().hex[:8]}"
        self.datasets, self.pipelines = Datasets(), Pipelines()
        self.dropped: list[str] = []
        self.refused: list[str] = []
        self.revision = Revision(engine)
        self.online = OnlineStates(engine, self.revision)
        self.definitions = Definitions(engine)
        seconds = itertools.count()

        def clock() -> datetime:
            return datetime(2026, 11, 27, tzinfo=UTC) + timedelta(seconds=next(seconds))

        def make_id() -> str:
            return str(uuid.uuid4())

        sources = ViewSources(self.datasets, self.pipelines)
        self.entities = EntityManagement(engine, self.revision, clock)
        self.views = ViewManagement(engine, self.revision, sources, self.online, self.drop_online, clock, make_id)
        self.services = ServiceManagement(engine, self.revision, self.check_on_demand, clock, make_id)

    def drop_online(self, version: ViewVersion) -> None:
        self.dropped.append(version.online_name(0))

    def check_on_demand(self, wanted: Wanted) -> None:
        for each in wanted.on_demand:
            if each.expression in self.refused:
                raise failed("INVALID_ARGUMENT", "NO_EXPRESSION")

    def entity(self, name: str = "carrier", **more: Any) -> None:
        self.entities.create(self.project, name, (JoinKey("carrier", JoinKeyType.STRING),), EVERYTHING, **more)

    def spec(self, *features: str, source: str = "dataset", **more: Any) -> pb.FeatureViewSpec:
        sources: dict[str, Any] = {
            "dataset": pb.DatasetSource(dataset="flights"),
            "push": pb.PushSource(),
            "computed": pb.ComputedSource(inputs=[pipeline_pb2.PipelineInput(name="f", dataset="flights")], sql="SELECT * FROM f"),
        }
        named = [pb.Feature(name=each) for each in features or ("delay",)]
        given: dict[str, Any] = {"entities": ["carrier"], "event_time_column": "at", "features": named, source: sources[source]}
        return pb.FeatureViewSpec(**(given | more))

    def view(self, name: str, *features: str, is_kept: bool = True, texts: Mapping[str, Any] | None = None, **more: Any) -> Any:
        wanted = ViewRequest(self.project, name, self.spec(*features, **more), **(texts or {}))
        return self.views.create(wanted, EVERYTHING, lambda: None, is_kept=is_kept)

    def update(self, name: str, *, etag: str = "", is_kept: bool = True, **changes: Any) -> Any:
        return self.views.update(self.project, name, changes, EVERYTHING, lambda: None, etag=etag, is_kept=is_kept)

    def service(self, name: str, *selections: pb.FeatureSelection, **more: Any) -> Any:
        spec = pb.FeatureServiceSpec(selections=selections, **more)
        return self.services.create(ServiceRequest(self.project, name, spec), EVERYTHING)
