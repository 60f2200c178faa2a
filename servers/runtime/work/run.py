"""One attempt at a task, as its handler sees it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from servers.runtime.work.signals import Cancelled, LeaseLost
from servers.runtime.work.task import MAX_PAYLOAD_BYTES, Lease, check_size
from servers.runtime.work.task_table import TaskTable


class Hold:
    """What this process knows of a lease: until when it lasts, and whether the task shall end. Renewals write it, the handler reads it.

    Args:
        lease: The lease.
        clock: The time now.
    """

    def __init__(self, lease: Lease, clock: Callable[[], datetime]) -> None:
        self.lease = lease
        self.end = lease.end
        self.is_cancelled = False
        self._is_lost = False
        self._clock = clock

    @property
    def is_lost(self) -> bool:
        """Whether the task may be another worker's. Where the database is away, time tells."""
        return self._is_lost or self._clock() >= self.end

    def lose(self) -> None:
        """Notes that the lease is lost, for good."""
        self._is_lost = True


@dataclass(frozen=True)
class Result:
    """What a handler returns.

    Args:
        value: JSON of at most 64 KiB, for the task's reader.
        is_written: Whether the outcome is in the table already (`Run.succeed`).

    Raises:
        ValueError: The JSON is too long.
        TypeError: The value is no JSON.
    """

    value: Any = None
    is_written: bool = False

    def __post_init__(self) -> None:
        check_size("the result", self.value, MAX_PAYLOAD_BYTES)


class Run:
    """One attempt at a task, as its handler sees it.

    An attempt may be repeated: its worker may die after any effect. What a handler writes together with `succeed` happens once.

    Args:
        tasks: The table.
        hold: The lease.
    """

    def __init__(self, tasks: TaskTable, hold: Hold) -> None:
        self._tasks = tasks
        self._hold = hold

    @property
    def task_id(self) -> str:
        """The task's id; the same in each attempt, so it makes what the handler does elsewhere idempotent."""
        return self._hold.lease.task.task_id

    @property
    def payload(self) -> Mapping[str, Any]:
        """What the handler needs to know."""
        return self._hold.lease.task.payload

    @property
    def attempt(self) -> int:
        """Number of the attempt, from 1."""
        return self._hold.lease.task.attempt

    @property
    def last_progress(self) -> Any:
        """What an earlier attempt last reported; None where there was nothing."""
        return self._hold.lease.task.progress

    def check(self) -> None:
        """Lets the handler pass while the task is its own. It asks nobody, so call it often.

        Raises:
            Cancelled: Somebody asked for the end of the task; known at the next renewal, a third of the lease later at most.
            LeaseLost: The task is, or may be, another worker's, or this worker stops.
        """
        if self._hold.is_lost:
            raise LeaseLost(f"task {self.task_id!r} is no longer this worker's")
        if self._hold.is_cancelled:
            raise Cancelled(f"task {self.task_id!r} is to end")

    def progress(self, value: Any) -> None:
        """Writes how far the task is, at the cost of a transaction; once a second is often enough.

        Args:
            value: JSON of at most 4 KiB.

        Raises:
            Cancelled: As `check`.
            LeaseLost: As `check`.
            ValueError: The JSON is too long.
        """
        self.check()
        try:
            self._tasks.report(self._hold.lease, value)
        except LeaseLost:
            self._hold.lose()
            raise

    def hold(self, connection: Connection) -> None:
        """Makes a transaction one of this attempt: what it writes is not there if another attempt has begun before it.

        Args:
            connection: Within the transaction, which `sql_engine.write` or `begin_write` began.

        Raises:
            LeaseLost: The task is another worker's; let it pass, so that the transaction is rolled back.
        """
        self._tasks.hold(self._hold.lease, connection)

    def succeed(self, connection: Connection, value: Any = None) -> Result:
        """Ends the task well in the transaction that has the effects of the work, so that they happen together and once.

        ```python
        return write(engine, lambda connection: (store(connection), run.succeed(connection, {"rows": 7}))[-1])
        ```

        Args:
            connection: Within the transaction, which `sql_engine.write` or `begin_write` began.
            value: JSON of at most 64 KiB.

        Returns:
            For the handler to return, once the transaction is committed.

        Raises:
            LeaseLost: The task is another worker's; let it pass, so that the transaction is rolled back.
            ValueError: The JSON is too long.
        """
        result = Result(value, is_written=True)
        self._tasks.succeed(self._hold.lease, value, connection=connection)
        return result


Handler = Callable[[Run], Result]
