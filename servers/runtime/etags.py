"""Optimistic concurrency: an etag says which state a change was based on (contracts, point 7)."""

from __future__ import annotations

import hashlib

from servers.runtime.errors import Aborted


def etag_of(*parts: object) -> str:
    """An etag over whatever changes when the resource does, for example its revision, or its fields.

    Args:
        parts: Values whose `repr` is stable: strings, numbers, datetimes, tuples of them.

    Returns:
        32 hexadecimal digits.
    """
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def check_etag(sent: str, current: str) -> None:
    """Refuses a change that was based on another state.

    Args:
        sent: The request's `etag`; empty = the caller does not mind.
        current: The resource's etag.

    Raises:
        Aborted: They differ, reason ETAG_MISMATCH.
    """
    if sent and sent != current:
        raise Aborted(
            f"The resource has changed since it was read: etag {sent!r} was sent, {current!r} is current. Read it and repeat the change.",
            metadata={"sent": sent, "current": current},
            reason="ETAG_MISMATCH",
        )
