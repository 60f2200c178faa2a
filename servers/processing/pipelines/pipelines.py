"""Pipelines as their callers handle them: made, changed, run, checked, looked at."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from mlops.processing.v1 import pipeline_pb2 as pb
from sqlalchemy import Connection, Engine

from servers.processing.jobs.checking import Checking
from servers.processing.jobs.jobs import JobRequest, Processing
from servers.processing.pipelines.errors import PipelineChanged, PipelineExists, PipelineNotFound, PipelineNotRun
from servers.processing.pipelines.records import (
    NewPipeline,
    OutputQuality,
    Pipeline,
    PipelineVersion,
    QualityAlert,
    RunMode,
    RunRequest,
)
from servers.processing.pipelines.running import PipelineStores
from servers.processing.pipelines.specs import (
    check_job_of,
    check_parts,
    check_rules,
    computation_of,
    discarding_reason,
    filled,
    input_keys,
    job_of,
    keys_of,
)
from servers.processing.records import Job
from servers.runtime.auth import Principal
from servers.runtime.effects import effect_id
from servers.runtime.etags import check_etag, etag_of
from servers.runtime.paging import Listing
from sql_engine import write


@dataclass(frozen=True)
class PipelineRequest:
    """A pipeline that somebody wants.

    Args:
        project: Where.
        name: Its name.
        spec: What it is to do.
        display_name: For people.
        description: What it is for.
        labels: Labels.
    """

    project: str
    name: str
    spec: pb.PipelineSpec
    display_name: str = ""
    description: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


class PipelineManagement:
    """Makes, changes and runs pipelines.

    Args:
        engine: The component's database.
        stores: What is kept of pipelines.
        processing: Takes jobs.
        checking: Checks them.
    """

    def __init__(self, engine: Engine, stores: PipelineStores, processing: Processing, checking: Checking) -> None:
        self._engine = engine
        self._pipelines = stores.pipelines
        self._runs = stores.runs
        self._quality = stores.quality
        self._clock = stores.clock
        self._processing = processing
        self._checking = checking

    def create(self, request: PipelineRequest, caller: Principal, check: Callable[[], None], *, is_kept: bool = True) -> Pipeline:
        """Checks a pipeline and makes it.

        Args:
            request: The pipeline.
            caller: Who wants it, with her rights.
            check: Called now and then while it is checked.
            is_kept: Whether it is made; else it is only checked.

        Raises:
            PipelineExists: The project has one of the name.
            DomainError: What is wrong with it.
        """
        with suppress(PipelineNotFound):
            known = self._pipelines.get(request.project, request.name)
            if known.id == effect_id():
                return known  # made by an earlier attempt at this request
            raise PipelineExists(request.project, request.name)
        spec, full_only_reason = self._checked(request.spec, request.project, caller, check)
        now = self._clock()
        new = NewPipeline(
            id=effect_id(),
            project=request.project,
            name=request.name,
            display_name=request.display_name,
            description=request.description,
            labels=dict(request.labels),
            spec=spec,
            full_only_reason=full_only_reason,
            creator=caller.display_name,
            create_time=now,
        )
        if is_kept:
            write(self._engine, lambda connection: self._pipelines.add(connection, new))
            return self._pipelines.get(new.project, new.name)
        return Pipeline(**vars(new), version=1, newest_version=1, revision=1, checkpoint=None, running_job_id="", update_time=now)

    def get(self, project: str, name: str, version: int | None = None) -> Pipeline:
        """Returns a pipeline, as it is or as a version of it was.

        Raises:
            PipelineNotFound: The project has none of this name.
            PipelineVersionNotFound: It has no such version.
        """
        return self._pipelines.get(project, name, version)

    def page(self, project: str, listing: Listing) -> tuple[list[Pipeline], str]:
        """Returns a page of a project's pipelines, and the token of the next one."""
        return self._pipelines.page(project, listing)

    def versions(self, project: str, name: str, listing: Listing) -> tuple[list[PipelineVersion], str]:
        """Returns a page of a pipeline's versions, and the token of the next one."""
        return self._pipelines.versions(project, name, listing)

    def update(
        self,
        project: str,
        name: str,
        changes: Mapping[str, Any],
        caller: Principal,
        check: Callable[[], None],
        *,
        etag: str,
        is_kept: bool = True,
    ) -> Pipeline:
        """Changes a pipeline.

        Args:
            project: Its project.
            name: Its name.
            changes: Of `display_name`, `description`, `labels` and `spec` those that change. A specification that is another one is a
                version.
            caller: Who wants it, with her rights.
            check: Called now and then while it is checked.
            etag: Which was read; empty = whatever it is.
            is_kept: Whether it is changed; else it is only checked.

        Raises:
            PipelineNotFound: The project has none of this name.
            Aborted: It has changed since.
            DomainError: What is wrong with it.
        """
        before = self._pipelines.get(project, name)
        check_etag(etag, pipeline_etag(before))
        spec: tuple[pb.PipelineSpec, str] | None = None
        if "spec" in changes:
            spec = self._checked(changes["spec"], project, caller, check)
            # What is in the way of incremental runs also depends on the columns that inputs have now.
            spec = None if spec[0] == before.spec and spec[1] == before.full_only_reason else spec
        values = {
            key: changes[key] for key in ("display_name", "description") if changes.get(key, getattr(before, key)) != getattr(before, key)
        }
        labels = changes.get("labels")
        labels = None if labels is None or dict(labels) == dict(before.labels) else labels
        now, who = self._clock(), caller.display_name

        def keep(connection: Connection) -> None:
            self._pipelines.change(connection, before, values, labels, spec, who, now)
            if spec is not None:
                self._quality.resolve_all_but(connection, before.id, [rule.name for rule in spec[0].quality_rules], now)

        if not is_kept:
            given, reason = spec or (before.spec, before.full_only_reason)
            version = before.version + (spec is not None)
            changed = {**vars(before), **values, "labels": before.labels if labels is None else labels, "spec": given, "version": version}
            return Pipeline(**{**changed, "full_only_reason": reason, "newest_version": version})
        if values or labels is not None or spec is not None:
            write(self._engine, keep)
        return self._pipelines.get(project, name)

    def delete(self, project: str, name: str, *, etag: str) -> None:
        """Deletes a pipeline with its versions, statistics and alerts.

        Raises:
            PipelineNotFound: The project has none of this name.
            PipelineInUse: A job runs it.
            Aborted: It has changed since.
        """
        before = self._pipelines.get(project, name)
        check_etag(etag, pipeline_etag(before))
        write(self._engine, lambda connection: self._pipelines.remove(connection, before))

    def run(self, project: str, name: str, mode: RunMode, caller: Principal, check: Callable[[], None]) -> Job:
        """Takes a job that brings the outputs of a pipeline up to date.

        Raises:
            PipelineNotFound: The project has none of this name.
            PipelineRunning: A job runs it.
            DomainError: What is wrong with it now.
        """
        while True:
            try:
                return self._run(project, name, mode, caller, check)
            except PipelineChanged:
                # Another one ran, or the pipeline is another one, since its inputs were looked at.
                check()

    def _run(self, project: str, name: str, mode: RunMode, caller: Principal, check: Callable[[], None]) -> Job:
        pipeline = self._pipelines.get(project, name)

        def keep(connection: Connection, job_id: str) -> None:
            base = self._pipelines.begin_run(connection, pipeline, job_id)
            if base != pipeline.checkpoint:
                # The outputs may be of newer versions of the inputs than those that were pinned.
                raise PipelineChanged(name)
            request = RunRequest(
                is_check=False,
                mode=mode,
                computation=computation_of(pipeline.spec),
                key_columns=list(pipeline.spec.keys),
                input_keys=input_keys(pipeline.spec),
                full_only_reason=pipeline.full_only_reason,
                base=base,
            )
            self._runs.add(connection, pipeline, job_id, request)

        request = JobRequest(project, job_of(pipeline.spec), f"run of {name}", pipeline.labels)
        return self._processing.create(request, caller, check, keep)

    def check(self, project: str, name: str, relative_tolerance: float, caller: Principal, check: Callable[[], None]) -> Job:
        """Takes a job that computes everything anew, compares, and writes nothing.

        Raises:
            PipelineNotFound: The project has none of this name.
            PipelineNotRun: There are no outputs of which it is known what they are made of.
            DomainError: What is wrong with it now.
        """
        newest = self._pipelines.get(project, name)
        base = newest.checkpoint
        if base is None:
            raise PipelineNotRun(name, "it has not run before")
        for dataset, output in base.outputs.items():
            if output.version is None:
                raise PipelineNotRun(name, f"somebody else wrote into dataset {dataset!r} while the last run did")
        made_by = self._pipelines.get(project, name, base.pipeline_version)
        request = RunRequest(
            is_check=True,
            mode=RunMode.FULL,
            computation=base.computation,
            key_columns=[],
            input_keys={},
            full_only_reason="",
            base=base,
            relative_tolerance=relative_tolerance,
        )
        job = JobRequest(project, check_job_of(made_by.spec, base), f"check of {name}", newest.labels)
        return self._processing.create(job, caller, check, lambda connection, job_id: self._runs.add(connection, made_by, job_id, request))

    def quality(self, project: str, name: str, listing: Listing) -> tuple[list[OutputQuality], str]:
        """Returns a page of the statistics of a pipeline's outputs, and the token of the next one."""
        return self._quality.page(project, name, listing)

    def alerts(self, project: str, listing: Listing) -> tuple[list[QualityAlert], str]:
        """Returns a page of a project's alerts, and the token of the next one."""
        return self._quality.alerts(project, listing)

    def _checked(self, spec: pb.PipelineSpec, project: str, caller: Principal, check: Callable[[], None]) -> tuple[pb.PipelineSpec, str]:
        """Returns a specification with its defaults, and why its runs can only compute everything."""
        check_parts(spec)
        checked = self._checking.checked(job_of(spec), project, caller, check)
        found = filled(spec, checked.spec)
        keys = keys_of(found.keys, input_keys(found))
        judged = self._checking.look("judge", checked.spec, checked.datasets, check, keys=keys)
        check_rules(found, judged["columns"])
        return found, judged["full_only_reason"] or discarding_reason(found)


def pipeline_etag(pipeline: Pipeline) -> str:
    """Returns what changes when people change a pipeline; that it runs changes nothing."""
    return etag_of(pipeline.id, pipeline.revision)
