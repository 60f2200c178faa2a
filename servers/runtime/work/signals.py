"""What handlers raise, and what is raised in them."""

from __future__ import annotations

from servers.runtime.errors import DomainError


class LeaseLost(Exception):
    """The task is no longer this worker's, or may not be: nothing more may be done for it, and nothing can be written about it."""


class Cancelled(Exception):
    """Somebody asked for the end of the task. A handler cleans up and lets it pass."""


class Retry(Exception):
    """The attempt failed, and another one may succeed.

    Args:
        error: What went wrong; the task's error while it waits, and for good where attempts are exhausted.
        delay_s: Pause before the next attempt, in seconds; None = exponential with full jitter.
    """

    def __init__(self, error: DomainError, *, delay_s: float | None = None) -> None:
        super().__init__(error.message)
        self.error = error
        self.delay_s = delay_s
