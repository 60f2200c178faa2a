"""Rows of jobs in SQLite and PostgreSQL."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from mlops.features.v1 import feature_job_service_pb2 as pb
from mlops.processing.v1.processing_job_pb2 import JobSpec
from sqlalchemy import Connection, Engine

from servers.features.jobs.errors import MaterializationNotFound, TrainingSetNotFound
from servers.features.jobs.records import (
    Failure,
    MaterializeMode,
    NewMaterialization,
    NewTrainingSet,
    Reading,
    ReportedView,
    TrainingSetInput,
    TrainingSetResult,
)
from servers.features.settings import FeaturesSettings
from servers.features.store.job_tables import METADATA
from servers.features.store.materializations import Materializations, OldGenerations
from servers.features.store.opening import open_store
from servers.features.store.training_sets import TrainingSets, TrainingSetUse
from servers.runtime.paging import Listing
from servers.runtime.work import Failure as TaskFailure
from servers.runtime.work import NewTask, Task, TaskTable
from servers.runtime.work.job_state import JobState
from sql_engine import write

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TABLES = {table.name for table in METADATA.sorted_tables}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """SQLite and PostgreSQL."""
    url = "" if request.param == "sqlite" else request.getfixturevalue("postgresql").new_database()
    opened = open_store(FeaturesSettings(data_dir=tmp_path_factory.mktemp("features"), database_url=url))
    yield opened
    opened.dispose()


def asked(view_version_id: str, project: str = "default") -> NewMaterialization:
    return NewMaterialization(str(uuid.uuid4()), project, "spending", 1, view_version_id, MaterializeMode.INCREMENTAL, "me", NOW)


def task_of(new_id: str) -> NewTask:
    return NewTask(task_id=new_id, kind="test", payload={})


def tasks_of(engine: Engine, *stores: Any) -> TaskTable:
    def on_end(connection: Connection, task: Task) -> None:
        for store in stores:
            store.end(connection, task)

    return TaskTable(engine, clock=lambda: NOW, on_end=on_end)


def test_the_migrations_make_the_tables_that_the_code_knows(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={"include_name": lambda name, kind, _parents: kind != "table" or name in TABLES, "compare_type": True},
        )

        assert compare_metadata(context, METADATA) == []


def test_of_all_who_ask_at_the_same_time_one_begins_a_materialisation_and_the_others_are_told_of_it(engine: Engine) -> None:
    store, version = Materializations(engine), str(uuid.uuid4())
    tasks, taken, begin = tasks_of(engine, store), list[str](), threading.Barrier(4)

    def ask() -> None:
        new = asked(version)
        begin.wait()

        def take(connection: Connection) -> str:
            found = store.add(connection, new)
            if found == new.id:
                tasks.enqueue(connection, task_of(new.id))
            return found

        taken.append(write(engine, take))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    [only] = set(taken)
    assert len(taken) == 4
    tasks.cancel(only)
    found = store.get("default", only)
    assert (found.state, found.end_time, store.open_of(version)) == (JobState.CANCELLED, NOW, "")
    assert write(engine, lambda connection: store.add(connection, asked(version))) != only


def test_one_that_was_lost_with_its_task_holds_up_nobody(engine: Engine) -> None:
    store, version = Materializations(engine), str(uuid.uuid4())
    lost = write(engine, lambda connection: store.add(connection, asked(version)))

    following = write(engine, lambda connection: store.add(connection, asked(version)))

    found = store.get("default", lost)
    assert following != lost
    assert (found.state, found.error and found.error.reason) == (JobState.FAILED, "FEATURE_JOB_LOST")
    with pytest.raises(MaterializationNotFound):
        store.get("another", lost)


def test_what_attempts_found_out_stays_and_the_error_is_the_one_that_was_raised(engine: Engine) -> None:
    store, version, new = Materializations(engine), str(uuid.uuid4()), asked(str(uuid.uuid4()))
    tasks = tasks_of(engine, store)
    write(engine, lambda connection: (store.add(connection, new), tasks.enqueue(connection, task_of(new.id))))
    [lease] = tasks.claim("worker", ["test"], lease_s=60)
    tasks.report(lease, {"read": 5})
    running = store.get("default", new.id)
    failure = Failure(9, "WRONG", "it is wrong", {"a": "b"})
    write(engine, lambda connection: store.record(connection, new.id, dataset_version=3, dataset_time=NOW, processing_job_id=version))
    write(engine, lambda connection: store.record_failure(connection, new.id, failure))
    write(engine, lambda connection: tasks.fail(lease, TaskFailure("WRONG", "it is WRONG"), connection=connection))

    ended = store.work_of(new.id)

    assert (running.state, running.progress.read, running.error) == (JobState.RUNNING, 5, None)
    assert (ended.state, ended.error, ended.dataset_version, ended.progress.read) == (JobState.FAILED, failure, 3, 5)
    page, _ = store.page("default", Listing(filter='state = "FAILED" AND view = "spending" AND end_time > "2025-01-01T00:00:00Z"'))
    assert new.id in [each.id for each in page]
    assert store.purge(NOW + timedelta(seconds=1), 1000) >= 1
    with pytest.raises(MaterializationNotFound):
        store.get("default", new.id)


def test_old_generations_are_dropped_when_their_readers_have_gone(engine: Engine) -> None:
    store, version = OldGenerations(engine), str(uuid.uuid4())
    for _ in range(2):
        write(engine, lambda connection: store.add(connection, version, f"{version}.0", NOW, timedelta(minutes=1)))

    assert store.due(NOW, 10) == []
    assert [each.online_name for each in store.due(NOW + timedelta(minutes=1), 10)] == store.of_version(version) == [f"{version}.0"]
    store.forget([f"{version}.0"])
    assert store.of_version(version) == []


def test_a_training_set_is_found_by_its_views_once_it_has_succeeded_and_is_kept(engine: Engine) -> None:
    store, view_id = TrainingSets(engine), str(uuid.uuid4())
    tasks = tasks_of(engine, store)
    reading = Reading(
        "train-leaks", (ReportedView("spending", ("amount",)),), (("amount", "float32"),), (), (("share", "amount", "int64"),)
    )
    inputs = tuple(TrainingSetInput("spending", version, str(uuid.uuid4()), view_id, "rows", 7) for version in (1, 2))
    spec = pb.TrainingSetSpec(spine={"dataset": "labels"}, dataset="train", feature_service="fraud")
    good, bad = (
        NewTrainingSet(str(uuid.uuid4()), "default", spec, inputs, 4, JobSpec(sql="SELECT 1"), reading, "me", NOW) for _ in range(2)
    )
    for each in (good, bad):
        write(engine, lambda connection, new=each: (store.add(connection, new), tasks.enqueue(connection, task_of(new.id))))
    leases = {lease.task.task_id: lease for lease in tasks.claim("worker", ["test"], lease_s=60, limit=2)}
    result = TrainingSetResult(9, 100, (pb.ViewLeaks(view="spending", rows=5),), (pb.OnDemandReplay(feature="share", rows=5),))
    write(engine, lambda connection: store.record_job(connection, good.id, "job"))
    write(
        engine, lambda connection: (tasks.succeed(leases[good.id], connection=connection), store.record_result(connection, good.id, result))
    )
    tasks.fail(leases[bad.id], TaskFailure("WRONG", "it is WRONG"))

    found = store.get("default", good.id)

    assert store.work_of(good.id) == (good, "job")
    assert (found.dataset_version, found.row_count, found.leak_report, found.on_demand_replay) == (
        9,
        100,
        *(result.leak_report, result.on_demand_replay),
    )
    assert store.get("default", bad.id).error == Failure(13, "WRONG", "it is WRONG")
    assert store.uses(view_id, 10) == [TrainingSetUse(good.id, "train", 9, version) for version in (2, 1)]
    [listed], _ = store.page("default", Listing(filter='state = "SUCCEEDED" AND feature_service = "fraud"', order_by="end_time desc"))
    assert (listed.id, listed.leak_report) == (good.id, ())
    assert store.purge(NOW + timedelta(seconds=1), 10) == 1
    assert store.get("default", good.id)
    with pytest.raises(TrainingSetNotFound):
        store.get("default", bad.id)
