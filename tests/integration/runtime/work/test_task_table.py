from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Connection, Engine

from servers.runtime.work import Failure, Lease, LeaseLost, NewTask, Task, TaskState, TaskTable
from servers.runtime.work.task_table import Change
from sql_engine import accompanied, begin_write, write
from tests.integration.runtime.work.conftest import Clock

FAILURE = Failure("SOURCE_AWAY", "The source does not answer.")
LEASE_S = 15


def new_task(task_id: str = "task-1", **fields: Any) -> NewTask:
    return NewTask(**{"task_id": task_id, "kind": "ingest", "payload": {"source": "s3://bucket/ü"}, **fields})


def enqueue(engine: Engine, tasks: TaskTable, *new: NewTask) -> int:
    return write(engine, lambda connection: tasks.enqueue(connection, *(new or [new_task()])))


def claim(tasks: TaskTable, owner: str = "ada", *, limit: int = 1, kinds: tuple[str, ...] = ("ingest",)) -> list[Lease]:
    return tasks.claim(owner, kinds, lease_s=LEASE_S, limit=limit)


def claimed(engine: Engine, tasks: TaskTable, **fields: Any) -> Lease:
    enqueue(engine, tasks, new_task(**fields))
    [lease] = claim(tasks)
    return lease


def found(tasks: TaskTable, task_id: str = "task-1") -> Task:
    task = tasks.get(task_id)
    assert task is not None
    return task


def ids(leases: list[Lease]) -> list[str]:
    return [lease.task.task_id for lease in leases]


def test_a_task_waits_is_claimed_and_ends_with_its_result(engine: Engine, tasks: TaskTable, clock: Clock) -> None:
    enqueue(engine, tasks)
    waiting = found(tasks)
    clock.advance(1)
    [lease] = claim(tasks)
    running = found(tasks)
    clock.advance(1)
    tasks.succeed(lease, {"rows": 7})
    ended = found(tasks)

    assert (waiting.state, waiting.attempt, waiting.owner, waiting.start_time) == (TaskState.QUEUED, 0, None, None)
    assert running == lease.task
    assert (running.state, running.attempt, running.fence, running.owner) == (TaskState.RUNNING, 1, 1, "ada")
    assert (ended.state, ended.result, ended.error, ended.owner, ended.lease_end) == (TaskState.SUCCEEDED, {"rows": 7}, None, None, None)
    assert [(time - waiting.create_time).total_seconds() for time in (ended.start_time, ended.end_time) if time] == [1, 2]


def test_an_id_is_enqueued_once(engine: Engine, tasks: TaskTable) -> None:
    assert enqueue(engine, tasks, new_task(), new_task("task-2")) == 2
    assert enqueue(engine, tasks, new_task(payload={"source": "another"}), new_task("task-3")) == 1

    assert found(tasks).payload == {"source": "s3://bucket/ü"}


def test_a_task_is_there_exactly_where_the_callers_transaction_is(engine: Engine, tasks: TaskTable) -> None:
    def fail_after(connection: Connection) -> None:
        tasks.enqueue(connection, new_task("rolled-back"))
        raise OSError("power")

    with pytest.raises(OSError, match="power"):
        write(engine, fail_after)
    with accompanied(engine, lambda connection: tasks.enqueue(connection, new_task("accompanied"))), begin_write(engine):
        pass

    assert [task.task_id for task in tasks.find()] == ["accompanied"]


def test_the_highest_priority_is_taken_first_and_then_the_oldest(engine: Engine, tasks: TaskTable, clock: Clock) -> None:
    for name, priority in (("old", 0), ("urgent", 5), ("young", 0), ("whenever", -1)):
        enqueue(engine, tasks, new_task(name, priority=priority))
        clock.advance(1)

    assert ids(claim(tasks, limit=2)) == ["urgent", "old"]
    assert ids(claim(tasks, limit=10)) == ["young", "whenever"]


def test_a_task_begins_no_earlier_than_it_may(engine: Engine, tasks: TaskTable, clock: Clock) -> None:
    soon = clock.now.replace(minute=1)
    enqueue(engine, tasks, new_task(not_before=soon))

    clock.advance(59)
    assert claim(tasks) == []
    clock.advance(1)
    assert ids(claim(tasks)) == ["task-1"]


