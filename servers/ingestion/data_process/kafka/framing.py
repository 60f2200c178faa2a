"""What Confluent's serializers put before a value: a zero, the identifier of its schema, and with Protocol Buffers which message it is.

See https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format.
"""

from __future__ import annotations

from servers.ingestion.data_process.kafka.message import Unreadable

_PREFIX_BYTES = 5
_MOST_VARINT_BYTES = 5
_MOST_INDEXES = 100


def unframed(value: bytes) -> bytes:
    """Passes over the identifier of a schema.

    Raises:
        Unreadable: There is none.
    """
    if len(value) < _PREFIX_BYTES or value[0] != 0:
        raise Unreadable("it does not begin with a zero and the identifier of a schema")
    return value[_PREFIX_BYTES:]


def without_indexes(value: bytes) -> bytes:
    """Passes over the path to a message in its file: its length and then its numbers, zigzag varints; 0 alone = the first message.

    Raises:
        Unreadable: There is none.
    """
    count, place = _varint(value, 0)
    if not 0 <= count <= _MOST_INDEXES:
        raise Unreadable("the path to its message type is damaged")
    for _ in range(count):
        _, place = _varint(value, place)
    return value[place:]


def _varint(value: bytes, place: int) -> tuple[int, int]:
    number = 0
    for shift, byte in enumerate(value[place : place + _MOST_VARINT_BYTES]):
        number |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            return (number >> 1) ^ -(number & 1), place + shift + 1
    raise Unreadable("the path to its message type is damaged")
