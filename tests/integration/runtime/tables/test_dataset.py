"""Datasets as ingestion writes them, read in a folder and in a real S3."""

from __future__ import annotations

import dataclasses
import pickle
import shutil
import uuid
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.parquet
import pytest
from deltalake import write_deltalake

from demo.real_servers.s3 import S3Server
from servers.ingestion.column_changes import ColumnChanges
from servers.ingestion.tables import DatasetTable, Tables, WriteMode, s3_options
from servers.processing.engines.local import LocalEngine
from servers.processing.kernels.cancellation import Cancellation
from servers.processing.plan.binding import bind
from servers.processing.plan.nodes import Filter, Scan
from servers.processing.plan.plan import Plan
from servers.runtime.tables.dataset import open_dataset
from servers.runtime.tables.errors import (
    StorageForbidden,
    StorageUnavailable,
    TableGone,
    TableNotReadable,
    VersionExpired,
    VersionNotFound,
)
from servers.runtime.tables.storage import TableStorage
from tests.integration.processing.relations import LIMITS


class Place(NamedTuple):
    """Where a dataset is, for who writes it and for who reads it."""

    table: DatasetTable
    uri: str
    storage: TableStorage


@pytest.fixture(params=["folder", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "folder":
        root, options, storage = (tmp_path / "with space").as_uri(), None, TableStorage()
    else:
        server: S3Server = request.getfixturevalue("s3")
        root = f"s3://{server.bucket}/tables/{uuid.uuid4().hex}"
        options, storage = s3_options(server.endpoint, server.credentials), TableStorage(server.endpoint, "", *server.credentials)
    table = Tables(root, options, shortest_retention=timedelta(0)).table("project", "flights")
    return Place(table, f"{root}/project/flights", storage)


def written(place: Place, rows: pa.Table, mode: WriteMode = WriteMode.APPEND, keys: tuple[str, ...] = ()) -> None:
    place.table.write(iter(rows.to_batches()), rows.schema, mode=mode, keys=keys)


def test_every_type_is_the_one_that_ingestion_tells(place: Place) -> None:
    moment = datetime(2026, 3, 29, 1, tzinfo=UTC)
    columns = {
        "dictionary": pa.array(["a", None]).dictionary_encode(),
        "view": pa.array(["a", "日"], pa.string_view()),
        "large": pa.array([["a"], None], pa.large_list(pa.large_string())),
        "bytes": pa.array([b"a", None], pa.large_binary()),
        "small": pa.array([1, None], pa.uint8()),
        "wall": pa.array([moment.replace(tzinfo=None), None], pa.timestamp("ns")),
        "instant": pa.array([moment, None], pa.timestamp("ms", "Europe/Berlin")),
        "day": pa.array([date(2026, 1, 1), None]),
        "decimal": pa.array([Decimal("1.20"), None], pa.decimal128(5, 2)),
        "map": pa.array([[("a", 1)], None], pa.map_(pa.string(), pa.int32())),
        "struct": pa.array([{"x": 1, "y": ["a"]}, None]),
        "double": pa.array([float("nan"), -0.0]),
    }
    written(place, pa.table(columns))

    dataset = open_dataset(place.uri, 1, place.storage)

    assert [str(field.type) for field in dataset.schema] == [str(field.type) for field in place.table.snapshot().schema]
    rows = dataset.reader().read_all()
    assert rows.schema == dataset.schema
    # Moments are equal whatever their zone.
    assert rows.drop_columns("double").to_pylist() == pa.table(columns).drop_columns("double").to_pylist()
    assert str(rows["double"].to_pylist()) == "[nan, -0.0]"
    assert bind(Plan((Scan("all", "in"),), ("all",)), {"in": dataset.schema}).schema("all").names == list(columns)


def test_size_and_files_are_those_of_the_version(place: Place) -> None:
    written(place, pa.table({"n": [1, 2]}))
    written(place, pa.table({"n": [3], "late": ["x"]}))

    first, second = (open_dataset(place.uri, version, place.storage) for version in (1, 2))

    snapshot = place.table.snapshot(2)
    assert (second.row_count, second.size_bytes, len(second.files())) == (3, snapshot.size_bytes, 2)
    assert first.reader().read_all().to_pylist() == [{"n": 1}, {"n": 2}]
    wanted = [{"late": None, "n": 1}, {"late": None, "n": 2}, {"late": "x", "n": 3}]
    assert second.reader(["late", "n"]).read_all().sort_by("n").to_pylist() == wanted
    worker = pickle.loads(pickle.dumps(second))
    by_files = pa.Table.from_batches([batch for file in worker.files() for batch in file.batches(worker.schema)], worker.schema)
    assert by_files.num_rows == sum(file.row_count for file in worker.files()) == 3
    assert all(file.uri.startswith(place.uri + "/part-") and file.size_bytes > 0 for file in second.files())


def test_dropped_and_renamed_columns_stay_in_old_versions(place: Place) -> None:
    written(place, pa.table({"a": [1], "b": ["x"], "c": [2.5]}))
    place.table.change_columns(ColumnChanges(renamed={"a": "b", "b": "a"}, dropped=("c",)))

    assert open_dataset(place.uri, 1, place.storage).reader().read_all().to_pylist() == [{"a": 1, "b": "x", "c": 2.5}]
    assert open_dataset(place.uri, 2, place.storage).reader().read_all().to_pylist() == [{"b": 1, "a": "x"}]


def test_columns_that_nobody_looks_at_are_null(place: Place) -> None:
    rows = pa.table({"a": range(70_000), "b": ["x"] * 70_000, "c": [[1.5]] * 70_000, "d": range(70_000)})
    written(place, rows)
    dataset = open_dataset(place.uri, 1, place.storage)

    found = dataset.reader_of_some({"d", "b"}).read_all()

    assert found.schema == dataset.schema
    assert found.select(["b", "d"]).sort_by("d").equals(rows.select(["b", "d"]).cast(found.select(["b", "d"]).schema))
    assert (found["a"].null_count, found["c"].null_count) == (70_000, 70_000)


def test_a_dataset_without_rows_has_columns(place: Place) -> None:
    written(place, pa.table({"n": pa.array([], pa.int64())}))

    dataset = open_dataset(place.uri, 0, place.storage)

    assert (dataset.row_count, dataset.size_bytes, dataset.reader().read_all().num_rows) == (0, 0, 0)
    assert dataset.schema == pa.schema([("n", pa.int64())])


def test_unknown_versions_and_columns_are_refused(place: Place) -> None:
    written(place, pa.table({"number": [1]}))

    with pytest.raises(VersionNotFound, match="its latest is 1"):
        open_dataset(place.uri, 2, place.storage)
    with pytest.raises(KeyError):
        open_dataset(place.uri, 1, place.storage).reader(["numbr"])


def test_a_version_that_was_vacuumed_expires_also_while_a_plan_reads_it(place: Place) -> None:
    written(place, pa.table({"n": [1, 2]}))
    written(place, pa.table({"n": [3]}), WriteMode.OVERWRITE)
    opened_before = open_dataset(place.uri, 1, place.storage)
    assert place.table.vacuum(timedelta(0)) == 1

    for dataset in (opened_before, open_dataset(place.uri, 1, place.storage)):
        plan = bind(Plan((Scan("all", "in"), Filter("some", "all", "n > 0")), ("some",)), {"in": dataset.schema})
        with (
            LocalEngine(LIMITS).run(plan, {"in": dataset.reader()}, Cancellation()) as outputs,
            pytest.raises(VersionExpired, match=r"version 1 of the table at .* cannot be read any more"),
        ):
            outputs["some"].read_all()


def test_a_table_that_was_deleted_is_gone(place: Place) -> None:
    written(place, pa.table({"n": [1]}))
    dataset = open_dataset(place.uri, 1, place.storage)
    place.table.delete()

    with pytest.raises(TableGone, match="the dataset was deleted"):
        open_dataset(place.uri, 1, place.storage)
    # A folder is seen to be missing, an S3 has none.
    with pytest.raises((TableGone, VersionExpired)):
        dataset.reader().read_all()


def test_a_version_whose_log_was_cleaned_up_expires(tmp_path: Path) -> None:
    place = Place(Tables(tmp_path.as_uri()).table("project", "flights"), f"{tmp_path.as_uri()}/project/flights", TableStorage())
    for number in range(12):
        written(place, pa.table({"n": [number]}))
    for entry in sorted((tmp_path / "project/flights/_delta_log").glob("*.json"))[:10]:
        entry.unlink()

    with pytest.raises(VersionExpired):
        open_dataset(place.uri, 3, place.storage)
    assert open_dataset(place.uri, 12, place.storage).row_count == 12


def test_the_s3_says_no(s3: S3Server) -> None:
    root = f"s3://{s3.bucket}/tables/{uuid.uuid4().hex}"
    table = Tables(root, s3_options(s3.endpoint, s3.credentials)).table("project", "flights")
    table.write(iter(pa.table({"n": [1]}).to_batches()), pa.schema([("n", pa.int64())]))
    uri, wrong = f"{root}/project/flights", TableStorage(s3.endpoint, "", "somebody", "else")
    dataset = open_dataset(uri, 1, TableStorage(s3.endpoint, "", *s3.credentials))
    file = dataclasses.replace(dataset.files()[0], storage_options=wrong.options())

    with pytest.raises(StorageForbidden) as refused:
        open_dataset(uri, 1, wrong)
    with pytest.raises(StorageForbidden):
        list(file.batches(dataset.schema))
    with pytest.raises(StorageUnavailable):
        open_dataset(uri, 1, TableStorage("http://127.0.0.1:9", "", "somebody", "else"))
    assert "else" not in str(refused.value) + repr(wrong) + repr(dataset)


def test_what_other_programs_made_is_read_or_refused(tmp_path: Path) -> None:
    rows = pa.table({"n": [1, 2], "day": ["a", "b"]})
    write_deltalake(tmp_path / "partitioned", rows, partition_by=["day"])
    write_deltalake(tmp_path / "mapped", rows, configuration={"delta.columnMapping.mode": "name"})
    write_deltalake(tmp_path / "plain", rows.schema.empty_table())
    added = tmp_path / "plain" / "file.parquet"
    pa.parquet.write_table(rows.cast(pa.schema([("n", pa.int64()), ("day", pa.large_string())])), added)
    action = (
        f'{{"add":{{"path":"file.parquet","partitionValues":{{}},"size":{added.stat().st_size},"modificationTime":0,"dataChange":true}}}}'
    )
    (tmp_path / "plain/_delta_log" / f"{1:020}.json").write_text(action)

    with pytest.raises(TableNotReadable, match="partitions"):
        open_dataset((tmp_path / "partitioned").as_uri(), 0, TableStorage())
    with pytest.raises(TableNotReadable, match="mapped columns"):
        open_dataset((tmp_path / "mapped").as_uri(), 0, TableStorage())
    dataset = open_dataset((tmp_path / "plain").as_uri(), 1, TableStorage())
    assert dataset.row_count == 2
    assert dataset.reader().read_all() == rows


def test_a_reader_that_is_left_behind_holds_nothing_up(place: Place) -> None:
    written(place, pa.table({"n": range(300_000)}))
    reader = open_dataset(place.uri, 1, place.storage).reader()

    assert reader.read_next_batch().num_rows == 65_536
    reader.close()
    if place.uri.startswith("file:"):
        shutil.rmtree(unquote(urlsplit(place.uri).path))
