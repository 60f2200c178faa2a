"""Training sets: what was asked for, how it stands, and what came of it."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, NamedTuple

from mlops.features.v1 import feature_job_service_pb2 as pb
from mlops.processing.v1.processing_job_pb2 import JobSpec
from sqlalchemy import Connection, Engine, RowMapping, delete, func, insert, select, update

from aip_filter import Field, Schema
from servers.features.jobs.errors import TrainingSetNotFound
from servers.features.jobs.records import (
    Failure,
    NewTrainingSet,
    Reading,
    ReportedView,
    TrainingSet,
    TrainingSetInput,
    TrainingSetResult,
)
from servers.features.store.job_rows import ended_values, failure_of, failure_to_json
from servers.features.store.job_tables import training_set_views, training_sets
from servers.runtime.pages import Collection, read_page
from servers.runtime.paging import Listing
from servers.runtime.work import Task
from servers.runtime.work.job_state import NOT_ENDED, JobState, is_lost, state_of
from servers.runtime.work.task_rows import tasks
from sql_engine import write

_SOURCE = training_sets.outerjoin(tasks, tasks.c.task_id == training_sets.c.id)
_STATE = state_of(training_sets.c.state)
_AS_THEY_STAND = (
    "id",
    "project",
    "spine_version",
    "processing_job_id",
    "dataset_version",
    "row_count",
    "creator",
    "create_time",
    "end_time",
)
_SHORT = (
    *(training_sets.c[name] for name in _AS_THEY_STAND),
    *(training_sets.c[name] for name in ("spec", "inputs", "error")),
    func.coalesce(training_sets.c.start_time, tasks.c.start_time).label("start_time"),
    _STATE.label("state"),
    is_lost(training_sets.c.state).label("is_lost"),
)
_WHOLE = (*_SHORT, training_sets.c.findings)


class TrainingSetUse(NamedTuple):
    """A training set with features of a version of a view, and the version of the dataset that it is."""

    training_set_id: str
    dataset: str
    dataset_version: int
    view_version: int


class TrainingSets:
    """The training sets of all projects. Where a method takes a `connection`, it is part of that transaction.

    Until one ends, its task says how it stands: one with the same id, in the same database. From then on its row says it itself, which is
    what `end` is for.

    Args:
        engine: The component's database, from `open_store`.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(self, connection: Connection, new: NewTrainingSet) -> None:
        """Adds a training set. Its task has to be enqueued in the same transaction."""
        connection.execute(insert(training_sets).values(_new_row(new)))
        rows = [
            {"training_set_id": new.id, "view_version_id": each.view_version_id, "view_id": each.view_id, "view_version": each.version}
            for each in new.inputs
        ]
        connection.execute(insert(training_set_views), rows)

    def get(self, project: str, training_set_id: str) -> TrainingSet:
        """Returns a training set as it stands.

        Raises:
            TrainingSetNotFound: The project has none of this id.
        """
        query = select(*_WHOLE).select_from(_SOURCE).where(training_sets.c.id == training_set_id, training_sets.c.project == project)
        with self._engine.connect() as connection:
            row = connection.execute(query).mappings().one_or_none()
        if row is None:
            raise TrainingSetNotFound(training_set_id, project)
        return _training_set_of(row)

    def work_of(self, training_set_id: str) -> tuple[NewTrainingSet, str]:
        """Returns a training set for its worker, and the job that makes it; empty where there is none yet.

        Raises:
            TrainingSetNotFound: There is none of this id.
        """
        with self._engine.connect() as connection:
            row = connection.execute(select(training_sets).where(training_sets.c.id == training_set_id)).mappings().one_or_none()
        if row is None:
            raise TrainingSetNotFound(training_set_id)
        new = NewTrainingSet(
            id=row["id"],
            project=row["project"],
            spec=pb.TrainingSetSpec.FromString(row["spec"]),
            inputs=_inputs_of(row),
            spine_version=row["spine_version"],
            job=JobSpec.FromString(row["job"]),
            reading=_reading_of(row["reading"]),
            creator=row["creator"],
            create_time=row["create_time"],
        )
        return new, row["processing_job_id"]

    def page(self, project: str, listing: Listing) -> tuple[list[TrainingSet], str]:
        """Returns a page of a project's training sets without what was found out about them, and the token of the next one.

        Raises:
            aip_filter.QueryError: Filter, order or page token is wrong.
        """
        with self._engine.connect() as connection:
            return read_page(connection, _LIST, listing, training_sets.c.project == project, scope=project)

    def record_job(self, connection: Connection, training_set_id: str, job_id: str) -> None:
        """Keeps which job makes it; all attempts go on from that."""
        self._change(connection, training_set_id, processing_job_id=job_id)

    def record_result(self, connection: Connection, training_set_id: str, result: TrainingSetResult) -> None:
        """Keeps what came of it."""
        findings = pb.TrainingSet(leak_report=result.leak_report, on_demand_replay=result.on_demand_replay)
        self._change(
            connection,
            training_set_id,
            dataset_version=result.dataset_version,
            row_count=result.row_count,
            findings=findings.SerializeToString(deterministic=True),
        )

    def record_failure(self, connection: Connection, training_set_id: str, failure: Failure) -> None:
        """Keeps why an attempt failed."""
        self._change(connection, training_set_id, error=failure_to_json(failure))

    def end(self, connection: Connection, task: Task) -> None:
        """Takes over how a task ended: for `on_end` of the `TaskTable`. Other tasks change nothing."""
        known = select(training_sets.c.error).where(training_sets.c.id == task.task_id)
        row = connection.execute(known).mappings().one_or_none()
        if row is not None:
            self._change(connection, task.task_id, **ended_values(row, task))

    def uses(self, view_id: str, limit: int) -> list[TrainingSetUse]:
        """Returns the training sets with features of a view that succeeded, the newest first."""
        found = (
            select(training_sets.c.id, training_sets.c.dataset, training_sets.c.dataset_version, training_set_views.c.view_version)
            .select_from(training_set_views.join(training_sets, training_sets.c.id == training_set_views.c.training_set_id))
            .where(training_set_views.c.view_id == view_id, training_sets.c.state == JobState.SUCCEEDED.value)
            .order_by(training_sets.c.create_time.desc(), training_sets.c.id, training_set_views.c.view_version.desc())
            .limit(limit)
        )
        with self._engine.connect() as connection:
            return [TrainingSetUse(*row) for row in connection.execute(found)]

    def purge(self, before: datetime, most: int) -> int:
        """Forgets training sets that came to nothing and ended before a time, some at most; returns how many there were."""
        with self._engine.connect() as connection:
            old = (
                select(training_sets.c.id)
                .where(training_sets.c.end_time < before, training_sets.c.state != JobState.SUCCEEDED.value)
                .limit(most)
            )
            ids = list(connection.execute(old).scalars())

        def forget(connection: Connection) -> None:
            connection.execute(delete(training_set_views).where(training_set_views.c.training_set_id.in_(ids)))
            connection.execute(delete(training_sets).where(training_sets.c.id.in_(ids)))

        if ids:
            write(self._engine, forget)
        return len(ids)

    def _change(self, connection: Connection, training_set_id: str, **values: Any) -> None:
        connection.execute(update(training_sets).where(training_sets.c.id == training_set_id).values(values))


