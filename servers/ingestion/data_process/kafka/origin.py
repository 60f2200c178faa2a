"""Columns with where rows come from."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from servers.ingestion.data_process.kafka.message import Message

ORIGIN = pa.schema(
    [
        ("kafka_topic", pa.string()),
        ("kafka_partition", pa.int32()),
        ("kafka_offset", pa.int64()),
        ("kafka_time", pa.timestamp("us", "UTC")),
        ("kafka_key", pa.binary()),
    ]
)


def origin_arrays(messages: Sequence[Message]) -> list[pa.Array]:
    """Returns the columns of `ORIGIN` for messages."""
    values = [
        [message.topic for message in messages],
        [message.partition for message in messages],
        [message.offset for message in messages],
        [None if message.time_ms is None else message.time_ms * 1000 for message in messages],
        [message.key for message in messages],
    ]
    return [pa.array(column, field.type) for column, field in zip(values, ORIGIN, strict=True)]
