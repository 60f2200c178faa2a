"""How attempts end: what a handler returns or raises becomes of its task."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from servers.runtime.database_errors import from_database
from servers.runtime.errors import DomainError
from servers.runtime.work.run import Handler, Run
from servers.runtime.work.settings import WorkSettings, retry_pause_s
from servers.runtime.work.signals import Cancelled, LeaseLost, Retry
from servers.runtime.work.task import INTERNAL, Failure, Lease
from servers.runtime.work.task_table import TaskTable

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Work:
    """How tasks of a kind are done.

    Args:
        handler: Does one.
        retried: Exceptions after which another attempt may succeed; `Retry` always says so.
    """

    handler: Handler
    retried: tuple[type[Exception], ...] = ()


@dataclass(frozen=True)
class Succeeded:
    """The handler returned.

    Args:
        value: What.
    """

    value: Any


@dataclass(frozen=True)
class Failed:
    """The handler raised.

    Args:
        failure: What the task's reader learns.
        is_retried: Whether another attempt may succeed.
        delay_s: Pause before it, in seconds; None = exponential with full jitter.
    """

    failure: Failure
    is_retried: bool = False
    delay_s: float | None = None


@dataclass(frozen=True)
class Stopped:
    """The handler stopped, because somebody asked for it."""


Ending = Succeeded | Failed | Stopped


def perform(work: Work, run: Run) -> Ending | None:
    """Runs a handler.

    Args:
        work: The handler.
        run: What it sees.

    Returns:
        How it ended; None where nothing is left to be written.
    """
    try:
        result = work.handler(run)
    except LeaseLost as error:
        _LOGGER.info("an attempt was given up: %s", error)
        return None
    except Cancelled:
        return Stopped()
    except Exception as error:  # a handler may fail in any way, and each is an outcome
        return _failed(error, work.retried, run)
    return None if result.is_written else Succeeded(result.value)


def write_ending(tasks: TaskTable, lease: Lease, ending: Ending, settings: WorkSettings, random: Callable[[], float]) -> None:
    """Writes how an attempt ended.

    Args:
        tasks: The table.
        lease: The right to.
        ending: How it ended.
        settings: How long to wait for another attempt.
        random: A number from 0 to 1.

    Raises:
        LeaseLost: Somebody else has the task.
    """
    match ending:
        case Succeeded(value):
            tasks.succeed(lease, value)
        case Stopped():
            tasks.end_cancelled(lease)
        case Failed(failure, is_retried, delay_s):
            pause_s = retry_pause_s(settings, lease.task.attempt, random) if delay_s is None else delay_s
            tasks.fail(lease, failure, retry_after_s=pause_s if is_retried else None)


def _failed(error: Exception, retried: tuple[type[Exception], ...], run: Run) -> Failed:
    if isinstance(error, Retry):
        return Failed(_failure(error.error), is_retried=True, delay_s=error.delay_s)
    if isinstance(error, DomainError):
        return Failed(_failure(error), is_retried=isinstance(error, retried))
    _LOGGER.error("attempt %d at task %s failed", run.attempt, run.task_id, exc_info=error, extra={"facts": {"task_id": run.task_id}})
    if (known := from_database(error)) is not None:
        # The database is the runtime's own, and another attempt does help.
        return Failed(_failure(known), is_retried=True)
    text = f"The work failed in a way that nobody foresaw; the log has more under task {run.task_id!r}."
    return Failed(Failure(INTERNAL, text), is_retried=isinstance(error, retried))


def _failure(error: DomainError) -> Failure:
    return Failure(error.reason, error.message)
