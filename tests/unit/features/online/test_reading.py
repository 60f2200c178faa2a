"""Columns of several views, with a status for every value."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from servers.features.online import (
    JoinKey,
    JoinKeyType,
    OnlineRow,
    OnlineStore,
    ValueStatus,
    VectorSchema,
    ViewRead,
    entity_keys,
    python_values,
    read_views,
)
from servers.features.online.arrow_columns import keys_of_batch, vectors_of_batch
from servers.features.online.lmdb_store import LmdbOnlineStore

USER = [JoinKey("user_id", JoinKeyType.INT64)]
SCHEMA = VectorSchema.of([("age", "int32"), ("name", "string"), ("embedding", "list<float32>")])
P, N, F, A = ValueStatus.PRESENT, ValueStatus.NULL, ValueStatus.NOT_FOUND, ValueStatus.OUTSIDE_MAX_AGE


@pytest.fixture
def store(tmp_path: Path) -> Iterator[OnlineStore]:
    opened = LmdbOnlineStore(tmp_path)
    yield opened
    opened.close()


def fill(store: OnlineStore, view: str, users: list[int], event_times: list[int], **columns: list[Any]) -> None:
    times = pa.array(event_times, pa.timestamp("us", "UTC"))
    batch = pa.record_batch({"user": pa.array(users), "t": times, **{name: pa.array(values) for name, values in columns.items()}})
    vectors = vectors_of_batch(SCHEMA, batch, "t", np.full(len(users), 1000))
    store.write(view, map(OnlineRow, keys_of_batch(USER, batch, ["user"]), vectors))


def users(*numbers: int) -> list[bytes]:
    return entity_keys(USER, [list(numbers)])


def test_values_have_their_status_and_rows_the_order_of_the_keys(store: OnlineStore) -> None:
    fill(store, "v", [1, 2, 3], [100, 50, 90], age=[30, 40, None], name=["a", None, ""], embedding=[[1.0, 2.0], [3.0], None])
    [rows] = read_views(store, [ViewRead("v", SCHEMA, users(3, 9, 1, 2, 1), max_age_us=20)], now_us=110)
    assert rows.statuses.tolist() == [[N, F, P, A, P], [P, F, P, A, P], [N, F, P, A, P]]
    assert rows.event_times_us.tolist() == [90, 0, 100, 50, 100]
    assert rows.foreign_rows == 0
    assert {name: python_values(column) for name, column in rows.columns.items()} == {
        "age": [None, None, 30, None, 30],
        "name": ["", None, "a", None, "a"],
        "embedding": [None, None, [1.0, 2.0], None, [1.0, 2.0]],
    }
    # What is too old is not in the arrays either.
    assert rows.columns["age"].values.tolist() == [0, 0, 30, 0, 30]


@pytest.mark.parametrize(("now", "status"), [(99, P), (100, P), (120, P), (121, A), (10**15, A)])
def test_the_oldest_age_that_is_allowed_is_allowed(store: OnlineStore, now: int, status: ValueStatus) -> None:
    fill(store, "v", [1], [100], age=[30], name=["a"], embedding=[[]])
    assert read_views(store, [ViewRead("v", SCHEMA, users(1), max_age_us=20)], now)[0].statuses.tolist() == [[status]] * 3
    assert read_views(store, [ViewRead("v", SCHEMA, users(1))], now)[0].statuses.tolist() == [[P]] * 3
    assert read_views(store, [ViewRead("v", SCHEMA, users(1), max_age_us=2**62)], now - 2**62)[0].statuses.tolist() == [[P]] * 3


def test_one_view_can_be_asked_twice_beside_others(store: OnlineStore) -> None:
    fill(store, "v", [1, 2], [100, 100], age=[1, 2], name=["a", "b"], embedding=[[], []])
    fill(store, "w", [2], [100], age=[22], name=["c"], embedding=[[]])
    reads = [
        ViewRead("v", SCHEMA, users(1)),
        ViewRead("w", SCHEMA, users(1, 2)),
        ViewRead("v", SCHEMA, users(2, 1)),
        ViewRead("v", SCHEMA, []),
    ]
    answers = read_views(store, reads, now_us=100)
    assert [python_values(rows.columns["age"]) for rows in answers] == [[1], [None, 22], [2, 1], []]
    assert [rows.statuses.shape for rows in answers] == [(3, 1), (3, 2), (3, 2), (3, 0)]
    assert read_views(store, [], now_us=100) == []


def test_vectors_of_another_version_are_not_found_and_counted(store: OnlineStore) -> None:
    fill(store, "v", [1], [100], age=[1], name=["a"], embedding=[[]])
    other = VectorSchema.of([("age", "int64"), ("name", "string"), ("embedding", "list<float32>")])
    [rows] = read_views(store, [ViewRead("v", other, users(1, 2))], now_us=100)
    assert rows.statuses.tolist() == [[F, F]] * 3
    assert (rows.foreign_rows, rows.event_times_us.tolist()) == (1, [0, 0])
