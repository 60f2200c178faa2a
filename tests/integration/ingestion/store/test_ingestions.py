from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import Connection, Engine, delete, func, select
from sqlalchemy.exc import IntegrityError

from servers.ingestion.records import Ingestion
from servers.ingestion.store import IngestionNotFound, Ingestions
from servers.ingestion.store.inputs import PART_BYTES
from servers.ingestion.store.tables import ingestion_inputs
from servers.runtime.paging import Listing
from servers.runtime.work import NewTask, TaskState, TaskTable
from servers.runtime.work.job_state import JobState
from servers.runtime.work.task_rows import tasks as task_rows
from sql_engine import begin_write, write
from tests.integration.ingestion.store.lives import FAILURE, LEASE_S, OUTCOME, Lives, statements
from tests.integration.runtime.work.conftest import Clock

MIB = 1024 * 1024


def kept_parts(engine: Engine) -> int:
    with engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(ingestion_inputs)).scalar_one()


def test_an_ingestion_comes_back_as_it_was_added(lives: Lives) -> None:
    new = lives.begin(source="s" * 2048, dataset="d" * 127, creator="ö" * 255, mode="UPSERT")

    assert lives.found() == Ingestion(
        id="one",
        project="default",
        dataset="d" * 127,
        source="s" * 2048,
        mode="UPSERT",
        state=JobState.QUEUED,
        creator="ö" * 255,
        create_time=new.create_time,
    )


def test_one_that_is_not_there_is_named_with_its_project(lives: Lives, ingestions: Ingestions) -> None:
    lives.begin()

    with pytest.raises(IngestionNotFound, match="no ingestion 'two' in project 'default'; ListIngestions") as absent:
        ingestions.get("default", "two")
    with pytest.raises(IngestionNotFound):
        ingestions.get("another", "one")
    with pytest.raises(IngestionNotFound, match="no ingestion 'ONE'; ListIngestions"):
        ingestions.work_of("ONE")

    assert (absent.value.reason, absent.value.metadata) == ("INGESTION_NOT_FOUND", {"project": "default", "id": "two"})


def test_its_state_is_that_of_its_task_until_it_has_succeeded(lives: Lives, clock: Clock) -> None:
    lives.begin()
    waiting = lives.found()
    clock.advance(1)
    lease = lives.claim()
    begun = lives.found()
    lives.tasks.report(lease, {"rows_read": 7})
    reported = lives.found()
    lives.tasks.cancel("one")
    cancelling = lives.found()
    clock.advance(1)
    lives.succeed(lease)
    ended = lives.found()

    assert (begun, reported, cancelling) == (
        replace(waiting, state=JobState.RUNNING, start_time=waiting.create_time + timedelta(seconds=1)),
        replace(begun, rows_read=7),
        replace(reported, state=JobState.CANCELLING),
    )
    end_time = waiting.create_time + timedelta(seconds=2)
    assert ended == replace(begun, state=JobState.SUCCEEDED, end_time=end_time, rows_read=9, outcome=OUTCOME)


def test_one_that_fails_says_why_and_how_far_it_came(lives: Lives, clock: Clock) -> None:
    lives.begin()
    lease = lives.claim()
    lives.tasks.report(lease, {"rows_read": 7})
    clock.advance(1)
    lives.tasks.fail(lease, FAILURE)
    ended = lives.found()

    assert (ended.state, ended.error_reason, ended.error_message) == (JobState.FAILED, FAILURE.reason, FAILURE.message)
    assert (ended.rows_read, ended.outcome, ended.end_time) == (7, None, clock.now)


def test_a_failure_that_is_tried_again_is_none_yet(lives: Lives) -> None:
    lives.begin()
    lives.tasks.fail(lives.claim(), FAILURE, retry_after_s=5)
    again = lives.found()

    assert (again.state, again.error_reason, again.end_time) == (JobState.QUEUED, "", None)


def test_one_that_waits_is_cancelled_at_once(lives: Lives, clock: Clock) -> None:
    lives.begin(data=b"rows")
    lives.tasks.cancel("one")
    ended = lives.found()

    assert (ended.state, ended.start_time, ended.end_time) == (JobState.CANCELLED, None, clock.now)
    assert kept_parts(lives.engine) == 0


def test_one_whose_worker_disappeared_for_good_has_failed(lives: Lives, clock: Clock) -> None:
    lives.begin(max_attempts=1)
    lives.claim()
    clock.advance(LEASE_S)

    assert lives.tasks.end_lost(["ingest-one"]) == 1
    assert (lives.found().state, lives.found().error_reason) == (JobState.FAILED, "WORK_LOST")


def test_one_without_a_task_has_failed(lives: Lives) -> None:
    with begin_write(lives.engine) as connection:
        lives.ingestions.add(connection, lives.new(), None)
    lost = lives.found()

    assert (lost.state, lost.error_reason, lost.end_time) == (JobState.FAILED, "TASK_LOST", None)
    assert "ingest again" in lost.error_message


@pytest.mark.parametrize("state", [JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED])
def test_what_has_ended_stays_when_its_task_is_purged(lives: Lives, clock: Clock, state: JobState) -> None:
    lives.begin()
    lease = lives.claim()
    lives.tasks.report(lease, {"rows_read": 7})
    lives.tasks.give_back(lease)
    lives.bring("one", state)
    before = lives.found()
    clock.advance(1)

    assert lives.tasks.purge(0) == 1
    assert lives.tasks.get("one") is None
    assert lives.found() == before
    assert before.rows_read == (9 if state is JobState.SUCCEEDED else 7)


