from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from servers.runtime.database import open_database
from servers.runtime.errors import NotFound, Unavailable
from servers.runtime.settings import ServerSettings
from servers.runtime.work import LeaseLost, NewTask, Result, Retry, Run, Task, TaskState, TaskTable, Workers, WorkSettings
from servers.runtime.work.run import Handler
from sql_engine import write
from tests.integration.runtime.waiting import eventually

# Looks so seldom that a test which ends was woken, and renews as seldom.
PATIENT = WorkSettings(threads=2, lease_s=600, poll_interval_s=600, grace_s=5)
EAGER = WorkSettings(threads=2, lease_s=600, poll_interval_s=0.02, first_retry_s=0.01, grace_s=5)


@pytest.fixture
def engine(open_tasks: Callable[[str], AbstractContextManager[Engine]]) -> Iterator[Engine]:
    with open_tasks("sqlite") as engine:
        yield engine


@pytest.fixture
def tasks(engine: Engine) -> TaskTable:
    return TaskTable(engine)


@pytest.fixture
def started(tasks: TaskTable) -> Iterator[Callable[..., Workers]]:
    """Starts workers; stops them after the test."""
    running: list[Workers] = []

    def start(handler: Handler, settings: WorkSettings = PATIENT, *, table: TaskTable = tasks, **options: Any) -> Workers:
        workers = Workers(table, owner=f"life-{len(running)}", settings=settings)
        workers.register("ingest", handler, **options)
        workers.start()
        running.append(workers)
        return workers

    yield start
    for workers in running:
        workers.stop(0)


