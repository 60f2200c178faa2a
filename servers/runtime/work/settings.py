"""How patiently tasks are worked on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class WorkSettings:
    """Settings of the workers of one process."""

    threads: int = 4
    """Tasks that run at the same time."""

    lease_s: float = 15.0
    """How long a task stays with a worker that shows no life, in seconds. It is renewed three times as often. The clocks of all workers
    must differ by much less."""

    poll_interval_s: float = 1.0
    """Pause between two looks for tasks that other processes enqueued or lost, in seconds."""

    first_retry_s: float = 1.0
    """Longest pause before the second attempt, in seconds; it doubles with each further one."""

    longest_retry_s: float = 300.0
    """Longest pause before any attempt, in seconds."""

    retention_s: float = 7 * 24 * 3600.0
    """How long ended tasks are kept, in seconds."""

    grace_s: float = 5.0
    """On stop: how long tasks that run may take to finish, in seconds. Then they are given back to the queue."""


def retry_pause_s(settings: WorkSettings, attempt: int, random: Callable[[], float]) -> float:
    """Returns the pause before the next attempt, in seconds: exponential with full jitter, so that those who failed together return apart.

    See https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/.

    Args:
        settings: The bounds.
        attempt: The number of the attempt that failed, from 1.
        random: A number from 0 to 1.
    """
    # The exponent is capped so that many attempts do not overflow a float.
    return random() * min(settings.longest_retry_s, settings.first_retry_s * 2.0 ** min(attempt - 1, 32))