def test_an_ingestion_and_its_task_end_together_or_not_at_all(lives: Lives) -> None:
    lives.begin(data=b"rows")
    lease = lives.claim()
    before = lives.found()

    def finish(connection: Connection) -> None:
        lives.ingestions.record_outcome(connection, "one", OUTCOME)
        lives.tasks.succeed(lease, connection=connection)
        raise OSError("power")

    with pytest.raises(OSError, match="power"):
        write(lives.engine, finish)

    task = lives.tasks.get("one")
    assert task is not None
    assert task.state is TaskState.RUNNING
    assert lives.found() == before
    assert lives.ingestions.work_of("one")[2] == b"rows"


def test_an_ingestion_and_its_task_begin_together_or_not_at_all(lives: Lives) -> None:
    lives.begin()
    with pytest.raises(IntegrityError):
        lives.begin(dataset="another", data=b"rows")

    assert lives.found().dataset == "flights"
    assert kept_parts(lives.engine) == 0


def test_the_end_of_another_task_changes_nothing(lives: Lives, tasks: TaskTable) -> None:
    lives.begin(data=b"rows")
    before = lives.found()
    write(lives.engine, lambda connection: tasks.enqueue(connection, NewTask(task_id="delete-one", kind="delete", payload={})))
    tasks.cancel("delete-one")

    assert lives.found() == before
    assert kept_parts(lives.engine) == 1


def test_an_outcome_of_nothing_is_refused(lives: Lives) -> None:
    with pytest.raises(IngestionNotFound), begin_write(lives.engine) as connection:
        lives.ingestions.record_outcome(connection, "one", OUTCOME)


def test_an_overtaken_attempt_does_not_replace_the_outcome(lives: Lives) -> None:
    lives.begin()
    lives.bring("one", JobState.SUCCEEDED)
    before = lives.found()

    with pytest.raises(IngestionNotFound), begin_write(lives.engine) as connection:
        lives.ingestions.record_outcome(connection, "one", {"error_code": 13})

    assert lives.found() == before


def test_a_worker_learns_all_that_was_asked_for(lives: Lives) -> None:
    new = lives.begin("with", b"\x00rows\xff", request={"rows": ["ü" * 100_000]})
    lives.begin("without")

    assert lives.ingestions.work_of("with") == (lives.found("with"), new.request, b"\x00rows\xff")
    assert lives.ingestions.work_of("without")[2] is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00" * (PART_BYTES - 1),
        b"a" * PART_BYTES,
        b"a" * PART_BYTES + b"b",
        bytes(range(256)) * (MIB // 16),
        b"'\\\x00\n" * (4 * MIB),
    ],
    ids=["empty", "part-1", "part", "part+1", "16-MiB", "16-MiB-escaped"],
)
def test_bytes_come_back_and_go_when_the_ingestion_ends(lives: Lives, data: bytes) -> None:
    lives.begin(data=data)
    lives.begin("two", b"stays")
    is_same = lives.ingestions.work_of("one")[2] == data
    lives.bring("one", JobState.SUCCEEDED)

    assert is_same
    assert lives.ingestions.work_of("one")[2] is None
    assert lives.ingestions.work_of("two")[2] == b"stays"


def test_an_ingestion_that_runs_is_seen_until_it_ends(lives: Lives) -> None:
    def seen() -> tuple[bool, ...]:
        is_running = lives.ingestions.is_any_running
        return is_running("default", "flights"), is_running("default", "planes"), is_running("another", "flights")

    lives.begin()
    waiting = seen()
    lease = lives.claim()
    running = seen()
    lives.tasks.cancel("one")
    cancelling = seen()
    lives.succeed(lease)

    assert (waiting, running, cancelling, seen()) == ((False,) * 3, (True, False, False), (True, False, False), (False,) * 3)


def test_a_look_is_one_statement(lives: Lives) -> None:
    lives.begin()
    with statements(lives.engine) as seen:
        lives.found()

    assert len(seen) == 1


def test_what_ended_long_ago_is_purged_in_batches_and_nothing_else(
    lives: Lives, ingestions: Ingestions, tasks: TaskTable, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("servers.ingestion.store.ingestions.PURGE_BATCH", 2)
    for number, state in enumerate((JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)):
        lives.begin(f"old-{number}", b"data")
        lives.bring(f"old-{number}", state)
    lives.begin("lost")
    lives.claim("lost")
    lives.begin("old-and-waiting", b"data")
    clock.now += timedelta(days=1)
    lives.begin("new")
    lives.bring("new", JobState.SUCCEEDED)
    with lives.engine.begin() as connection:
        connection.execute(delete(task_rows).where(task_rows.c.task_id == "lost"))

    assert [ingestions.purge(clock.now - timedelta(hours=1)) for _ in range(3)] == [2, 2, 0]
    assert {each.id for each in ingestions.page("default", Listing(100, "", "", ""))[0]} == {"old-and-waiting", "new"}
    assert ingestions.work_of("old-and-waiting")[2] == b"data"
