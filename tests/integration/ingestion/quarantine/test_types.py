"""Whatever type a row was read in, a replay has it again, to the last digit."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from tests.integration.ingestion.quarantine.bench import Bench

VALUES: dict[str, tuple[pa.DataType, Any]] = {
    "int8": (pa.int8(), -128),
    "int16": (pa.int16(), 2**15 - 1),
    "int32": (pa.int32(), -(2**31)),
    "int64": (pa.int64(), 2**63 - 1),
    "uint64": (pa.uint64(), 2**64 - 1),
    "float32": (pa.float32(), 1.1754943508222875e-38),
    "float64": (pa.float64(), 0.1 + 0.2),
    "infinity": (pa.float64(), float("-inf")),
    "bool": (pa.bool_(), True),
    "string": (pa.string(), 'Zoë; "x"\n鹿 🦌 \u202b‏שלום'),
    "empty": (pa.string(), ""),
    "binary": (pa.binary(), b"\0\xff{}"),
    "date": (pa.date32(), date(1, 1, 1)),
    "instant": (pa.timestamp("us", "UTC"), datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)),
    "wall time": (pa.timestamp("us"), datetime(1905, 1, 2, 3, 4, 5, 6)),
    "berlin": (pa.timestamp("ns", "Europe/Berlin"), datetime(2020, 2, 29, 12, tzinfo=UTC)),
    "decimal": (pa.decimal128(38, 2), Decimal("123456789012345678901234567890123456.78")),
    "list": (pa.list_(pa.int64()), [2**62, None]),
    "lists": (pa.list_(pa.list_(pa.string())), [["x", None], None, []]),
    "map": (pa.map_(pa.string(), pa.decimal128(10, 2)), [("k", Decimal("1.10")), ("l", None)]),
    "struct": (pa.struct([("a`.b", pa.int32()), ("c", pa.list_(pa.binary()))]), {"a`.b": 1, "c": [b"\0", None]}),
    "nothing": (pa.null(), None),
}


@pytest.fixture
def typed(bench: Bench) -> Bench:
    """A dataset that has a column of each type and one that no row of the second table fits."""
    columns = {name: pa.array([value, None], kind) for name, (kind, value) in VALUES.items()}
    bench.ingest(pa.table({"key": [1, 2], **columns, "late": [1, 2]}), contract={})
    outcome = bench.ingest(pa.table({"key": [3, 4], **columns, "late": ["x", "y"]}))
    assert (outcome["rows_written"], outcome["rows_quarantined"]) == (0, 2)
    return bench


def test_a_replayed_row_is_what_it_would_have_been(typed: Bench) -> None:
    outcome = typed.replay(repairs={row["id"]: {"late": 7} for row in typed.rows()})

    assert (outcome["rows_written"], outcome["schema_changes"]) == (2, [])
    written = typed.dataset_rows().sort_by("key").drop_columns(["key", "late"])
    assert written.slice(2).combine_chunks() == written.slice(0, 2).combine_chunks()
    assert typed.rows() == []


def test_shown_values_can_be_given_back_as_repairs(typed: Bench) -> None:
    rows = typed.rows()
    outcome = typed.replay(repairs={row["id"]: {**row["data"], "late": 7} for row in rows})

    assert (outcome["rows_written"], outcome["rejected"], outcome["schema_changes"]) == (2, [], [])
    written = typed.dataset_rows().sort_by("key").drop_columns(["key", "late"])
    assert written.slice(2).combine_chunks() == written.slice(0, 2).combine_chunks()


@pytest.mark.parametrize(
    ("column", "value"),
    [
        *(("int8", 128), ("int64", 1.5), ("int64", str(2**63)), ("bool", 1), ("binary", "no base64!"), ("date", "2020-02-30")),
        *(("instant", "2020-01-01T00:00:00"), ("decimal", "0.001"), ("list", "x"), ("list", [1.5]), ("map", {"k": 1})),
        *(("struct", {"unknown": 1}), ("struct", 7), ("lists", [[{"a": 1}, 2]]), ("float64", "1e"), ("float32", 0.1), ("unknown", 1)),
    ],
)
def test_a_repair_that_does_not_fit_leaves_the_row_in_quarantine(typed: Bench, column: str, value: Any) -> None:
    row = typed.rows()[0]
    outcome = typed.replay(repairs={row["id"]: {"late": 7, column: value}})

    assert outcome["rows_written"] == 0
    assert [(told["row"], told["column"]) for told in outcome["rejected"]] == [(1, column)]
    stays = next(each for each in typed.rows() if each["id"] == row["id"])
    assert (stays["column"], stays["data"]["late"]) == (column, 7)
    # It can be repaired again, and nothing of it was lost.
    assert typed.replay(repairs={row["id"]: {column: row["data"].get(column)}})["rows_written"] == 1
    written = typed.dataset_rows().sort_by("key").drop_columns(["key", "late"])
    assert written.slice(2).combine_chunks() == written.slice(0, 1).combine_chunks()
