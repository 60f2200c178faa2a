"""Rows of a dataset as keys and vectors of the online store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from servers.features.data_process.utc_times import utc_times
from servers.features.online import JoinKey, JoinKeyType, OnlineRow, VectorSchema
from servers.features.online.arrow_columns import keys_of_batch, vectors_of_batch

# No feature has a space in its name.
_EVENT_TIME = "event time"


@dataclass(frozen=True)
class ViewColumns:
    """Which columns of a dataset a view reads, and how.

    Args:
        keys: Join keys in order.
        key_columns: The column of each.
        schema: What vectors hold.
        feature_columns: The column of each feature, in the schema's order.
        event_time: Column with the event times.
        write_time: Column with the write times; empty where there is none.
        default_write_time_us: Write time where there is no column: the same for each attempt, so that a repeat writes the same bytes.
        latest_us: Events after this moment are left out.
    """

    keys: tuple[JoinKey, ...]
    key_columns: tuple[str, ...]
    schema: VectorSchema
    feature_columns: tuple[str, ...]
    event_time: str
    write_time: str
    default_write_time_us: int
    latest_us: int

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> ViewColumns:
        """Reads what the server says; see `jobs.materializing`."""
        keys, features = arguments["keys"], arguments["features"]
        return cls(
            keys=tuple(JoinKey(name, JoinKeyType(kind)) for name, kind, _ in keys),
            key_columns=tuple(column for _, _, column in keys),
            schema=VectorSchema.of((name, kind) for name, kind, _ in features),
            feature_columns=tuple(column for _, _, column in features),
            event_time=arguments["event_time"],
            write_time=arguments["write_time"],
            default_write_time_us=arguments["default_write_time_us"],
            latest_us=arguments["latest_us"],
        )

    @property
    def names(self) -> list[str]:
        """Columns that are read, each once."""
        write_time = [self.write_time] if self.write_time else []
        return [*dict.fromkeys((*self.key_columns, self.event_time, *write_time, *self.feature_columns))]


@dataclass(frozen=True)
class OnlineBatch:
    """A batch as the online store takes it.

    Args:
        rows: Keys and vectors.
        incomplete_rows: Rows that have no key, event time or write time.
        future_rows: Rows with an event time that is too late.
        newest_event_time_us: Of the rows; None where there are none.
    """

    rows: list[OnlineRow] = field(default_factory=list)
    incomplete_rows: int = 0
    future_rows: int = 0
    newest_event_time_us: int | None = None


def online_batch(columns: ViewColumns, batch: pa.RecordBatch) -> OnlineBatch:
    """Returns a batch as the online store takes it.

    Args:
        columns: How it is read.
        batch: With these columns.

    Raises:
        InvalidFeatureValue: A value does not fit its feature's type.
        InvalidEntityKey: A key does not fit its type.
        ViewTimeType: A time is none.
    """
    events = utc_times(batch.column(columns.event_time), columns.event_time)
    writes = utc_times(batch.column(columns.write_time), columns.write_time) if columns.write_time else None
    needed = [events, *([] if writes is None else [writes]), *(batch.column(name) for name in columns.key_columns)]
    is_whole = reduce(pc.and_, (each.is_valid() for each in needed))
    latest = pa.scalar(columns.latest_us, pa.int64()).cast(pa.timestamp("us")).cast(events.type)
    is_taken = pc.and_(is_whole, pc.fill_null(pc.less_equal(events, latest), False))
    whole_rows, taken_rows = (pc.sum(each, min_count=0).as_py() for each in (is_whole, is_taken))
    counts = {"incomplete_rows": batch.num_rows - whole_rows, "future_rows": whole_rows - taken_rows}
    if not taken_rows:
        return OnlineBatch(**counts)
    taken, events = batch.filter(is_taken), events.filter(is_taken)
    keys = keys_of_batch(columns.keys, _key_batch(columns, taken), [key.name for key in columns.keys])
    write_times = (
        np.full(taken_rows, columns.default_write_time_us, np.int64)
        if writes is None
        else writes.filter(is_taken).cast(pa.int64()).to_numpy(zero_copy_only=False)
    )
    vectors = vectors_of_batch(columns.schema, _feature_batch(columns, taken, events), _EVENT_TIME, write_times)
    newest = pc.max(events).cast(pa.int64()).as_py()
    return OnlineBatch([OnlineRow(key, vector) for key, vector in zip(keys, vectors, strict=True)], **counts, newest_event_time_us=newest)


def _key_batch(columns: ViewColumns, batch: pa.RecordBatch) -> pa.RecordBatch:
    arrays = [
        utc_times(batch.column(column), column) if key.type is JoinKeyType.TIMESTAMP else batch.column(column)
        for key, column in zip(columns.keys, columns.key_columns, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, [key.name for key in columns.keys])


def _feature_batch(columns: ViewColumns, batch: pa.RecordBatch, events: pa.Array) -> pa.RecordBatch:
    features = columns.schema.features
    arrays = [
        _feature_times(batch.column(column), column) if feature.type.name == "timestamp" else batch.column(column)
        for feature, column in zip(features, columns.feature_columns, strict=True)
    ]
    return pa.RecordBatch.from_arrays([*arrays, events], [*(feature.name for feature in features), _EVENT_TIME])


def _feature_times(array: pa.Array, column: str) -> pa.Array:
    return array if pa.types.is_null(array.type) else utc_times(array, column)
