"""A server of features in this process, over SQLite and LMDB, with views that are put there directly."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from mlops.features.v1 import feature_serving_service_pb2 as pb
from mlops.features.v1 import feature_view_pb2 as view_pb
from mlops.features.v1.feature_serving_service_pb2_grpc import FeatureServingServiceStub, add_FeatureServingServiceServicer_to_server
from sqlalchemy import Engine

from servers.features.definitions.records import Entity, KeyColumn, Service, ServiceVersion, View, ViewVersion
from servers.features.definitions.resolving import resolved
from servers.features.online import JoinKey, JoinKeyType, OnlineStore, open_online_store
from servers.features.peers.ingestion_peer import IngestionPeer, PinnedDataset
from servers.features.serving.plans import ServingPlans
from servers.features.serving.push_times import PushTimes
from servers.features.serving.pushing import Pushing
from servers.features.serving.servicer import ServingServicer
from servers.features.serving.serving import Serving
from servers.features.settings import FeaturesSettings
from servers.features.store.definitions import Definitions
from servers.features.store.entities import Entities
from servers.features.store.online_states import OnlineStates
from servers.features.store.opening import open_store
from servers.features.store.revision import Revision
from servers.features.store.services import Services
from servers.features.store.views import Views
from servers.runtime.audit_events import LogAuditSink
from servers.runtime.server import Registration, build_server
from sql_engine import write
from tests.small_mesh.identity import EVERYTHING, Issuer

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
USER = (JoinKey("user_id", JoinKeyType.INT64),)


@dataclass(frozen=True)
class Refusal:
    """An error as a caller sees it."""

    code: grpc.StatusCode
    reason: str
    message: str
    metadata: Mapping[str, str]


def refusal_of(error: grpc.RpcError) -> Refusal:
    """What a call was refused with."""
    status, info = rpc_status.from_call(error), error_details_pb2.ErrorInfo()
    assert status is not None
    for detail in status.details:
        detail.Unpack(info)
    return Refusal(error.code(), info.reason, status.message, dict(info.metadata))


class NotedIngestion(IngestionPeer):
    """Keeps what is ingested instead of sending it."""

    def __init__(self) -> None:
        super().__init__(None, 0)
        self.taken: list[tuple[str, bytes, str]] = []
        self.columns: tuple[tuple[str, str], ...] = ()
        self.failure: Exception | None = None

    def dataset(self, project: str, name: str, version: int | None = None, check: Any = None) -> PinnedDataset:
        return PinnedDataset(name, version or 1, "file:///nowhere", self.columns)

    def ingest_file(self, project: str, dataset: str, data: bytes, file_format: Any, request_id: str) -> str:
        if self.failure is not None:
            raise self.failure
        self.taken.append((dataset, data, request_id))
        return f"ingestion-{len({taken[2] for taken in self.taken})}"


@dataclass
class ServedFeatures:
    """A running server."""

    engine: Engine
    store: OnlineStore
    states: OnlineStates
    revision: Revision
    ingestion: IngestionPeer
    address: str
    issuer: Issuer
    clock: list[datetime] = field(default_factory=lambda: [NOW])

    def stub(self, grants: Mapping[str, Sequence[str]] = EVERYTHING) -> Any:
        """A stub of a caller."""
        channel = grpc.insecure_channel(self.address)
        return FeatureServingServiceStub(grpc.intercept_channel(channel, _Bearer(self.issuer.bearer(grants))))

    def view(self, features: Mapping[str, str], *, keys: Sequence[JoinKey] = USER, name: str = "", **spec: Any) -> ViewVersion:
        """Makes a view."""
        name = name or f"view_{uuid.uuid4().hex[:8]}"
        whole = view_pb.FeatureViewSpec(
            entities=[name],
            event_time_column=spec.pop("event_time_column", "at"),
            features=[view_pb.Feature(name=each, type=type_name, column=each) for each, type_name in features.items()],
            **(spec or {"push": view_pb.PushSource()}),
        )
        entity = Entity(str(uuid.uuid4()), "default", name, tuple(keys), "", "", {}, 1, "me", NOW, NOW)
        view_id, columns = str(uuid.uuid4()), tuple(KeyColumn(key, whole.key_columns.get(key.name, key.name)) for key in keys)
        version = ViewVersion(str(uuid.uuid4()), view_id, "default", name, 1, whole, columns, f"{name}_rows", "", "me", NOW)
        view = View(view_id, "default", name, "", "", {}, 1, 1, "me", NOW, NOW, version)

        def add(connection: Any) -> None:
            Entities(self.engine).add(connection, entity)
            Views(self.engine).add(connection, view, [entity])
            self.states.add(connection, version.id, None)
            self.revision.bump(connection)

        write(self.engine, add)
        return version

    def begin_building(self, view: ViewVersion) -> int:
        """Begins a full materialisation; returns its generation."""
        return write(self.engine, lambda connection: self.states.begin_building(connection, view.id))

    def service(self, selections: Sequence[view_pb.FeatureSelection], views: Sequence[ViewVersion], **spec: Any) -> str:
        """Makes a service; returns its name."""
        name, service_id = f"service_{uuid.uuid4().hex[:8]}", str(uuid.uuid4())
        whole = view_pb.FeatureServiceSpec(selections=selections, **spec)
        version = ServiceVersion(str(uuid.uuid4()), service_id, "default", name, 1, whole, "me", NOW)
        service = Service(service_id, "default", name, "", "", {}, 1, 1, "me", NOW, NOW, version)
        write(self.engine, lambda connection: Services(self.engine).add(connection, service, views))
        return name

    def push(self, view: ViewVersion, rows: Sequence[Mapping[str, Any]], **more: Any) -> pb.PushFeaturesResponse:
        """Pushes JSON rows, to the online store alone unless said otherwise."""
        request = pb.PushFeaturesRequest(name=view.view, **({"target": pb.PUSH_TARGET_ONLINE} | more))
        request.rows.SetInParent()
        for row in rows:
            request.rows.rows.add().update(row)
        answer: pb.PushFeaturesResponse = self.stub().PushFeatures(request)
        return answer

    def serve(self, what: ViewVersion | str, entities: Mapping[str, Sequence[Any]], inputs: Any = None, **more: Any) -> dict[str, Any]:
        """Asks for features; returns pairs of values and statuses by name."""
        answer = self.stub().ServeFeatures(serve_request(what, entities, inputs, **more))
        return {each.name: (plain(each.values), statuses(each)) for each in answer.features}


def serve_request(
    what: ViewVersion | str, entities: Mapping[str, Sequence[Any]], inputs: Mapping[str, Sequence[Any]] | None = None, **more: Any
) -> pb.ServeFeaturesRequest:
    """A request for all features of a view, or those of a service."""
    request = pb.ServeFeaturesRequest(**more)
    if isinstance(what, str):
        request.feature_service = what
    elif not request.selections:
        request.selections.add(view=what.view, version=what.version)
    for target, given in ((request.entities, entities), (request.request_inputs, inputs or {})):
        for name, values in given.items():
            target[name].CopyFrom(values_of(values))
    return request


def values_of(values: Sequence[Any]) -> pb.Values:
    """Values as a caller gives them."""
    found = pb.Values()
    kind = type(values[0]) if values else int
    if kind is datetime:
        for value in values:
            found.timestamp_values.values.add().FromDatetime(value)
    elif kind is date:
        found.string_values.values.extend(map(str, values))
    else:
        field_of = {bool: "bool_values", int: "int64_values", float: "double_values", str: "string_values", bytes: "bytes_values"}
        getattr(found, field_of[kind]).SetInParent()
        getattr(found, field_of[kind]).values.extend(values)
    return found


def plain(values: pb.Values) -> list[Any]:
    """Values as Python has them; moments as microseconds since 1970."""
    kind = values.WhichOneof("kind")
    found = getattr(values, kind)
    if kind == "list_values":
        elements = iter(getattr(found, found.WhichOneof("elements")).values)
        return [[next(elements) for _ in range(length)] for length in found.lengths]
    return [each.ToMicroseconds() if isinstance(each, Timestamp) else each for each in found.values]


def statuses(feature: pb.ServedFeature) -> list[str]:
    """Names of statuses."""
    return [pb.ValueStatus.Name(each).removeprefix("VALUE_STATUS_") for each in feature.statuses]


@contextmanager
def served(folder: Path, ingestion: IngestionPeer | None = None, *, database_url: str = "") -> Iterator[ServedFeatures]:
    """A server as long as the block runs."""
    settings = FeaturesSettings(
        data_dir=folder,
        listen=f"unix:{folder}/features.sock",
        drain_s=0,
        database_url=database_url,
        max_served_rows=100,
        max_pushed_rows=100,
    )
    engine, store, issuer = open_store(settings), open_online_store(f"lmdb://{folder}/online"), Issuer()
    revision = Revision(engine)
    states, definitions, clock = OnlineStates(engine, revision), Definitions(engine), [NOW]
    peer = ingestion or NotedIngestion()
    plans = ServingPlans(partial(resolved, definitions), states, revision, max_age_s=settings.definitions_age_s)
    serving = Serving(plans, store, max_rows=settings.max_served_rows, clock=lambda: clock[0])
    pushing = Pushing(
        definitions,
        states,
        PushTimes(engine),
        store,
        peer,
        max_rows=settings.max_pushed_rows,
        max_future_s=settings.max_future_s,
        clock=lambda: clock[0],
    )
    registration = Registration(add_FeatureServingServiceServicer_to_server, ServingServicer(serving, pushing))
    server = build_server(
        settings,
        [registration],
        component=settings.component,
        database=engine,
        verifier=issuer.verifier(),
        audit=LogAuditSink(),
        on_close=[store.close],
    )
    server.start()
    try:
        yield ServedFeatures(engine, store, states, revision, peer, server.address, issuer, clock)
    finally:
        server.stop()


class _Bearer(grpc.UnaryUnaryClientInterceptor):
    """Shows a token with each call."""

    def __init__(self, metadata: list[tuple[str, str]]) -> None:
        self._metadata = metadata

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return continuation(client_call_details._replace(metadata=self._metadata), request)