def test_a_worker_takes_only_what_it_can_do(engine: Engine, tasks: TaskTable) -> None:
    enqueue(engine, tasks, new_task(), new_task("task-2", kind="train"))

    assert ids(claim(tasks, kinds=("train", "schedule"), limit=5)) == ["task-2"]
    assert claim(tasks, kinds=()) == []


def test_a_task_whose_lease_has_run_out_is_taken_over_before_those_that_wait(engine: Engine, tasks: TaskTable, clock: Clock) -> None:
    claimed(engine, tasks)
    enqueue(engine, tasks, new_task("urgent", priority=9))

    clock.advance(LEASE_S)
    [second] = claim(tasks, "bob")

    assert (second.task.task_id, second.task.attempt, second.fence) == ("task-1", 2, 2)


def test_one_who_lost_the_lease_writes_nothing(engine: Engine, tasks: TaskTable, clock: Clock) -> None:
    first = claimed(engine, tasks)
    clock.advance(LEASE_S)
    # The same owner, for the fence has to tell the claims apart.
    [second] = claim(tasks, "ada")
    before = found(tasks)

    for attempted in (
        lambda: tasks.report(first, {"rows": 1}),
        lambda: write(engine, lambda connection: tasks.hold(first, connection)),
        lambda: tasks.succeed(first),
        lambda: tasks.fail(first, FAILURE),
        lambda: tasks.fail(first, FAILURE, retry_after_s=1),
        lambda: tasks.end_cancelled(first),
        lambda: tasks.give_back(first),
    ):
        with pytest.raises(LeaseLost, match="no longer held by claim 1 of 'ada'"):
            attempted()
    renewal = tasks.renew("ada", [first, second], lease_s=LEASE_S)

    assert found(tasks) == before
    assert (renewal.lost, renewal.prolonged) == ({first.key}, {second.key})


def test_effects_of_one_who_lost_the_lease_are_rolled_back(engine: Engine, tasks: TaskTable, clock: Clock) -> None:
    first = claimed(engine, tasks)
    clock.advance(LEASE_S)
    claim(tasks, "bob")

    def finish(connection: Connection) -> None:
        tasks.enqueue(connection, new_task("effect"))
        tasks.succeed(first, connection=connection)

    with pytest.raises(LeaseLost):
        write(engine, finish)

    assert tasks.get("effect") is None


def test_a_lease_that_ran_out_counts_until_somebody_takes_the_task(engine: Engine, tasks: TaskTable, clock: Clock) -> None:
    lease = claimed(engine, tasks)
    clock.advance(LEASE_S * 3)

    tasks.succeed(lease)

    assert found(tasks).state is TaskState.SUCCEEDED


def test_a_lease_that_is_renewed_does_not_run_out(engine: Engine, tasks: TaskTable, clock: Clock) -> None:
    lease = claimed(engine, tasks)
    for _ in range(5):
        clock.advance(LEASE_S - 1)
        assert tasks.renew("ada", [lease], lease_s=LEASE_S).prolonged == {lease.key}

    assert claim(tasks, "bob") == []


def test_a_lease_whose_task_is_just_ended_holds_up_no_other(engine: Engine, tasks: TaskTable, clock: Clock) -> None:
    if engine.dialect.name == "sqlite":
        pytest.skip("its writers come one by one")
    ending, other = claimed(engine, tasks), claimed(engine, tasks, task_id="task-2")

    with begin_write(engine) as connection:
        tasks.succeed(ending, connection=connection)
        renewal = tasks.renew("ada", [ending, other], lease_s=LEASE_S)

    assert (renewal.prolonged, renewal.lost) == ({other.key}, frozenset())


def test_a_task_that_loses_all_its_workers_fails(engine: Engine, tasks: TaskTable, clock: Clock) -> None:
    enqueue(engine, tasks, new_task(max_attempts=2))
    for _ in range(2):
        assert ids(claim(tasks)) == ["task-1"]
        assert tasks.end_lost(["ingest"]) == 0
        clock.advance(LEASE_S)

    assert claim(tasks) == []
    assert tasks.end_lost(["train"]) == 0
    assert tasks.end_lost(["ingest"]) == 1
    ended = found(tasks)
    assert (ended.state, ended.end_time) == (TaskState.FAILED, clock.now)
    assert ended.error == Failure("WORK_LOST", "Its worker disappeared during attempt 2, the last of 2.")


