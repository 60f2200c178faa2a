"""Values, options and changes as JSON has them."""

from __future__ import annotations

import base64
import math
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import orjson
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from servers.ingestion.data_process.json_values import json_rows, json_value
from servers.ingestion.data_process.progress import RowsRead
from servers.ingestion.data_process.read_options import parsed_options
from servers.ingestion.data_process.schema_sentences import sentences
from servers.ingestion.data_process.table_root import TableRoot
from servers.ingestion.errors import InvalidReadOptions
from servers.ingestion.readers.options import Compression, Format, ReadOptions
from servers.ingestion.tables import ChangeKind, SchemaChange


class TestValues:
    @given(st.integers(-(2**63), 2**63 - 1))
    def test_whole_numbers_are_exact(self, number: int) -> None:
        assert orjson.loads(orjson.dumps(json_rows(pa.table({"a": pa.array([number])})))) == [{"a": number}]

    @given(st.floats())
    def test_floats_are_exact_or_named(self, number: float) -> None:
        told = orjson.loads(orjson.dumps(json_value(number)))
        assert math.isnan(float(told)) if math.isnan(number) else float(told) == number
        assert isinstance(told, str) is not math.isfinite(number)

    def test_every_type_has_a_form(self) -> None:
        instant = datetime(2026, 1, 31, 12, 30, 0, 5, tzinfo=UTC)
        row: dict[str, Any] = {
            "day": date(2026, 1, 31),
            "instant": instant,
            "wall": instant.replace(tzinfo=None),
            "money": Decimal("12345678901234567890.10"),
            "bytes": b"\x00\xff",
            "list": [1.5, math.inf, None],
            "struct": {"a": date(2026, 1, 31), "b": None},
            "text": "é",
            "flag": True,
            "none": None,
        }
        table = pa.Table.from_pylist([row]).append_column("map", pa.array([[("k", b"v")]], pa.map_(pa.string(), pa.binary())))
        assert orjson.loads(orjson.dumps(json_rows(table))) == [
            {
                "day": "2026-01-31",
                "instant": "2026-01-31T12:30:00.000005+00:00",
                "wall": "2026-01-31T12:30:00.000005",
                "money": "12345678901234567890.10",
                "bytes": base64.b64encode(b"\x00\xff").decode(),
                "list": [1.5, "Infinity", None],
                "struct": {"a": "2026-01-31", "b": None},
                "text": "é",
                "flag": True,
                "none": None,
                "map": [{"key": "k", "value": base64.b64encode(b"v").decode()}],
            }
        ]

    def test_years_that_python_has_not_are_told(self) -> None:
        far = pa.array([4_000_000], pa.int32()).cast(pa.date32())
        assert json_rows(pa.table({"a": far}))[0]["a"].startswith("12921-")

    def test_numbers_beyond_64_bits_are_text(self) -> None:
        assert json_value({"a": [2**63, -(2**63)]}) == {"a": [str(2**63), -(2**63)]}


class TestReadOptions:
    def test_nothing_said_is_the_readers_own(self) -> None:
        assert parsed_options({}, "a.csv") == ReadOptions()

    def test_everything_said_arrives(self) -> None:
        read = {
            "format": "NDJSON",
            "compression": "GZIP",
            "delimiter": ";",
            "quote": "",
            "escape": "\\",
            "has_header": False,
            "encoding": "latin-1",
            "null_values": ["-"],
            "skip_rows": 2,
            "sheet": "s",
            "json_path": "rows",
            "column_types": {"zip": "string", "price": "decimal128(10, 2)"},
        }
        types = {"zip": pa.string(), "price": pa.decimal128(10, 2)}
        expected = ReadOptions(Format.NDJSON, Compression.GZIP, ";", "", "\\", False, "latin-1", ("-",), 2, "s", "rows", types)
        assert parsed_options(read, "a.csv") == expected

    @pytest.mark.parametrize(
        "read",
        [
            *({"format": "csv"}, {"format": None}, {"format": []}, {"compression": "RAR"}, {"delimiter": 1}, {"has_header": "yes"}),
            *({"skip_rows": -1}, {"skip_rows": True}, {"skip_rows": 1.0}, {"null_values": "NA"}, {"null_values": [1]}, {"unknown": 1}),
            *({"column_types": {"a": 1}}, {"column_types": ["a"]}, {"column_types": {"a": "varchar"}}),
        ],
    )
    def test_other_values_are_refused(self, read: dict[str, Any]) -> None:
        with pytest.raises(InvalidReadOptions, match=r"a\.csv"):
            parsed_options(read, "a.csv")


def test_progress_is_told_at_most_twice_a_second() -> None:
    told: list[int] = []
    times = iter([0.0, 0.0, 0.1, 0.49, 0.5, 0.9])
    read = RowsRead(lambda progress: told.append(progress["rows_read"]), lambda: next(times))
    batches = pa.table({"a": range(50)}).to_batches(max_chunksize=10)
    assert list(read.counted(batches)) == batches
    assert (told, read.count) == ([10, 40], 50)


def test_changes_are_sentences() -> None:
    added = SchemaChange(ChangeKind.COLUMN_ADDED, "x", to_type="int64")
    widened = SchemaChange(ChangeKind.TYPE_WIDENED, "y", "int64", "double")
    assert sentences([added, widened]) == ["column 'x' was added (int64)", "column 'y' was widened from int64 to double"]
    assert sentences([SchemaChange(ChangeKind.TABLE_CREATED), added]) == ["the table was created with 1 column"]
    renamed = SchemaChange(ChangeKind.COLUMN_RENAMED, "x", new_name="z")
    assert sentences([renamed, SchemaChange(ChangeKind.COLUMN_DROPPED, "y")]) == ["column 'x' was renamed to 'z'", "column 'y' was dropped"]
    others = [kind for kind in ChangeKind if kind is not ChangeKind.TABLE_CREATED]
    assert len(sentences([SchemaChange(kind, "x") for kind in others])) == len(others)


class TestTableRoot:
    @pytest.mark.parametrize(
        ("url", "root"),
        [
            ("file:///var/tables", TableRoot("file:///var/tables", "")),
            ("s3://bucket/a/b", TableRoot("s3://bucket/a/b", "")),
            ("s3://bucket/a?endpoint=http://h:1", TableRoot("s3://bucket/a", "http://h:1")),
        ],
    )
    def test_an_endpoint_is_taken_off(self, url: str, root: TableRoot) -> None:
        assert TableRoot.parsed(url) == root
        assert root.is_s3 is url.startswith("s3")

    @pytest.mark.parametrize(
        "url",
        [
            "/var",
            "http://a",
            "s3://k:secret@b",
            "s3://b?key=secret",
            "file:///a?endpoint=http://h",
            "s3://b?endpoint=secret",
            "s3://b?endpoint=http://secret@h",
        ],
    )
    def test_others_are_refused_and_not_repeated(self, url: str) -> None:
        with pytest.raises(ValueError, match="URL of tables") as caught:
            TableRoot.parsed(url)
        assert "secret" not in str(caught.value)
