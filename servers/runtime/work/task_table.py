"""The task table: all statements of durable work. Its columns are in `task_rows`.

A claim gives a lease with a fence, and whatever is written about a task that runs is written by an UPDATE that checks both: who lost the
lease writes nothing. Tasks whose lease has run out are claimed like those that wait.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import (
    Connection,
    Engine,
    RowMapping,
    and_,
    bindparam,
    delete,
    func,
    or_,
    select,
    tuple_,
    update,
)

from servers.runtime.work.signals import LeaseLost
from servers.runtime.work.task import (
    MAX_PAYLOAD_BYTES,
    MAX_PROGRESS_BYTES,
    WORK_LOST,
    Failure,
    Lease,
    NewTask,
    Task,
    TaskState,
    after_failed_run,
    check_size,
)
from servers.runtime.work.task_rows import error_values, new_row, task_of, tasks
from sql_engine import Insertion, UtcDateTime, after_commit, write

_LOGGER = logging.getLogger(__name__)
_Result = TypeVar("_Result")
PURGE_BATCH = 1000

_NOBODY: Mapping[str, Any] = {"owner": None, "lease_end": None}

# What runs for every task is built once; SQLAlchemy takes longer to build a statement than SQLite to run it.
_TURN = (tasks.c.priority.desc(), tasks.c.not_before)
_OF_KINDS = tasks.c.kind.in_(bindparam("kinds", expanding=True))
_LEFT = and_(tasks.c.state == TaskState.RUNNING, tasks.c.lease_end <= bindparam("now", type_=UtcDateTime), _OF_KINDS)
_IS_OVER = or_(tasks.c.attempt >= tasks.c.max_attempts, tasks.c.cancel_requested)
_TAKE_LEFT = select(tasks).where(_LEFT, ~_IS_OVER).order_by(*_TURN).limit(bindparam("most")).with_for_update(skip_locked=True)
_TAKE_QUEUED = (
    select(tasks)
    .where(tasks.c.state == TaskState.QUEUED, tasks.c.not_before <= bindparam("now", type_=UtcDateTime), _OF_KINDS)
    .order_by(*_TURN)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)
)
_TAKE = (
    update(tasks)
    .where(tasks.c.task_id.in_(bindparam("ids", expanding=True)))
    .values(
        state=TaskState.RUNNING,
        attempt=tasks.c.attempt + 1,
        fence=tasks.c.fence + 1,
        owner=bindparam("new_owner"),
        lease_end=bindparam("new_lease_end"),
        start_time=func.coalesce(tasks.c.start_time, bindparam("now", type_=UtcDateTime)),
    )
)
_HELD = and_(
    tasks.c.task_id == bindparam("of_task_id"),
    tasks.c.owner == bindparam("of_owner"),
    tasks.c.fence == bindparam("of_fence"),
    tasks.c.state == TaskState.RUNNING,
)
_FIND_HELD = select(tasks.c.attempt, tasks.c.max_attempts, tasks.c.cancel_requested).where(_HELD).with_for_update()
_END = (
    update(tasks)
    .where(_HELD)
    .values(
        {name: bindparam(name) for name in ("state", "end_time", "result", "error_reason", "error_message")}
        | {"owner": None, "lease_end": None}
    )
)


class Change(Enum):
    """What the workers of this process shall look at."""

    ENQUEUED = auto()
    CANCELLED = auto()


@dataclass(frozen=True)
class Renewal:
    """What a renewal found.

    Args:
        prolonged: Keys of the leases that now last until `end`.
        end: When they end.
        cancelled: Keys of those whose task somebody wants to end.
        lost: Keys of those that are no longer their owner's.
    """

    prolonged: frozenset[tuple[str, int]]
    end: datetime
    cancelled: frozenset[tuple[str, int]]
    lost: frozenset[tuple[str, int]]


class TaskTable:
    """The tasks of a component, in its own database.

    Where a method takes a `connection`, it is part of that transaction, which `sql_engine.write` or `begin_write` began.

    Args:
        engine: The component's database, opened by `open_database`.
        clock: The time now.
        on_end: Called with every task that reaches a final state, in the transaction in which it does: there a component brings its own
            records up to date. Where it raises, the task does not end.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        on_end: Callable[[Connection, Task], object] | None = None,
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._on_end = on_end
        self._insertion = Insertion(tasks, engine.dialect, if_absent=True)
        self._lock = threading.Lock()
        self._watchers: list[Callable[[Change], object]] = []

    def enqueue(self, connection: Connection, *new: NewTask) -> int:
        """Adds tasks in the caller's transaction. One whose id is taken is left out.

        Args:
            connection: Within the transaction.
            new: The tasks.

        Returns:
            How many were added.
        """
        now = self._clock()
        after_commit(connection, self._tell_watchers, Change.ENQUEUED)
        return self._insertion.run(connection, [new_row(task, now) for task in new])

    def get(self, task_id: str, *, connection: Connection | None = None) -> Task | None:
        """Returns a task; None where it does not exist, or no longer."""
        if connection is None:
            with self._engine.connect() as reading:
                return self.get(task_id, connection=reading)
        row = connection.execute(select(tasks).where(tasks.c.task_id == task_id)).one_or_none()
        return None if row is None else task_of(row)

    def find(self, *, kind: str | None = None, state: TaskState | None = None, after: str = "", limit: int = 100) -> list[Task]:
        """Returns tasks in the order of their ids.

        Args:
            kind: Only those of a kind.
            state: Only those in a state.
            after: Only those whose id comes after this one: the last of the page before.
            limit: How many at most.
        """
        found = select(tasks).where(tasks.c.task_id > after).order_by(tasks.c.task_id).limit(limit)
        found = found if kind is None else found.where(tasks.c.kind == kind)
        found = found if state is None else found.where(tasks.c.state == state)
        with self._engine.connect() as connection:
            return [task_of(row) for row in connection.execute(found)]

    def cancel(self, task_id: str, *, connection: Connection | None = None) -> Task | None:
        """Ends a task that waits, and asks the handler of one that runs to stop. Changes nothing of one that has ended.

        Args:
            task_id: Which.
            connection: Within a transaction; None = in one of its own.

        Returns:
            The task as it is now; None where there is none.
        """

        def apply(connection: Connection) -> Task | None:
            state = connection.execute(select(tasks.c.state).where(tasks.c.task_id == task_id).with_for_update()).scalar_one_or_none()
            of_task = update(tasks).where(tasks.c.task_id == task_id)
            if state == TaskState.QUEUED:
                connection.execute(of_task.values(state=TaskState.CANCELLED, end_time=self._clock(), cancel_requested=True))
                self._tell_end(connection, task_id)
            elif state == TaskState.RUNNING:
                connection.execute(of_task.values(cancel_requested=True))
                after_commit(connection, self._tell_watchers, Change.CANCELLED)
            return self.get(task_id, connection=connection)

        return self._within(connection, apply)

    def claim(self, owner: str, kinds: Collection[str], *, lease_s: float, limit: int = 1) -> list[Lease]:
        """Takes tasks: first those whose lease has run out, then those that wait, the highest priority and then the oldest first.

        Args:
            owner: Unique name of the worker's life, at most 128 characters: after a restart it is another.
            kinds: Which kinds of tasks it can do.
            lease_s: How long it has them without a renewal, in seconds.
            limit: How many at most.
        """

        def apply(connection: Connection) -> list[Lease]:
            now = self._clock()
            wanted = {"now": now, "kinds": list(kinds)}
            rows = list(connection.execute(_TAKE_LEFT, {**wanted, "most": limit}))
            if len(rows) < limit:
                rows += connection.execute(_TAKE_QUEUED, {**wanted, "most": limit - len(rows)})
            end = now + timedelta(seconds=lease_s)
            if rows:
                ids = [row.task_id for row in rows]
                connection.execute(_TAKE, {"ids": ids, "new_owner": owner, "new_lease_end": end, "now": now})
            return [_lease(task_of(row), owner, now, end) for row in rows]

        return write(self._engine, apply)

    def end_lost(self, kinds: Collection[str]) -> int:
        """Ends the tasks that their workers left behind and nobody takes over: their attempts are exhausted, or they are to be cancelled.

        Args:
            kinds: Of which kinds.

        Returns:
            How many were ended.
        """
        with self._engine.connect() as connection:
            lost = select(tasks.c.task_id).where(_LEFT, _IS_OVER).limit(PURGE_BATCH)
            ids = list(connection.execute(lost, {"now": self._clock(), "kinds": list(kinds)}).scalars())
        ended = 0
        for task_id in ids:
            try:
                ended += write(self._engine, partial(self._end_lost, task_id=task_id, kinds=kinds))
            except Exception:  # one that cannot be ended must not keep the others
                _LOGGER.exception("the lost task %s cannot be ended", task_id)
        return ended

    def renew(self, owner: str, leases: Collection[Lease], *, lease_s: float) -> Renewal:
        """Prolongs leases.

        Args:
            owner: Whose they are.
            leases: Which.
            lease_s: For how long from now, in seconds.
        """
        keys = [lease.key for lease in leases]
        key = tuple_(tasks.c.task_id, tasks.c.fence)
        held = and_(tasks.c.owner == owner, tasks.c.state == TaskState.RUNNING)

        def apply(connection: Connection) -> Renewal:
            # A row that its own outcome or a cancel locks is left alone: it would hold up the leases of all others.
            free = select(tasks.c.task_id, tasks.c.fence).where(held, key.in_(keys)).with_for_update(skip_locked=True)
            prolonged = [(row.task_id, row.fence) for row in connection.execute(free)]
            end = self._clock() + timedelta(seconds=lease_s)
            if prolonged:
                # By the primary key alone, now that the rows are locked: InnoDB would wait for others that it meets on its way.
                ids = [task_id for task_id, _ in prolonged]
                connection.execute(update(tasks).where(tasks.c.task_id.in_(ids)).values(lease_end=end))
            found = connection.execute(select(tasks.c.task_id, tasks.c.fence, tasks.c.cancel_requested).where(held, key.in_(keys)))
            flags = {(row.task_id, row.fence): row.cancel_requested for row in found}
            cancelled = frozenset(one for one, is_cancelled in flags.items() if is_cancelled)
            return Renewal(frozenset(prolonged), end, cancelled, frozenset(keys) - flags.keys())

        return write(self._engine, apply)

    def report(self, lease: Lease, progress: Any) -> None:
        """Writes how far a task is.

        Args:
            lease: The right to.
            progress: JSON of at most 4 KiB.

        Raises:
            LeaseLost: Somebody else has the task.
            ValueError: The JSON is too long.
        """
        check_size(f"the progress of task {lease.task.task_id!r}", progress, MAX_PROGRESS_BYTES)
        self._within(None, lambda connection: _change(connection, lease, progress=progress))

    def hold(self, lease: Lease, connection: Connection) -> None:
        """Keeps a task from others until a transaction ends.

        Args:
            lease: The right to.
            connection: Within the transaction.

        Raises:
            LeaseLost: Somebody else has the task. The transaction has to be rolled back.
        """
        _find_held(connection, lease)

    def succeed(self, lease: Lease, result: Any = None, *, connection: Connection | None = None) -> None:
        """Ends a task well.

        Args:
            lease: The right to.
            result: JSON of at most 64 KiB.
            connection: Within the transaction that has the effects of the work; None = in one of its own.

        Raises:
            LeaseLost: Somebody else has the task. The transaction has to be rolled back.
            ValueError: The JSON is too long.
        """
        check_size(f"the result of task {lease.task.task_id!r}", result, MAX_PAYLOAD_BYTES)
        self._within(connection, lambda connection: self._end(connection, lease, TaskState.SUCCEEDED, result=result))

    def fail(
        self, lease: Lease, failure: Failure, *, retry_after_s: float | None = None, connection: Connection | None = None
    ) -> TaskState:
        """Ends a task badly, or has it wait for another attempt.

        Args:
            lease: The right to.
            failure: Why.
            retry_after_s: Pause before the next attempt, in seconds; None = there is none. Nor is there one where attempts are exhausted.
            connection: Within a transaction; None = in one of its own.

        Returns:
            FAILED, QUEUED, or CANCELLED where somebody asked for the end meanwhile.

        Raises:
            LeaseLost: Somebody else has the task.
        """

        def apply(connection: Connection) -> TaskState:
            held = _find_held(connection, lease)
            state = after_failed_run(**held, is_retried=retry_after_s is not None)
            if state is TaskState.QUEUED:
                not_before = self._clock() + timedelta(seconds=retry_after_s or 0)
                _change(connection, lease, state=state, not_before=not_before, **_NOBODY, **error_values(failure))
            else:
                self._end(connection, lease, state, failure=failure)
            return state

        return self._within(connection, apply)

    def end_cancelled(self, lease: Lease, *, connection: Connection | None = None) -> None:
        """Ends a task whose handler has stopped because somebody asked for it.

        Args:
            lease: The right to.
            connection: Within a transaction; None = in one of its own.

        Raises:
            LeaseLost: Somebody else has the task.
        """
        self._within(connection, lambda connection: self._end(connection, lease, TaskState.CANCELLED))

    def give_back(self, lease: Lease) -> None:
        """Gives a task back to the queue, at its old place and without counting the attempt.

        Args:
            lease: The right to.

        Raises:
            LeaseLost: Somebody else has the task.
        """

        def apply(connection: Connection) -> None:
            held = _find_held(connection, lease)
            if held["cancel_requested"]:
                self._end(connection, lease, TaskState.CANCELLED)
            else:
                _change(connection, lease, state=TaskState.QUEUED, attempt=held["attempt"] - 1, **_NOBODY)

        self._within(None, apply)

    def purge(self, retention_s: float) -> int:
        """Deletes tasks that ended some time ago, at most 1,000 at a time.

        Args:
            retention_s: How long ago, in seconds.

        Returns:
            How many were deleted.
        """
        old = select(tasks.c.task_id).where(tasks.c.end_time < self._clock() - timedelta(seconds=retention_s)).limit(PURGE_BATCH)
        with self._engine.connect() as connection:
            ids = list(connection.execute(old).scalars())
        if ids:
            # What has ended never changes, so it is old still.
            write(self._engine, lambda connection: connection.execute(delete(tasks).where(tasks.c.task_id.in_(ids))))
        return len(ids)

    def watch(self, told: Callable[[Change], object]) -> Callable[[], None]:
        """Has a function called after each transaction of this process that may have enqueued or cancelled something.

        Args:
            told: The function. It returns at once and raises nothing.

        Returns:
            Ends that.
        """
        with self._lock:
            self._watchers.append(told)

        def end() -> None:
            with self._lock:
                if told in self._watchers:
                    self._watchers.remove(told)

        return end

    def _tell_watchers(self, change: Change) -> None:
        with self._lock:
            watchers = list(self._watchers)
        for told in watchers:
            told(change)

    def _within(self, connection: Connection | None, work: Callable[[Connection], _Result]) -> _Result:
        return write(self._engine, work) if connection is None else work(connection)

    def _end(self, connection: Connection, lease: Lease, state: TaskState, *, result: Any = None, failure: Failure | None = None) -> None:
        outcome = {"state": state, "end_time": self._clock(), "result": result, **error_values(failure)}
        if connection.execute(_END, {**_of(lease), **outcome}).rowcount != 1:
            raise _lost(lease)
        self._tell_end(connection, lease.task.task_id)

    def _end_lost(self, connection: Connection, *, task_id: str, kinds: Collection[str]) -> int:
        now = self._clock()
        found = select(tasks).where(tasks.c.task_id == task_id, _LEFT, _IS_OVER).with_for_update(skip_locked=True)
        row = connection.execute(found, {"now": now, "kinds": list(kinds)}).one_or_none()
        if row is None:
            return 0
        text = f"Its worker disappeared during attempt {row.attempt}, the last of {row.max_attempts}."
        failure, state = (None, TaskState.CANCELLED) if row.cancel_requested else (Failure(WORK_LOST, text), TaskState.FAILED)
        self._end(connection, Lease(task_of(row), row.owner, row.fence, row.lease_end), state, failure=failure)
        return 1

    def _tell_end(self, connection: Connection, task_id: str) -> None:
        if self._on_end is None:
            return
        task = self.get(task_id, connection=connection)
        if task is not None:
            self._on_end(connection, task)


def _find_held(connection: Connection, lease: Lease) -> RowMapping:
    row = connection.execute(_FIND_HELD, _of(lease)).mappings().one_or_none()
    if row is None:
        raise _lost(lease)
    return row


def _change(connection: Connection, lease: Lease, **values: Any) -> None:
    if connection.execute(update(tasks).where(_HELD).values(**values), _of(lease)).rowcount != 1:
        raise _lost(lease)


def _of(lease: Lease) -> dict[str, Any]:
    return {"of_task_id": lease.task.task_id, "of_owner": lease.owner, "of_fence": lease.fence}


def _lost(lease: Lease) -> LeaseLost:
    return LeaseLost(f"task {lease.task.task_id!r} is no longer held by claim {lease.fence} of {lease.owner!r}")


def _lease(found: Task, owner: str, now: datetime, end: datetime) -> Lease:
    task = replace(
        found,
        state=TaskState.RUNNING,
        owner=owner,
        attempt=found.attempt + 1,
        fence=found.fence + 1,
        start_time=found.start_time or now,
        lease_end=end,
    )
    return Lease(task, owner, task.fence, end)
