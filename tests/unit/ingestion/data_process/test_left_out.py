"""Rows that are left out are remembered in order, however many there are."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from servers.ingestion.data_process.quarantine.left_out import SCHEMA, Cursor, LeftOutRows

ROWS = st.lists(st.integers(0, 1000), unique=True, max_size=50).map(sorted)


def some(rows: list[int]) -> pa.RecordBatch:
    return pa.record_batch([pa.array(rows, pa.int64()), *(pa.array([text] * len(rows)) for text in ("c", "v", "R"))], schema=SCHEMA)


def numbers(left_out: LeftOutRows, last: int | None = None) -> list[int]:
    return [row for batch in left_out.batches(last) for row in batch.column("row").to_pylist()]


@given(ROWS, st.data())
def test_all_are_kept_and_the_last_can_be_told_alone(rows: list[int], data: st.DataObject) -> None:
    with LeftOutRows(None) as left_out:
        left_out.add(99_999, "", None, "VOID")
        left_out.clear()
        place = data.draw(st.integers(0, len(rows)))
        for row in rows[:place]:
            left_out.add(row, "c", None, "R")
        left_out.add_all(some(rows[place:]))
        last = data.draw(st.integers(0, len(rows)))

        assert left_out.count == len(rows)
        assert numbers(left_out) == rows
        assert numbers(left_out, last) == rows[len(rows) - last :]


@given(ROWS, st.lists(st.integers(0, 1001), max_size=5).map(sorted))
def test_a_cursor_gives_each_once(rows: list[int], ends: list[int]) -> None:
    parts = [some(rows[: len(rows) // 2]), some(rows[len(rows) // 2 :])]
    cursor = Cursor(part for part in parts if part.num_rows)
    given_so_far: list[int] = []
    for end in [*ends, 1001]:
        given_so_far += [row for batch in cursor.below(end) for row in batch.column("row").to_pylist()]
        assert given_so_far == [row for row in rows if row < end]
