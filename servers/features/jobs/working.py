"""What becomes of attempts at training sets and materialisations: how they end, and whether another follows."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from grpc import StatusCode
from sqlalchemy import Connection, Engine

from servers.features.jobs.attempt_watch import AttemptWatch
from servers.features.jobs.errors import ComputationFailed
from servers.features.jobs.records import Failure
from servers.runtime.data_process.errors import DataProcessDied, DataProcessOutOfMemory
from servers.runtime.errors import DomainError
from servers.runtime.peer_calls import Check
from servers.runtime.work import Cancelled, Result, Retry, Run, TaskTable
from sql_engine import write

MAX_ATTEMPTS = 5
"""Attempts of a job, those included whose server or process was killed."""

_LOGGER = logging.getLogger(__name__)
_PASSING = frozenset({StatusCode.UNAVAILABLE, StatusCode.ABORTED})
_PROCESS_ENDED = (DataProcessDied, DataProcessOutOfMemory)

Succeed = Callable[[Connection], None]
"""Keeps what came of a job, in the transaction in which it ends."""


class Attempt(Protocol):
    """One kind of jobs."""

    def perform(self, run: Run, check: Check) -> Succeed:
        """Does an attempt. Doing it again, after whatever it died of, is doing it once.

        Args:
            run: The attempt.
            check: Called now and then; raises where it is to end.

        Returns:
            What is kept with its success.
        """
        ...

    def give_up(self, job_id: str) -> None:
        """Ends what a job has others do, now that nobody wants it any more. Raises nothing that matters."""
        ...

    def record_failure(self, connection: Connection, job_id: str, failure: Failure) -> None:
        """Keeps why an attempt failed."""
        ...


class Working:
    """The handler of tasks of a kind.

    Args:
        engine: The component's database.
        tasks: Its tasks.
        attempt: Does them.
        timeout_s: Longest time of an attempt, in seconds.
    """

    def __init__(self, engine: Engine, tasks: TaskTable, attempt: Attempt, timeout_s: float) -> None:
        self._engine = engine
        self._tasks = tasks
        self._attempt = attempt
        self._timeout_s = timeout_s

    def work(self, run: Run) -> Result:
        """Does one attempt."""
        watch = AttemptWatch(run, self._tasks, self._timeout_s)
        try:
            keep = self._attempt.perform(run, watch.check)
        except Cancelled:
            self._attempt.give_up(run.task_id)
            raise
        except DomainError as error:
            failure = Failure(error.code.value[0], error.reason, error.message, error.metadata)

            def fail(connection: Connection) -> None:
                run.hold(connection)
                self._attempt.record_failure(connection, run.task_id, failure)

            write(self._engine, fail)
            _LOGGER.info("attempt %d at %s failed: %s: %s", run.attempt, run.task_id, error.reason, error.message)
            if may_pass(error) and run.attempt < MAX_ATTEMPTS:
                raise Retry(error) from error
            self._attempt.give_up(run.task_id)
            raise

        def succeed(connection: Connection) -> Result:
            # First, since it refuses an attempt that was overtaken.
            result = run.succeed(connection)
            keep(connection)
            return result

        return write(self._engine, succeed)


def may_pass(error: DomainError) -> bool:
    """Whether another attempt may succeed."""
    return not isinstance(error, ComputationFailed) and (error.code in _PASSING or isinstance(error, _PROCESS_ENDED))
