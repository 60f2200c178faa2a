"""Files become datasets whose rows are what pyarrow and Polars read from the same files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from mlops.common.v1.job_pb2 import JOB_STATE_SUCCEEDED
from mlops.ingestion.v1 import ingestion_pb2

from tests.integration.ingestion.server.places import rows_of
from tests.integration.ingestion.server.samples import SAMPLES, Sample
from tests.integration.ingestion.server.served import ServedIngestion


@pytest.fixture(params=SAMPLES)
def sample(request: pytest.FixtureRequest) -> Sample:
    return SAMPLES[request.param]


def check_rows(server: ServedIngestion, dataset: str, expected: pa.Table) -> None:
    """The dataset has these rows, types and all, in whatever order."""
    found = rows_of(server.place.table(dataset))
    assert found.schema.remove_metadata().equals(expected.schema.remove_metadata())
    assert by_key(found) == by_key(expected)


def by_key(table: pa.Table) -> list[dict[str, Any]]:
    return sorted(table.to_pylist(), key=lambda row: row["id"])


class Files:
    """Files of a format, each as the server finds it and as pyarrow and Polars do."""

    def __init__(self, server: ServedIngestion, sample: Sample, folder: Path, dataset: str) -> None:
        self._server, self._sample, self._folder, self._dataset = server, sample, folder, dataset

    def put(self, name: str, table: pa.Table) -> tuple[str, pa.Table]:
        """Keeps a file, and returns its URI and what it says."""
        data = self._sample.write(table)
        path = self._folder / f"{name}.{self._sample.suffix}"
        path.write_bytes(data)
        return self._server.place.put(f"{self._dataset} {path.name}", data), self._sample.expected(path)


def test_what_is_appended_twice_is_there_twice(server: ServedIngestion, sample: Sample, tmp_path: Path) -> None:
    dataset = server.new_dataset()
    uri, expected = Files(server, sample, tmp_path, dataset).put("file", sample.table)

    for _ in range(2):
        ingestion = server.ingest(dataset, uri, read=sample.options)
        assert ingestion.state == JOB_STATE_SUCCEEDED, ingestion
        assert (ingestion.rows_read, ingestion.rows_added, ingestion.rows_rejected) == (5, 5, 0)

    check_rows(server, dataset, pa.concat_tables([expected, expected]))


def test_rows_take_the_place_of_those_with_their_keys(server: ServedIngestion, sample: Sample, tmp_path: Path) -> None:
    dataset = server.new_dataset()
    files = Files(server, sample, tmp_path, dataset)
    first_uri, first = files.put("first", sample.table)
    second_uri, second = files.put("second", sample.second())

    upsert: dict[str, Any] = {"read": sample.options, "mode": ingestion_pb2.WRITE_MODE_UPSERT, "keys": ["id"]}
    ingestions = [server.ingest(dataset, uri, **upsert) for uri in (first_uri, second_uri)]

    assert [each.state for each in ingestions] == [JOB_STATE_SUCCEEDED] * 2, ingestions
    assert [(each.rows_added, each.rows_updated) for each in ingestions] == [(5, 0), (2, 3)]
    check_rows(server, dataset, pa.concat_tables([first.slice(0, 2), second]))


def test_a_file_in_the_request_takes_the_place_of_all_rows(server: ServedIngestion, sample: Sample, tmp_path: Path) -> None:
    dataset = server.new_dataset()
    path = tmp_path / f"file.{sample.suffix}"
    for table in (sample.second(), sample.table):
        path.write_bytes(sample.write(table))
        ingestion = server.ingest(dataset, path.read_bytes(), path.name, read=sample.options, mode=ingestion_pb2.WRITE_MODE_OVERWRITE)
        assert ingestion.state == JOB_STATE_SUCCEEDED, ingestion

    check_rows(server, dataset, sample.expected(path))
