"""Which of two vectors is the newer one: the one whose bytes are greater.

A vector begins with its event time and its write time, each as 8 bytes, most significant first, with the sign turned. So the order of
bytes is the order of time: a later event wins, then a later write, and where both are equal the greater rest, so that writers who
disagree end with the same vector in whatever order they come. Stores know nothing else of a vector.
"""

from __future__ import annotations

from servers.features.online.errors import InvalidFeatureValue

__all__ = ["TIMES_BYTES", "event_time_us", "time_prefix", "write_time_us"]

TIMES_BYTES = 16
"""How many bytes of a vector are its times."""

_SIGN = 1 << 63


def time_prefix(time_us: int) -> bytes:
    """Return the first 8 bytes of every vector of an event time; those of older vectors are less, those of newer ones greater.

    Args:
        time_us: Microseconds since 1970-01-01 UTC.

    Raises:
        InvalidFeatureValue: If it takes more than 64 bits.
    """
    if not -_SIGN <= time_us < _SIGN:
        raise InvalidFeatureValue(f"the time {time_us} is beyond 64 bits of microseconds since 1970-01-01")
    return (time_us + _SIGN).to_bytes(8, "big")


def event_time_us(vector: bytes) -> int:
    """Return when the values of a vector came to be, in microseconds since 1970-01-01 UTC."""
    return int.from_bytes(vector[:8], "big") - _SIGN


def write_time_us(vector: bytes) -> int:
    """Return when the values were written to where the vector was made from, in microseconds since 1970-01-01 UTC."""
    return int.from_bytes(vector[8:TIMES_BYTES], "big") - _SIGN
