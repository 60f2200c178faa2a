"""Rows of a dataset as the online store takes them, and values that the online store would tell apart."""

from __future__ import annotations

from datetime import UTC, date, datetime

import numpy as np
import pyarrow as pa
import pytest

from servers.features.data_process.errors import ViewTimeType
from servers.features.data_process.online_rows import ViewColumns, online_batch
from servers.features.data_process.replaying import differing_rows
from servers.features.online import decode_vectors, python_values
from servers.features.online.recency import event_time_us, write_time_us

DAY_US = 86_400_000_000
COLUMNS = ViewColumns.of(
    {
        "keys": [["who", "string", "user"], ["day", "timestamp", "since"]],
        "features": [["amount", "float32", "total"], ["seen", "timestamp", "since"], ["at", "timestamp", "event"]],
        "event_time": "event",
        "write_time": "",
        "default_write_time_us": 7,
        "latest_us": 10 * DAY_US,
    }
)


def test_columns_become_features_and_dates_and_times_without_a_zone_moments() -> None:
    days = pa.array([date(1970, 1, 2), date(1970, 1, 12), None], pa.date32())
    since = pa.array([datetime(1970, 1, 1)] * 3, pa.timestamp("ns"))
    batch = pa.record_batch({"user": ["a", "b", "c"], "event": days, "since": since, "total": [0.1, 0.2, None]})

    found = online_batch(COLUMNS, batch)

    [(_, vector)] = found.rows
    assert (found.incomplete_rows, found.future_rows, found.newest_event_time_us) == (1, 1, DAY_US)
    assert (event_time_us(vector), write_time_us(vector)) == (DAY_US, 7)
    decoded = decode_vectors(COLUMNS.schema, [vector])
    values = {name: python_values(column) for name, column in decoded.columns.items()}
    assert values == {
        "amount": [float(np.float32(0.1))],
        "seen": [datetime(1970, 1, 1, tzinfo=UTC)],
        "at": [datetime(1970, 1, 2, tzinfo=UTC)],
    }
    assert COLUMNS.names == ["user", "since", "event", "total"]


def test_a_repeat_writes_the_same_bytes_and_a_time_that_is_none_is_refused() -> None:
    batch = pa.record_batch({"user": ["a"], "event": pa.array([date(1970, 1, 2)]), "since": pa.array([date(1970, 1, 1)]), "total": [1]})

    assert online_batch(COLUMNS, batch) == online_batch(COLUMNS, batch)
    with pytest.raises(ViewTimeType, match="'event' is string"):
        online_batch(COLUMNS, batch.set_column(1, "event", pa.array(["1970-01-02"])))


def test_values_differ_where_any_bit_does() -> None:
    nans = pa.array(np.array([0x7FF8000000000000, 0x7FF8000000000001], "<u8").view("<f8"))

    assert differing_rows("float64", nans, nans) == 0
    assert differing_rows("float64", nans, nans.take(pa.array([1, 0]))) == 2
    assert differing_rows("float64", pa.array([0.0, None]), pa.array([-0.0, None])) == 1
    assert differing_rows("string", pa.array(["a", "", None]), pa.array(["a", None, None])) == 1
    assert differing_rows("int64", pa.array([1, 2], pa.int32()), pa.array([1, 2], pa.int64())) == 0
