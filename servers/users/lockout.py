"""How long a user name is locked after wrong passwords.

The lock belongs to the name that was tried, whether a user has it or not, so neither the answer nor its timing tells which names exist.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True)
class LockoutPolicy:
    """When guessing is slowed down.

    Args:
        free_attempts: Wrong passwords without a lock.
        first_lock_s: Lock after the next wrong one, in seconds; each further one doubles it.
        longest_lock_s: Longest lock, in seconds.
        forget_after_s: Wrong passwords older than this, in seconds, no longer count.
    """

    free_attempts: int = 4
    first_lock_s: float = 30.0
    longest_lock_s: float = 900.0
    forget_after_s: float = 3600.0


@dataclass(frozen=True)
class Attempts:
    """Wrong passwords in a row for one name.

    Args:
        failures: How many.
        last_failure_time: When the last was.
        lock_expire_time: When the lock ends; None without one.
    """

    failures: int
    last_failure_time: datetime
    lock_expire_time: datetime | None

    def is_locked(self, now: datetime) -> bool:
        """Whether even the right password is refused."""
        return self.lock_expire_time is not None and now < self.lock_expire_time


def after_failure(policy: LockoutPolicy, before: Attempts | None, now: datetime) -> Attempts:
    """Counts one more wrong password.

    Args:
        policy: The limits.
        before: What was known of the name; None where nothing.
        now: The moment of the failure.

    Returns:
        What is known now. A try during a lock changes nothing: it was not looked at.
    """
    if before is not None and before.is_locked(now):
        return before
    is_fresh = before is None or (now - before.last_failure_time).total_seconds() > policy.forget_after_s
    failures = 1 if before is None or is_fresh else before.failures + 1
    lock_s = lock_duration_s(policy, failures)
    return Attempts(failures, now, now + timedelta(seconds=lock_s) if lock_s else None)


def lock_duration_s(policy: LockoutPolicy, failures: int) -> float:
    """Seconds of lock after that many wrong passwords in a row."""
    beyond = failures - policy.free_attempts
    if beyond <= 0:
        return 0.0
    # The exponent is capped: 2.0 ** 2000 is an OverflowError.
    return float(min(policy.longest_lock_s, policy.first_lock_s * 2.0 ** min(beyond - 1, 30)))


def login_key(username: str) -> str:
    """What the attempts of a name are kept under. A hash, since people type passwords into the wrong field."""
    return hashlib.sha256(username.strip().lower().encode()).hexdigest()
