"""What DuckDB can reach, and how rows find their partition."""

from __future__ import annotations

import math
import struct
from collections import defaultdict
from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from servers.processing.kernels.cancellation import Cancellation
from servers.processing.kernels.exchange import hashed
from servers.processing.stages.stage import HashKey
from servers.runtime.duckdb_session import DuckdbLimits, locked_down, session


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM glob('/etc/*')",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM read_blob('/etc/passwd')",
        "ATTACH '/tmp/other.db'",
        "COPY (SELECT 1) TO '/tmp/out.csv'",
        "EXPORT DATABASE '/tmp/out'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET threads = 1",
        "SET GLOBAL enable_external_access = true",
        "RESET lock_configuration",
        "SELECT * FROM duckdb_secrets()",
        "CREATE SECRET (TYPE s3)",
        "SELECT getenv('HOME')",
        "SELECT * FROM a_python_variable",
        "SET temp_directory = '/tmp'",
        "PRAGMA enable_logging",
    ],
)
def test_nothing_outside_can_be_reached(statement: str, tmp_path: Path) -> None:
    a_python_variable = pa.table({"secret": [1]})

    with session(DuckdbLimits(spill_folder=tmp_path)) as connection, pytest.raises(duckdb.Error):
        connection.execute(statement)

    assert a_python_variable.num_rows == 1


def test_time_zones_are_fixed_on_cursors_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")

    with locked_down() as connection:
        zones = [each.execute("SELECT current_setting('TimeZone')").fetchall() for each in (connection, connection.cursor())]

    assert zones == [[("UTC",)], [("UTC",)]]


def test_each_session_spills_into_a_folder_of_its_own(tmp_path: Path) -> None:
    limits = DuckdbLimits(spill_folder=tmp_path)

    with session(limits), session(limits):
        assert len(list(tmp_path.iterdir())) == 2

    assert list(tmp_path.iterdir()) == []


def partitions_of(column: pa.Array, type_name: str, count: int = 16) -> list[int]:
    """The partition of each row of a column."""
    rows = pa.table({"key": column, "row": list(range(len(column)))})
    found: dict[int, int] = {}
    with locked_down() as connection:
        for number, batch in hashed(rows.to_reader(2), (HashKey("key", type_name),), count, connection, Cancellation()):
            found |= dict.fromkeys(batch["row"].to_pylist(), number)
    return [found[row] for row in range(len(column))]


def test_equal_values_of_different_types_meet() -> None:
    numbers = [1, 2, 3, None, 100]

    by_type = [partitions_of(pa.array(numbers, each), "DOUBLE") for each in (pa.int8(), pa.int64(), pa.float32(), pa.float64())]
    decimals = partitions_of(pa.array([None if each is None else Decimal(each) for each in numbers], pa.decimal128(10, 2)), "DOUBLE")

    assert all(each == by_type[0] for each in [*by_type, decimals])


def test_what_sql_holds_for_equal_is_in_one_partition() -> None:
    other_nan = struct.unpack("d", struct.pack("Q", 0xFFF8000000000001))[0]

    zeros = partitions_of(pa.array([0.0, -0.0]), "DOUBLE", 1_000)
    nans = partitions_of(pa.array([math.nan, other_nan]), "DOUBLE", 1_000)
    lists = partitions_of(pa.array([[0.0, None], [-0.0, None]]), "DOUBLE[]", 1_000)

    assert all(len(set(each)) == 1 for each in (zeros, nans, lists))


def test_keys_spread_over_all_partitions() -> None:
    rows = defaultdict(int)
    for number in partitions_of(pa.array(range(16_000)), "BIGINT"):
        rows[number] += 1

    assert len(rows) == 16
    assert max(rows.values()) < 1.2 * 1_000


def test_no_row_is_lost_on_the_way() -> None:
    rows = pa.table({"key": [None, "a", "é", ""] * 100, "row": list(range(400))})

    with locked_down() as connection:
        moved = pa.Table.from_batches([batch for _, batch in hashed(rows, (HashKey("key", "VARCHAR"),), 7, connection, Cancellation())])

    assert moved.sort_by("row").equals(rows)