def test_a_failed_attempt_is_repeated_after_a_while_and_not_for_ever(engine: Engine, tasks: TaskTable, clock: Clock) -> None:
    lease = claimed(engine, tasks, max_attempts=2)

    assert tasks.fail(lease, FAILURE, retry_after_s=8) is TaskState.QUEUED
    clock.advance(7.9)
    assert claim(tasks) == []
    clock.advance(0.1)
    [second] = claim(tasks)
    assert (second.task.attempt, second.task.error) == (2, FAILURE)
    assert tasks.fail(second, FAILURE, retry_after_s=8) is TaskState.FAILED
    assert found(tasks).error == FAILURE


def test_a_final_failure_is_final(engine: Engine, tasks: TaskTable) -> None:
    lease = claimed(engine, tasks)

    assert tasks.fail(lease, Failure("TOO_LONG", "ü" * 5000)) is TaskState.FAILED

    assert found(tasks).error == Failure("TOO_LONG", "ü" * 1024)
    with pytest.raises(LeaseLost):
        tasks.succeed(lease)


def test_a_success_forgets_the_failures_before_it(engine: Engine, tasks: TaskTable) -> None:
    tasks.fail(claimed(engine, tasks), FAILURE, retry_after_s=0)
    [second] = claim(tasks)

    tasks.succeed(second)

    assert found(tasks).error is None


def test_one_that_waits_is_cancelled_at_once(engine: Engine, tasks: TaskTable) -> None:
    enqueue(engine, tasks)

    cancelled = tasks.cancel("task-1")

    assert cancelled == found(tasks)
    assert cancelled.state is TaskState.CANCELLED
    assert claim(tasks) == []
    assert tasks.cancel("unknown") is None


def test_one_that_runs_is_asked_to_stop(engine: Engine, tasks: TaskTable) -> None:
    lease = claimed(engine, tasks)

    asked = tasks.cancel("task-1")

    assert asked is not None
    assert (asked.state, asked.cancel_requested) == (TaskState.RUNNING, True)
    assert tasks.renew("ada", [lease], lease_s=LEASE_S).cancelled == {lease.key}
    tasks.end_cancelled(lease)
    assert found(tasks).state is TaskState.CANCELLED


def test_one_that_has_ended_is_not_cancelled(engine: Engine, tasks: TaskTable) -> None:
    tasks.succeed(claimed(engine, tasks))

    before = found(tasks)

    assert tasks.cancel("task-1") == before == found(tasks)


@pytest.mark.parametrize("end", ["retry", "give back", "disappear"])
def test_nothing_that_is_to_end_begins_again(engine: Engine, tasks: TaskTable, clock: Clock, end: str) -> None:
    lease = claimed(engine, tasks)
    tasks.cancel("task-1")

    if end == "retry":
        tasks.fail(lease, FAILURE, retry_after_s=1)
    elif end == "give back":
        tasks.give_back(lease)
    else:
        clock.advance(LEASE_S)
        assert claim(tasks) == []
        tasks.end_lost(["ingest"])

    assert found(tasks).state is TaskState.CANCELLED


def test_what_is_given_back_is_taken_at_once_and_no_attempt_is_counted(engine: Engine, tasks: TaskTable) -> None:
    lease = claimed(engine, tasks)

    tasks.give_back(lease)
    [second] = claim(tasks, "bob")

    assert (second.task.attempt, second.fence) == (1, 2)
    with pytest.raises(LeaseLost):
        tasks.succeed(lease)


def test_progress_stays_for_the_next_attempt(engine: Engine, tasks: TaskTable) -> None:
    lease = claimed(engine, tasks)
    tasks.report(lease, {"rows": 3})
    tasks.fail(lease, FAILURE, retry_after_s=0)

    [second] = claim(tasks)

    assert second.task.progress == {"rows": 3}


def test_what_is_too_long_is_refused(engine: Engine, tasks: TaskTable) -> None:
    lease = claimed(engine, tasks)

    with pytest.raises(ValueError, match="at most 4096"):
        tasks.report(lease, "x" * 5000)
    with pytest.raises(ValueError, match="at most 65536"):
        tasks.succeed(lease, "x" * 70_000)


def test_only_what_ended_long_ago_is_purged(engine: Engine, tasks: TaskTable, clock: Clock) -> None:
    enqueue(engine, tasks, *(new_task(f"task-{number}", priority=-number) for number in range(4)))
    ended, running = claim(tasks, limit=2)
    tasks.succeed(ended)
    clock.advance(100)
    tasks.cancel("task-2")

    assert tasks.purge(retention_s=100) == 0
    clock.advance(1)
    assert tasks.purge(retention_s=100) == 1
    assert [task.task_id for task in tasks.find()] == [running.task.task_id, "task-2", "task-3"]


