"""Which rows a gate lets through, and how it numbers those it does not."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from servers.ingestion.data_process.gate import Gate

SCHEMA = pa.schema([("id", pa.int64()), ("delay", pa.float64())])
NOT_EARLY = {"type": "expect_column_values_to_be_between", "kwargs": {"column": "delay", "min_value": 0}}
BATCHES = st.lists(st.lists(st.sampled_from([-1.0, 1.0, None]), min_size=1, max_size=6), max_size=5)


def gate(delays: list[list[float | None]], mode: str, *expectations: dict[str, Any], most: int = 100) -> tuple[Gate, list[float | None]]:
    flat = [delay for batch in delays for delay in batch]
    batches, first = [], 0
    for batch in delays:
        batches.append(
            pa.record_batch([pa.array(range(first, first + len(batch)), pa.int64()), pa.array(batch, pa.float64())], schema=SCHEMA)
        )
        first += len(batch)
    return Gate(SCHEMA, batches, {"suite": {"name": "s", "expectations": list(expectations)}, "mode": mode}, most), flat


def ids(judged: Gate) -> list[int]:
    return [number for batch in judged for number in batch.column("id").to_pylist()]


@given(BATCHES)
def test_discarding_leaves_out_the_rows_that_break_a_rule_and_no_other(delays: list[list[float | None]]) -> None:
    judged, flat = gate(delays, "DISCARD_ROW", NOT_EARLY)
    kept = [number for number, delay in enumerate(flat) if delay is None or delay >= 0]

    assert not judged.is_refused
    assert ids(judged) == kept
    assert ids(judged) == kept, "it can be read again"
    assert judged.left_out_count == len(flat) - len(kept)
    assert [row["row"] - 1 for row in judged.rejected] == [number for number in range(len(flat)) if number not in kept]
    assert [judged.row_of_source(place) for place in range(len(kept))] == kept


@given(BATCHES)
def test_freezing_refuses_all_or_nothing(delays: list[list[float | None]]) -> None:
    judged, flat = gate(delays, "FREEZE", NOT_EARLY)

    assert judged.is_refused == any(delay is not None and delay < 0 for delay in flat)
    if not judged.is_refused:
        assert ids(judged) == list(range(len(flat)))


def test_what_no_row_can_be_left_out_for_refuses_all() -> None:
    many_rows = {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 10}}

    judged, _ = gate([[-1.0, 1.0]], "DISCARD_ROW", NOT_EARLY, many_rows)

    assert judged.is_refused


def test_what_is_only_a_warning_stops_nothing() -> None:
    judged, _ = gate([[-1.0, 1.0]], "FREEZE", {**NOT_EARLY, "severity": "warning"})

    assert not judged.is_refused
    assert (judged.report["status"], ids(judged)) == ("WARNING", [0, 1])


@pytest.mark.parametrize("most", [0, 1, 2])
def test_only_so_many_rows_are_told_and_all_are_counted(most: int) -> None:
    judged, _ = gate([[-1.0, 1.0, -1.0], [-1.0]], "DISCARD_ROW", NOT_EARLY, most=most)
    list(judged)

    assert (len(judged.rejected), judged.left_out_count) == (most, 3)
