"""One plan, the same rows: the local engine, and stages over 1, 2 and 7 partitions with real exchanges."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from servers.processing.engines.local import LocalEngine
from servers.processing.engines.partitioned import even_slices
from servers.processing.plan.binding import bind
from servers.processing.plan.nodes import CrossJoin, Scan, Top
from servers.processing.plan.plan import Plan
from servers.runtime.errors import DomainError
from tests.integration.processing.plans import SCHEMAS, plans, tables
from tests.integration.processing.relations import LIMITS, partitioned, results, rows_of


def all_in_the_first(rows: pa.Table, count: int) -> Sequence[pa.Table]:
    return [rows, *[rows.slice(0, 0)] * (count - 1)]


def one_row_then_the_rest(rows: pa.Table, count: int) -> Sequence[pa.Table]:
    return [*[rows.slice(0, 0)] * (count - 1), rows.slice(0, 1), rows.slice(1)]


def no_partitions_if_empty(rows: pa.Table, count: int) -> Sequence[pa.Table]:
    return even_slices(rows, count) if rows.num_rows else []


SPLITS = [even_slices, all_in_the_first, one_row_then_the_rest, no_partitions_if_empty]
SMALL: list[Callable[[str], bool]] = [lambda _: False, lambda _: True, lambda name: bool(zlib.crc32(name.encode()) % 2)]


@pytest.mark.parametrize("count", [1, 2, 7])
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(plan=plans(), inputs=tables, split=st.sampled_from(SPLITS), is_small=st.sampled_from(SMALL), batch_rows=st.sampled_from([1, 3, 100]))
def test_every_engine_gives_the_same_rows(
    count: int, plan: Plan, inputs: dict[str, pa.Table], split: Any, is_small: Callable[[str], bool], batch_rows: int
) -> None:
    bound = bind(plan, SCHEMAS)
    streams = {name: table.to_reader(batch_rows) for name, table in inputs.items()}

    wanted, wanted_error = _attempted(lambda: results(LocalEngine(LIMITS), bound, streams))
    found, found_error = _attempted(lambda: results(partitioned(count, is_small, split), bound, inputs))

    assert found_error == wanted_error
    assert {name: rows_of(table) for name, table in found.items()} == {name: rows_of(table) for name, table in wanted.items()}


@pytest.mark.parametrize("split", SPLITS)
def test_a_scan_of_some_columns_is_moved_whole(split: Any) -> None:
    rows = pa.table({"key": [1, 2, 3], "word": ["a", "b", "c"], "other": [1.5, 2.5, 3.5]})
    some = Scan("some", "rows", ("word", "key"))
    for steps in ((some, Top("out", "some", (), 2)), (some, CrossJoin("out", "some", "some"))):
        bound = bind(Plan(steps, ("out",)), {"rows": rows.schema})

        found = results(partitioned(3, lambda _: True, split), bound, {"rows": rows})

        assert rows_of(found["out"]) == rows_of(results(LocalEngine(LIMITS), bound, {"rows": rows})["out"])


def _attempted(work: Callable[[], dict[str, pa.Table]]) -> tuple[dict[str, pa.Table], str]:
    """The rows, or the reason for which there are none: an overflow is one on every engine."""
    try:
        return work(), ""
    except DomainError as error:
        return {}, error.reason