def test_tasks_are_found_page_by_page(engine: Engine, tasks: TaskTable) -> None:
    enqueue(engine, tasks, *(new_task(f"task-{number}", kind="train" if number == 3 else "ingest") for number in range(5)))
    tasks.cancel("task-1")

    first = tasks.find(kind="ingest", state=TaskState.QUEUED, limit=2)
    rest = tasks.find(kind="ingest", state=TaskState.QUEUED, limit=2, after=first[-1].task_id)

    assert [task.task_id for task in first + rest] == ["task-0", "task-2", "task-4"]


def test_of_many_at_once_each_gets_other_tasks(engine: Engine, clock: Clock) -> None:
    tasks = TaskTable(engine, clock=clock)
    enqueue(engine, tasks, *(new_task(f"task-{number}") for number in range(100)))
    barrier = threading.Barrier(8)

    def take(number: int) -> list[str]:
        barrier.wait(60)
        taken: list[str] = []
        while leases := claim(tasks, f"owner-{number}", limit=3):
            taken += ids(leases)
            for lease in leases:
                tasks.succeed(lease, number)
        return taken

    with ThreadPoolExecutor(8) as pool:
        taken = [task_id for one in pool.map(take, range(8)) for task_id in one]

    # One who finds all others locked ends early, so the rest is taken here.
    taken += ids(claim(tasks, limit=100))
    assert Counter(taken) == Counter(f"task-{number}" for number in range(100))


def test_of_many_who_take_over_at_once_one_does(engine: Engine, tasks: TaskTable, clock: Clock) -> None:
    claimed(engine, tasks, max_attempts=50)
    for round_number in range(5):
        clock.advance(LEASE_S)
        barrier = threading.Barrier(8)

        def take(number: int, barrier: threading.Barrier = barrier) -> int:
            barrier.wait(60)
            return len(claim(tasks, f"owner-{number}"))

        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(take, range(8))) == 1
        assert found(tasks).fence == round_number + 2


def test_a_component_hears_of_every_end_in_its_transaction(engine: Engine, clock: Clock) -> None:
    heard: list[tuple[str, TaskState]] = []
    tasks = TaskTable(engine, clock=clock, on_end=lambda _connection, task: heard.append((task.task_id, task.state)))
    enqueue(engine, tasks, *(new_task(name, max_attempts=1, priority=priority) for priority, name in enumerate("edcba")))
    succeeding, failing, lost, stopping = claim(tasks, limit=4)
    tasks.cancel("e")
    tasks.succeed(succeeding)
    tasks.fail(failing, FAILURE, retry_after_s=1)
    tasks.end_cancelled(stopping)
    clock.advance(LEASE_S)
    tasks.end_lost(["ingest"])

    assert lost.task.task_id == "c"
    ended = [("e", "CANCELLED"), ("a", "SUCCEEDED"), ("b", "FAILED"), ("d", "CANCELLED"), ("c", "FAILED")]
    assert heard == ended


def test_a_component_that_cannot_note_an_end_keeps_no_other_lost_task_from_ending(engine: Engine, clock: Clock) -> None:
    def refuse_the_first(_connection: Connection, task: Task) -> None:
        if task.task_id == "task-1":
            raise ValueError("a bug")

    tasks = TaskTable(engine, clock=clock, on_end=refuse_the_first)
    enqueue(engine, tasks, new_task(max_attempts=1), new_task("task-2", max_attempts=1))
    claim(tasks, limit=2)
    clock.advance(LEASE_S)

    assert tasks.end_lost(["ingest"]) == 1
    assert found(tasks).state is TaskState.RUNNING
    assert found(tasks, "task-2").state is TaskState.FAILED


def test_watchers_hear_of_a_change_once_others_can_see_it(engine: Engine, tasks: TaskTable) -> None:
    heard: list[tuple[Change, int]] = []
    end = tasks.watch(lambda change: heard.append((change, len(tasks.find()))))

    enqueue(engine, tasks)
    claim(tasks)
    tasks.cancel("task-1")
    end()
    enqueue(engine, tasks, new_task("task-2"))

    assert heard == [(Change.ENQUEUED, 1), (Change.CANCELLED, 1)]