def _new_row(new: NewTrainingSet) -> dict[str, Any]:
    return {
        "id": new.id,
        "project": new.project,
        "dataset": new.spec.dataset,
        "feature_service": new.spec.feature_service,
        "spec": new.spec.SerializeToString(deterministic=True),
        "inputs": [asdict(each) for each in new.inputs],
        "spine_version": new.spine_version,
        "job": new.job.SerializeToString(deterministic=True),
        "reading": asdict(new.reading),
        "processing_job_id": "",
        "row_count": 0,
        "creator": new.creator,
        "create_time": new.create_time,
        "state": NOT_ENDED,
    }


def _inputs_of(row: RowMapping) -> tuple[TrainingSetInput, ...]:
    return tuple(TrainingSetInput(**each) for each in row["inputs"])


def _reading_of(value: Any) -> Reading:
    return Reading(
        leaks_dataset=value["leaks_dataset"],
        reported=tuple(ReportedView(each["view"], tuple(each["features"])) for each in value["reported"]),
        replayed=tuple((name, kind) for name, kind in value["replayed"]),
        request_inputs=tuple(value["request_inputs"]),
        on_demand=tuple((name, expression, kind) for name, expression, kind in value["on_demand"]),
    )


def _training_set_of(row: RowMapping) -> TrainingSet:
    findings = pb.TrainingSet.FromString(row.get("findings") or b"")
    return TrainingSet(
        **{name: row[name] for name in _AS_THEY_STAND},
        spec=pb.TrainingSetSpec.FromString(row["spec"]),
        inputs=_inputs_of(row),
        state=JobState(row["state"]),
        error=failure_of(row) if JobState(row["state"]) is JobState.FAILED else None,
        leak_report=tuple(findings.leak_report),
        on_demand_replay=tuple(findings.on_demand_replay),
        start_time=row["start_time"],
    )


_LIST: Collection[TrainingSet] = Collection(
    name="training sets",
    source=_SOURCE,
    columns=_SHORT,
    schema=Schema(
        {
            "dataset": Field("string", training_sets.c.dataset),
            "feature_service": Field("string", training_sets.c.feature_service),
            "state": Field("enum", _STATE, values={state.value: state.value for state in JobState}),
            "creator": Field("string", training_sets.c.creator),
            "create_time": Field("timestamp", training_sets.c.create_time),
            "end_time": Field("timestamp", training_sets.c.end_time),
        }
    ),
    # One that has not ended comes after all others.
    order_fields={
        "create_time": training_sets.c.create_time,
        "end_time": func.coalesce(training_sets.c.end_time, datetime(9999, 1, 1, tzinfo=UTC)),
    },
    default_order="create_time desc",
    tie_breaker=training_sets.c.id,
    read=_training_set_of,
)
