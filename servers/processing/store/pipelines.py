"""Pipelines: what they do, and how they stand."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from mlops.processing.v1.pipeline_pb2 import PipelineSpec
from sqlalchemy import ColumnElement, Connection, Engine, and_, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from servers.processing.pipelines.errors import (
    PipelineChanged,
    PipelineExists,
    PipelineInUse,
    PipelineNotFound,
    PipelineRunning,
    PipelineVersionNotFound,
)
from servers.processing.pipelines.records import Checkpoint, NewPipeline, Pipeline, PipelineVersion
from servers.processing.store.job_rows import SOURCE, STATE
from servers.processing.store.pipeline_rows import (
    COLUMNS,
    LIST,
    VERSION_LIST,
    VERSIONS,
    checkpoint_of,
    checkpoint_to_json,
    pipeline_of,
)
from servers.processing.store.pipeline_tables import (
    output_quality,
    pipeline_labels,
    pipeline_versions,
    pipelines,
    quality_alerts,
)
from servers.processing.store.tables import jobs
from servers.runtime.pages import read_page
from servers.runtime.paging import Listing

_FINAL = ("SUCCEEDED", "FAILED", "CANCELLED")


class Pipelines:
    """The pipelines of all projects. Where a method takes a `connection`, it is part of that transaction.

    Args:
        engine: The component's database, from `open_store`.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(self, connection: Connection, new: NewPipeline) -> None:
        """Adds a pipeline as its first version.

        Raises:
            PipelineExists: The project has one of the name.
        """
        if connection.execute(select(pipelines.c.id).where(_is(new.project, new.name))).first() is not None:
            raise PipelineExists(new.project, new.name)
        row = {
            "id": new.id,
            "project": new.project,
            "name": new.name,
            "display_name": new.display_name,
            "description": new.description,
            "version": 1,
            "revision": 1,
            "running_job_id": "",
            "creator": new.creator,
            "create_time": new.create_time,
            "update_time": new.create_time,
        }
        try:
            connection.execute(insert(pipelines).values(row))
        except IntegrityError:
            # Somebody was faster, in between.
            raise PipelineExists(new.project, new.name) from None
        _add_version(connection, new.id, 1, new.spec, new.full_only_reason, new.creator, new.create_time)
        _set_labels(connection, new.id, new.labels)

    def get(self, project: str, name: str, version: int | None = None) -> Pipeline:
        """Returns a pipeline.

        Args:
            project: Its project.
            name: Its name.
            version: Which version; None = the newest.

        Raises:
            PipelineNotFound: The project has none of this name.
            PipelineVersionNotFound: It has no such version.
        """
        with self._engine.connect() as connection:
            return _read(connection, project, name, version)

    def page(self, project: str, listing: Listing) -> tuple[list[Pipeline], str]:
        """Returns a page of a project's pipelines, and the token of the next one.

        Raises:
            aip_filter.QueryError: Filter, order or page token is wrong.
        """
        with self._engine.connect() as connection:
            rows, token = read_page(connection, LIST, listing, pipelines.c.project == project, scope=project)
            labels = _labels(connection, [row["id"] for row in rows])
            return [pipeline_of(row, labels[row["id"]]) for row in rows], token

    def versions(self, project: str, name: str, listing: Listing) -> tuple[list[PipelineVersion], str]:
        """Returns a page of a pipeline's versions, and the token of the next one.

        Raises:
            PipelineNotFound: The project has none of this name.
            aip_filter.QueryError: Filter, order or page token is wrong.
        """
        with self._engine.connect() as connection:
            pipeline_id = id_of(connection, project, name)
            return read_page(connection, VERSION_LIST, listing, pipeline_versions.c.pipeline_id == pipeline_id, scope=pipeline_id)

    def change(
        self,
        connection: Connection,
        before: Pipeline,
        values: Mapping[str, Any],
        labels: Mapping[str, str] | None,
        spec: tuple[PipelineSpec, str] | None,
        who: str,
        now: datetime,
    ) -> None:
        """Changes a pipeline, unless somebody else just did.

        Args:
            connection: Within the transaction.
            before: As it was read.
            values: Columns that change.
            labels: The new ones; None = as they are.
            spec: Of another version, and why it can only compute everything; None = no other version.
            who: Who changes it.
            now: The time.

        Raises:
            PipelineChanged: Somebody did.
        """
        version = before.newest_version + (spec is not None)
        unchanged = and_(pipelines.c.id == before.id, pipelines.c.revision == before.revision)
        changed = {**values, "version": version, "revision": before.revision + 1, "update_time": now}
        if connection.execute(update(pipelines).where(unchanged).values(changed)).rowcount != 1:
            raise PipelineChanged(before.name)
        if spec is not None:
            _add_version(connection, before.id, version, *spec, who, now)
        if labels is not None:
            connection.execute(delete(pipeline_labels).where(pipeline_labels.c.pipeline_id == before.id))
            _set_labels(connection, before.id, labels)

    def remove(self, connection: Connection, before: Pipeline) -> None:
        """Removes a pipeline with its versions, statistics and alerts.

        Raises:
            PipelineInUse: A job runs it.
            PipelineChanged: Somebody changed it meanwhile.
        """
        found = select(pipelines.c.revision, pipelines.c.running_job_id).where(pipelines.c.id == before.id).with_for_update()
        row = connection.execute(found).one_or_none()
        if row is None:
            raise PipelineNotFound(before.project, before.name)
        if row.running_job_id and _runs(connection, row.running_job_id):
            raise PipelineInUse(before.name, row.running_job_id)
        if row.revision != before.revision:
            raise PipelineChanged(before.name)
        for table in (pipeline_labels, pipeline_versions, output_quality, quality_alerts):
            connection.execute(delete(table).where(table.c.pipeline_id == before.id))
        connection.execute(delete(pipelines).where(pipelines.c.id == before.id))

    def begin_run(self, connection: Connection, before: Pipeline, job_id: str) -> Checkpoint | None:
        """Makes a job the one that runs a pipeline, and returns what its outputs are made of.

        Raises:
            PipelineRunning: Another job runs it.
            PipelineChanged: It has another version meanwhile, or is gone.
        """
        # Whatever its database, who changes the row has it until the end of the transaction.
        for holder in ("", self._ended_holder(connection, before.id)):
            free = and_(pipelines.c.id == before.id, pipelines.c.running_job_id == holder, pipelines.c.version == before.version)
            if holder is not None and connection.execute(update(pipelines).where(free).values(running_job_id=job_id)).rowcount == 1:
                found = connection.execute(select(pipelines.c.checkpoint).where(pipelines.c.id == before.id)).scalar_one()
                return checkpoint_of(found)
        row = connection.execute(select(pipelines.c.running_job_id, pipelines.c.version).where(pipelines.c.id == before.id)).one_or_none()
        if row is None or row.version != before.version or not row.running_job_id:
            raise PipelineChanged(before.name)
        raise PipelineRunning(before.name, row.running_job_id)

    def keep_checkpoint(self, connection: Connection, pipeline_id: str, checkpoint: Checkpoint) -> None:
        """Keeps what the outputs are made of, in the transaction in which the run ends well."""
        values = {"checkpoint": checkpoint_to_json(checkpoint)}
        connection.execute(update(pipelines).where(pipelines.c.id == pipeline_id).values(values))

    def end_run(self, connection: Connection, job_id: str) -> None:
        """Lets the next job run the pipeline that a job ran, if it ran one: part of `on_end` of the `TaskTable`."""
        connection.execute(update(pipelines).where(pipelines.c.running_job_id == job_id).values(running_job_id=""))

    def newest_spec(self, connection: Connection, pipeline_id: str) -> tuple[str, str, PipelineSpec] | None:
        """Returns project, name and newest specification of a pipeline; None where it is gone."""
        newest = and_(pipelines.c.id == pipeline_id, pipeline_versions.c.version == pipelines.c.version)
        found = select(pipelines.c.project, pipelines.c.name, pipeline_versions.c.spec).select_from(VERSIONS).where(newest)
        row = connection.execute(found).one_or_none()
        return None if row is None else (row.project, row.name, PipelineSpec.FromString(row.spec))

    @staticmethod
    def _ended_holder(connection: Connection, pipeline_id: str) -> str | None:
        """The job that is said to run a pipeline, where it has ended without saying so."""
        holder = connection.execute(select(pipelines.c.running_job_id).where(pipelines.c.id == pipeline_id)).scalar_one_or_none()
        return holder if holder and not _runs(connection, holder) else None


