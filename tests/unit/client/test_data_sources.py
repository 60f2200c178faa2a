from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, date, datetime
from itertools import count
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlmesh.data_sources import is_too_large, source_message
from mlmesh.data_uploads import DataUpload
from mlmesh.errors import InvalidArgument
from mlmesh.json_values import plain_struct
from mlmesh.suites import suite_message
from mlops.ingestion.v1 import ingestion_service_pb2

MIB = 1024 * 1024
UPLOAD = DataUpload("7b0a3a2e-0000-4000-8000-000000000000", "a.csv", 5, 5, True, datetime.now(UTC))


def test_a_text_with_a_scheme_is_a_place_and_any_other_a_path(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id\n1\n")
    assert source_message("s3://bucket/a.csv").uri == "s3://bucket/a.csv"
    assert source_message(str(tmp_path / "a.csv")).file.data == b"id\n1\n"


@pytest.mark.parametrize("data", [b"id\n1\n", bytearray(b"id\n1\n"), memoryview(b"id\n1\n")], ids=lambda data: type(data).__name__)
def test_bytes_need_a_name_or_a_format(data: Any) -> None:
    with pytest.raises(InvalidArgument, match="a name or a format") as refused:
        source_message(data)
    assert "flights.csv" in refused.value.hint
    assert source_message(data, name="a.csv").file.name == "a.csv"
    assert source_message(data, format="csv").file.data == b"id\n1\n"


def test_what_is_too_large_for_a_request_is_known_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "large.csv"
    path.touch()
    os.truncate(path, 15 * MIB + 1)
    monkeypatch.setattr(Path, "open", lambda *_: pytest.fail("it was read"))
    assert is_too_large(path)
    assert is_too_large(str(path))
    assert is_too_large(memoryview(bytes(15 * MIB + 1)), format="csv")
    os.truncate(path, 15 * MIB)
    assert not is_too_large(path)
    assert not is_too_large(bytes(15 * MIB), name="a.csv")
    for other in ("s3://bucket/key", tmp_path / "nothing", tmp_path, [{"id": 1}], UPLOAD):
        assert not is_too_large(other)
    with pytest.raises(InvalidArgument, match="a name or a format"):
        is_too_large(bytes(16 * MIB))


def test_a_file_that_has_grown_meanwhile_is_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"a\.csv has more than 15,728,640 bytes") as refused:
        source_message(bytes(16 * MIB), name="a.csv")
    assert refused.value.reason == "SOURCE_TOO_LARGE"
    assert "upload_data" in refused.value.hint


def test_an_upload_is_a_source() -> None:
    assert source_message(UPLOAD).upload_id == UPLOAD.id


def test_rows_keep_the_order_of_their_columns() -> None:
    rows = [{"z": 1, "a": None, "m": 2.0}, {"b": 2**62, "a": date(2020, 2, 29), "z": "\u202b鹿\n"}]
    sent = source_message(rows).file
    assert sent.name == "rows.ndjson"
    assert sent.data == '{"z":1,"a":null,"m":2}\n{"b":4611686018427387904,"a":"2020-02-29","z":"\u202b鹿\\n"}\n'.encode()


def test_the_largest_file_fits_into_a_message(tmp_path: Path) -> None:
    path = tmp_path / "large.csv"
    path.write_bytes(bytes(15 * MIB))
    request = ingestion_service_pb2.IngestDataRequest(source=source_message(path))
    assert 15 * MIB < request.ByteSize() < 16 * MIB


def test_rows_that_never_end_are_given_up() -> None:
    taken = []

    def rows() -> Iterator[dict[str, str]]:
        for number in count():
            taken.append(number)
            yield {"text": "x" * MIB}

    with pytest.raises(InvalidArgument, match="the rows have more than 15,728,640 bytes from row 15 on"):
        source_message(rows())
    assert len(taken) == 15


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ([], "there are no rows"),
        (b"", "the data is empty"),
        ({"id": 1}, "one mapping is no list"),
        ([{"id": 1}, [1]], "row 2 is a list, not a mapping"),
        ([{"id": 1}, {"id": 10**38}], "row 2, id: is a whole number of more than 38 digits"),
        ([{1: 1}], "row 1: has the key 1"),
        (pd.DataFrame({"id": [1]}), "data frame"),
        (7, "a int is no source"),
    ],
)
def test_what_is_no_data_is_refused(source: Any, said: str) -> None:
    with pytest.raises(InvalidArgument, match=said) as refused:
        source_message(source, format="csv")
    assert refused.value.reason


@pytest.mark.parametrize("name", ["nothing.csv", "."])
def test_a_path_without_a_file_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidArgument, match="there is no file at") as refused:
        source_message(tmp_path / name)
    assert refused.value.reason == "FILES_MISSING"


def test_an_empty_file_is_refused_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "a.csv").touch()
    with pytest.raises(InvalidArgument, match=r"a\.csv is empty"):
        source_message(tmp_path / "a.csv")


class TestSuites:
    def test_a_suite_is_a_mapping_or_a_file(self, tmp_path: Path) -> None:
        suite = {"name": "s", "expectations": [{"type": "expect_column_to_exist", "kwargs": {"column": "id"}}]}
        (tmp_path / "s.json").write_text(json.dumps(suite))
        assert suite_message(suite) == suite_message(tmp_path / "s.json") == suite_message(str(tmp_path / "s.json"))
        assert plain_struct(suite_message(suite)) == suite

    @pytest.mark.parametrize(
        ("content", "said"), [("{", "cannot be read"), ("[]", "no JSON object"), ('{"a": NaN}', "a: nan"), (None, "cannot")]
    )
    def test_a_file_without_a_suite_is_refused(self, tmp_path: Path, content: str | None, said: str) -> None:
        path = tmp_path / "s.json"
        if content is not None:
            path.write_text(content)
        with pytest.raises(InvalidArgument, match=said):
            suite_message(path)
