from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from sqlalchemy.exc import OperationalError

from servers.runtime.errors import NotFound, Unavailable
from servers.runtime.work import Cancelled, Failure, Lease, LeaseLost, Result, Retry, Run, Task, TaskState, TaskTable
from servers.runtime.work.endings import Ending, Failed, Stopped, Succeeded, Work, perform
from servers.runtime.work.run import Hold

START = datetime(2026, 11, 1, tzinfo=UTC)


@dataclass
class NotedProgress:
    """Stands for the table."""

    progress: list[Any] = field(default_factory=list)
    is_lost: bool = False

    def report(self, _lease: Lease, progress: Any) -> None:
        if self.is_lost:
            raise LeaseLost
        self.progress.append(progress)


def held(now: Callable[[], datetime] = lambda: START) -> Hold:
    task = Task(
        task_id="task-1",
        kind="ingest",
        payload={"source": "here"},
        state=TaskState.RUNNING,
        priority=0,
        create_time=START,
        start_time=START,
        end_time=None,
        not_before=START,
        attempt=2,
        max_attempts=3,
        owner="ada",
        fence=4,
        lease_end=START + timedelta(seconds=15),
        cancel_requested=False,
        progress={"rows": 3},
        result=None,
        error=None,
    )
    return Hold(Lease(task, "ada", 4, START + timedelta(seconds=15)), now)


def run_of(hold: Hold, table: NotedProgress | None = None) -> Run:
    return Run(cast("TaskTable", table or NotedProgress()), hold)


def ending(handler: Callable[[Run], Result], retried: tuple[type[Exception], ...] = ()) -> Ending | None:
    return perform(Work(handler, retried), run_of(held()))


def raising(error: Exception) -> Callable[[Run], Result]:
    def handler(_run: Run) -> Result:
        raise error

    return handler


def test_a_handler_sees_its_task() -> None:
    run = run_of(held())

    assert (run.task_id, run.payload, run.attempt, run.last_progress) == ("task-1", {"source": "here"}, 2, {"rows": 3})


def test_what_a_handler_returns_is_the_result() -> None:
    assert ending(lambda _: Result({"rows": 7})) == Succeeded({"rows": 7})


def test_an_outcome_that_the_handler_has_written_is_not_written_again() -> None:
    assert ending(lambda _: Result({"rows": 7}, is_written=True)) is None


def test_a_domain_error_is_the_tasks_error() -> None:
    assert ending(raising(NotFound("There is no such table."))) == Failed(Failure("NOT_FOUND", "There is no such table."))


def test_an_unforeseen_error_is_in_the_log_and_not_in_the_task(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        ended = ending(raising(ValueError("password=hunter2")))

    assert isinstance(ended, Failed)
    assert (ended.failure.reason, ended.is_retried) == ("INTERNAL", False)
    assert "hunter2" not in ended.failure.message
    assert "task-1" in caplog.text
    assert "hunter2" in caplog.text


def test_a_handler_decides_what_is_retried() -> None:
    away = Unavailable("The source does not answer.")
    failure = Failure("UNAVAILABLE", "The source does not answer.")

    assert ending(raising(Retry(away))) == Failed(failure, is_retried=True)
    assert ending(raising(Retry(away, delay_s=7))) == Failed(failure, is_retried=True, delay_s=7)
    assert ending(raising(away)) == Failed(failure)
    assert ending(raising(away), retried=(Unavailable,)) == Failed(failure, is_retried=True)
    unforeseen = ending(raising(KeyError("x")), retried=(LookupError,))
    assert isinstance(unforeseen, Failed)
    assert (unforeseen.failure.reason, unforeseen.is_retried) == ("INTERNAL", True)


def test_a_database_that_is_away_is_retried() -> None:
    cause = sqlite3.OperationalError("database is locked")
    cause.sqlite_errorcode = sqlite3.SQLITE_BUSY

    ended = ending(raising(OperationalError("BEGIN", {}, cause)))

    assert isinstance(ended, Failed)
    assert (ended.failure.reason, ended.is_retried) == ("DATABASE_UNAVAILABLE", True)


def test_a_handler_that_was_asked_to_stop_stops() -> None:
    hold = held()
    run = run_of(hold)
    run.check()
    hold.is_cancelled = True

    with pytest.raises(Cancelled):
        run.check()
    with pytest.raises(Cancelled):
        run.progress({"rows": 4})
    assert perform(Work(lambda run: Result(run.check())), run) == Stopped()


def test_a_lease_that_may_have_run_out_is_lost_though_nobody_says_so() -> None:
    now = START
    hold = held(lambda: now)
    run = run_of(hold)
    now += timedelta(seconds=14)
    run.check()

    now += timedelta(seconds=1)

    with pytest.raises(LeaseLost):
        run.check()
    assert perform(Work(lambda run: Result(run.check())), run) is None


def test_a_handler_whose_progress_was_refused_hears_it_at_every_check() -> None:
    run = run_of(held(), table := NotedProgress())
    run.progress({"rows": 4})
    table.is_lost = True

    with pytest.raises(LeaseLost):
        run.progress({"rows": 5})
    with pytest.raises(LeaseLost):
        run.check()
    assert table.progress == [{"rows": 4}]