def id_of(connection: Connection, project: str, name: str) -> str:
    """Returns the id of a pipeline.

    Raises:
        PipelineNotFound: The project has none of this name.
    """
    found: str | None = connection.execute(select(pipelines.c.id).where(_is(project, name))).scalar_one_or_none()
    if found is None:
        raise PipelineNotFound(project, name)
    return found


def _read(connection: Connection, project: str, name: str, version: int | None) -> Pipeline:
    wanted = pipelines.c.version if version is None else version
    found = select(*COLUMNS).select_from(VERSIONS).where(_is(project, name), pipeline_versions.c.version == wanted)
    row = connection.execute(found).mappings().one_or_none()
    if row is None:
        newest = connection.execute(select(pipelines.c.version).where(_is(project, name))).scalar_one_or_none()
        if newest is None or version is None:
            raise PipelineNotFound(project, name)
        raise PipelineVersionNotFound(name, version, newest)
    return pipeline_of(row, _labels(connection, [row["id"]])[row["id"]])


def _runs(connection: Connection, job_id: str) -> bool:
    state = connection.execute(select(STATE).select_from(SOURCE).where(jobs.c.id == job_id)).scalar_one_or_none()
    return state is not None and state not in _FINAL


def _is(project: str, name: str) -> ColumnElement[bool]:
    return and_(pipelines.c.project == project, pipelines.c.name == name)


def _add_version(
    connection: Connection, pipeline_id: str, version: int, spec: PipelineSpec, full_only_reason: str, who: str, now: datetime
) -> None:
    row = {
        "pipeline_id": pipeline_id,
        "version": version,
        "spec": spec.SerializeToString(deterministic=True),
        "full_only_reason": full_only_reason,
        "creator": who,
        "create_time": now,
    }
    connection.execute(insert(pipeline_versions).values(row))


def _set_labels(connection: Connection, pipeline_id: str, labels: Mapping[str, str]) -> None:
    if labels:
        rows = [{"pipeline_id": pipeline_id, "key": key, "value": value} for key, value in labels.items()]
        connection.execute(insert(pipeline_labels), rows)


def _labels(connection: Connection, pipeline_ids: Iterable[str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for row in connection.execute(select(pipeline_labels).where(pipeline_labels.c.pipeline_id.in_(pipeline_ids))):
        found[row.pipeline_id][row.key] = row.value
    return found
