"""What becomes of attempts at jobs: how they end, and whether another follows."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from datetime import datetime

from grpc import StatusCode
from sqlalchemy import Connection, Engine

from servers.processing.jobs.checking import kind_of
from servers.processing.jobs.job_attempt import JobAttempt, Tools
from servers.processing.jobs.job_log import JobLog
from servers.processing.records import Failure
from servers.processing.store import Attempt, Logs
from servers.runtime.errors import DomainError
from servers.runtime.work import Cancelled, LeaseLost, Result, Retry, Run
from sql_engine import write

_PASSING = frozenset({StatusCode.UNAVAILABLE, StatusCode.ABORTED})
_IDLE_PATIENCE_S = 10.0


class Working:
    """Works on jobs.

    Args:
        engine: The component's database.
        tools: What an attempt works with.
        logs: What jobs say.
        clock: The time now.
    """

    def __init__(self, engine: Engine, tools: Tools, logs: Logs, clock: Callable[[], datetime]) -> None:
        self._engine = engine
        self._tools = tools
        self._logs = logs
        self._clock = clock
        self._changed = threading.Condition()
        self._busy = 0

    def wait_until_idle(self) -> None:
        """Waits until attempts that were given up have ended their processes, some seconds at most."""
        with self._changed:
            self._changed.wait_for(lambda: not self._busy, _IDLE_PATIENCE_S)

    def work(self, run: Run) -> Result:
        """Does one attempt at a job: the handler of its tasks.

        Whatever is written has a request id of the job's, and what is written is kept before the next step. So an attempt that is repeated
        after a crash goes on, and writes nothing twice.
        """
        with self._changed:
            self._busy += 1
        try:
            return self._work(run)
        finally:
            with self._changed:
                self._busy -= 1
                self._changed.notify_all()

    def _work(self, run: Run) -> Result:
        tools, attempt = self._tools, Attempt(run.task_id, str(uuid.uuid4()))
        failures = tools.jobs.begin(attempt, self._clock(), run.hold)
        log = JobLog(run.task_id, self._logs, self._clock)
        job = tools.jobs.work_of(run.task_id)
        log.say(f"attempt {failures + 1} of {job.spec.max_attempts} begins on {kind_of(job.spec).value}")
        one = JobAttempt(tools, attempt, job, run, log)
        try:
            keep = one.perform()
        except Cancelled:
            log.say("cancelled", "WARNING")
            one.clean_up()
            raise
        except DomainError as error:
            is_retried = error.code in _PASSING and failures + 1 < job.spec.max_attempts
            log.say(f"{'the attempt' if is_retried else 'the job'} failed: {error.reason}: {error.message}", "ERROR")
            failure = Failure(error.code.value[0], error.reason, error.message, error.metadata)
            tools.jobs.record_failure(attempt, failure, self._clock(), is_retried=is_retried)
            if is_retried:
                raise Retry(error) from error
            one.clean_up()
            raise
        except LeaseLost:
            log.say("another server goes on with the job, or this one later", "WARNING")
            raise
        except Exception:
            log.say("the attempt failed by a fault of the server, which is in its log", "ERROR")
            raise
        log.say("done")

        def succeed(connection: Connection) -> Result:
            result = run.succeed(connection)
            keep(connection)
            return result

        return write(self._engine, succeed)