@pytest.fixture
def released() -> Iterator[threading.Event]:
    """Lets handlers that wait for it go on, after the test at the latest."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def enqueue(engine: Engine, tasks: TaskTable) -> Callable[..., None]:
    def enqueue(*ids: str, **fields: Any) -> None:
        new = [NewTask(**{"task_id": task_id, "kind": "ingest", "payload": {"name": task_id}, **fields}) for task_id in ids or ["task-1"]]
        write(engine, lambda connection: tasks.enqueue(connection, *new))

    return enqueue


@pytest.fixture
def reaches(tasks: TaskTable) -> Callable[..., Task]:
    """Waits until a task is in a state, and gives it."""

    def wait(state: TaskState, task_id: str = "task-1") -> Task:
        def there() -> Task | None:
            task = tasks.get(task_id)
            return task if task is not None and task.state is state else None

        task: Task = eventually(there)
        return task

    return wait


def test_what_this_process_enqueues_is_done_at_once(started: Any, enqueue: Any, reaches: Any) -> None:
    started(lambda run: Result({"name": run.payload["name"], "attempt": run.attempt}))

    enqueue()

    assert reaches(TaskState.SUCCEEDED).result == {"name": "task-1", "attempt": 1}


def test_what_was_enqueued_before_the_start_is_done(started: Any, enqueue: Any, reaches: Any) -> None:
    enqueue()

    started(lambda _: Result("done"))

    assert reaches(TaskState.SUCCEEDED).result == "done"


def test_what_another_process_enqueues_is_done_soon(started: Any, engine: Engine, reaches: Any) -> None:
    started(lambda _: Result("done"), EAGER)
    elsewhere = open_database(ServerSettings(data_dir=Path(str(engine.url.database)).parent))
    table = TaskTable(elsewhere)

    write(elsewhere, lambda connection: table.enqueue(connection, NewTask(task_id="task-1", kind="ingest", payload={})))

    assert reaches(TaskState.SUCCEEDED).result == "done"
    elsewhere.dispose()


def test_no_more_tasks_run_at_once_than_there_are_threads_and_none_waits_for_a_poll(started: Any, enqueue: Any, reaches: Any) -> None:
    lock, meeting = threading.Lock(), threading.Barrier(2)
    now = most = 0

    def handler(_run: Run) -> Result:
        nonlocal now, most
        with lock:
            now, most = now + 1, max(most, now + 1)
        meeting.wait(60)
        with lock:
            now -= 1
        return Result()

    started(handler)
    enqueue(*(f"task-{number}" for number in range(8)))

    for number in range(8):
        reaches(TaskState.SUCCEEDED, f"task-{number}")
    assert most == 2


def test_effects_are_committed_with_the_outcome(started: Any, engine: Engine, tasks: TaskTable, enqueue: Any, reaches: Any) -> None:
    def handler(run: Run) -> Result:
        def apply(connection: Any) -> Result:
            tasks.enqueue(connection, NewTask(task_id="effect", kind="other", payload={}))
            return run.succeed(connection, {"rows": 7})

        return write(engine, apply)

    started(handler)
    enqueue()

    assert reaches(TaskState.SUCCEEDED).result == {"rows": 7}
    assert tasks.get("effect") is not None


def test_failures_have_their_reason(started: Any, enqueue: Any, reaches: Any) -> None:
    def handler(run: Run) -> Result:
        raise NotFound("There is no such source.") if run.task_id == "known" else ValueError("a secret")

    started(handler)
    enqueue("known", "unknown")

    assert vars(reaches(TaskState.FAILED, "known").error) == {"reason": "NOT_FOUND", "message": "There is no such source."}
    error = reaches(TaskState.FAILED, "unknown").error
    assert error.reason == "INTERNAL"
    assert "secret" not in error.message


def test_a_retry_is_another_attempt(started: Any, enqueue: Any, reaches: Any) -> None:
    def handler(run: Run) -> Result:
        if run.attempt == 1:
            raise Retry(Unavailable("The source does not answer."))
        if run.attempt == 2:
            raise TimeoutError
        return Result(run.attempt)

    started(handler, EAGER, retried=(TimeoutError,))
    enqueue()

    assert reaches(TaskState.SUCCEEDED).result == 3


def test_one_that_runs_is_cancelled_at_its_next_check(started: Any, tasks: TaskTable, enqueue: Any, reaches: Any) -> None:
    def handler(run: Run) -> Result:
        while True:
            run.check()
            threading.Event().wait(0.005)

    started(handler)
    enqueue()
    reaches(TaskState.RUNNING)

    tasks.cancel("task-1")

    reaches(TaskState.CANCELLED)


def test_a_lease_is_renewed_while_the_handler_works(
    started: Any, tasks: TaskTable, enqueue: Any, reaches: Any, released: threading.Event
) -> None:
    # So long that a busy machine renews in time: what runs out, these workers would take anew.
    started(lambda _: Result(released.wait(60)), WorkSettings(lease_s=9, poll_interval_s=0.02))
    enqueue()
    first = reaches(TaskState.RUNNING).lease_end

    def renewed() -> bool:
        task = tasks.get("task-1")
        return task is not None and task.lease_end is not None and (task.lease_end - first).total_seconds() > 4

    eventually(renewed)
    released.set()

    assert reaches(TaskState.SUCCEEDED).attempt == 1


def test_a_stop_waits_for_what_runs_and_takes_nothing_more(
    started: Any, tasks: TaskTable, enqueue: Any, reaches: Any, released: threading.Event
) -> None:
    workers = started(lambda _: Result(released.wait(60)))
    enqueue("a", "b", "c")
    reaches(TaskState.RUNNING, "a")
    reaches(TaskState.RUNNING, "b")

    stopping = threading.Thread(target=workers.stop, args=(60,))
    stopping.start()
    eventually(lambda: not workers._claims._thread.is_alive())
    released.set()
    stopping.join(60)

    assert [task.state for task in tasks.find()] == [TaskState.SUCCEEDED, TaskState.SUCCEEDED, TaskState.QUEUED]


def test_what_does_not_end_in_time_is_given_back_and_another_worker_does_it(
    started: Any, tasks: TaskTable, enqueue: Any, reaches: Any, released: threading.Event
) -> None:
    told: list[str] = []

    def hanging(run: Run) -> Result:
        released.wait(60)
        try:
            run.check()
        except LeaseLost:
            told.append("lost")
        return Result("too late")

    workers = started(hanging)
    enqueue()
    reaches(TaskState.RUNNING)

    workers.stop(0)
    waiting = reaches(TaskState.QUEUED)
    started(lambda _: Result("in time"))
    done = reaches(TaskState.SUCCEEDED)
    released.set()

    eventually(lambda: told == ["lost"] and not len(workers._holds))
    assert (waiting.attempt, done.attempt, done.fence) == (0, 1, 2)
    assert tasks.get("task-1") == done


def test_an_outcome_waits_for_the_database(
    started: Any, tasks: TaskTable, enqueue: Any, reaches: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    succeed, refused = tasks.succeed, list[str]()

    def away_at_first(*arguments: Any, **options: Any) -> None:
        if len(refused) < 2:
            refused.append("away")
            cause = sqlite3.OperationalError("database is locked")
            cause.sqlite_errorcode = sqlite3.SQLITE_BUSY
            raise OperationalError("BEGIN", {}, cause)
        succeed(*arguments, **options)

    monkeypatch.setattr(tasks, "succeed", away_at_first)
    started(lambda _: Result(), EAGER)
    enqueue()

    assert reaches(TaskState.SUCCEEDED).attempt == 1
    assert refused == ["away", "away"]


def test_a_claim_that_fails_is_repeated(
    started: Any, tasks: TaskTable, enqueue: Any, reaches: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim, failures = tasks.claim, list[str]()

    def failing_once(*arguments: Any, **options: Any) -> Any:
        if not failures:
            failures.append("away")
            raise OperationalError("BEGIN", {}, Exception("away"))
        return claim(*arguments, **options)

    monkeypatch.setattr(tasks, "claim", failing_once)
    started(lambda _: Result(), EAGER)
    enqueue()

    assert reaches(TaskState.SUCCEEDED).attempt == 1
    assert failures == ["away"]


def test_what_ended_long_ago_is_purged(started: Any, tasks: TaskTable, enqueue: Any) -> None:
    enqueue()
    tasks.cancel("task-1")

    started(lambda _: Result(), WorkSettings(retention_s=0))

    eventually(lambda: tasks.get("task-1") is None)


def test_workers_of_several_processes_share_the_work(started: Any, engine: Engine, enqueue: Any, reaches: Any) -> None:
    done: list[str] = []

    def handler(run: Run) -> Result:
        done.append(run.task_id)
        return Result()

    for _ in range(3):
        started(handler, EAGER, table=TaskTable(engine))
    enqueue(*(f"task-{number}" for number in range(60)))

    for number in range(60):
        reaches(TaskState.SUCCEEDED, f"task-{number}")
    assert sorted(done) == sorted(f"task-{number}" for number in range(60))


def test_a_kind_has_one_handler(tasks: TaskTable) -> None:
    workers = Workers(tasks, owner="life")
    workers.register("ingest", lambda _: Result())

    with pytest.raises(ValueError, match="'ingest' have a handler"):
        workers.register("ingest", lambda _: Result())


def test_workers_that_were_never_started_can_be_stopped_and_that_twice(tasks: TaskTable) -> None:
    workers = Workers(tasks, owner="life")
    workers.stop()
    workers.stop()
