"""Profiles of datasets in a folder with SQLite and in an S3 with PostgreSQL."""

from __future__ import annotations

import io
import uuid
from typing import Any

import grpc
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from mlops.common.v1.job_pb2 import JOB_STATE_FAILED, JOB_STATE_SUCCEEDED
from mlops.ingestion.v1 import ingestion_pb2
from mlops.ingestion.v1 import ingestion_service_pb2 as ingestion_pb
from mlops.ingestion.v1 import profile_service_pb2 as pb

from servers.ingestion.tables import Tables
from tests.integration.ingestion.server.places import FolderPlace
from tests.integration.ingestion.server.served import PATIENCE_S, Mesh, ServedIngestion, bearing, served, source_of
from tests.integration.runtime.rich_errors import refused
from tests.integration.runtime.waiting import eventually

FIRST = b"id,carrier,delay,day\n1,UA,2.5,2013-01-01\n2,AA,,2013-01-02\n3,UA,-4.0,2013-01-03\n"
SECOND = b"id,carrier,delay,day\n3,DL,1.0,2013-01-03\n4,DL,7.5,2013-01-04\n"
HOSTILE = "<script>alert(1)</script>"


def sketches(server: ServedIngestion, dataset: str) -> set[str]:
    """Names of the data files that a sketch is kept of."""
    marker = f"/{dataset}/_profiles/"
    return {path.split(marker)[1].removesuffix(".sketch") for path in server.place.table_files() if marker in f"/{path}"}


def data_files(server: ServedIngestion, dataset: str) -> set[str]:
    """Names of the data files of the newest version."""
    return set(pa.table(server.place.table(dataset).get_add_actions(flatten=True))["path"].to_pylist())


def wait_for_sketches(server: ServedIngestion, dataset: str) -> None:
    eventually(lambda: data_files(server, dataset) <= sketches(server, dataset), PATIENCE_S)


def by_name(profile: pb.DatasetProfile) -> dict[str, pb.ColumnProfile]:
    return {column.name: column for column in profile.columns}


@pytest.fixture
def flights(server: ServedIngestion) -> str:
    dataset = server.new_dataset()
    assert server.ingest(dataset, FIRST, "first.csv").state == JOB_STATE_SUCCEEDED
    return dataset


def test_a_profile_says_what_is_in_a_dataset(profiles: Any, flights: str) -> None:
    profile = profiles.GetDatasetProfile(pb.GetDatasetProfileRequest(dataset=flights))

    columns = by_name(profile)
    assert (profile.dataset, profile.row_count) == (flights, 3)
    assert [(column.name, column.type) for column in profile.columns] == [
        ("id", "int64"),
        ("carrier", "string"),
        ("delay", "double"),
        ("day", "date32[day]"),
    ]
    assert (columns["delay"].null_count, columns["delay"].mean) == (1, -0.75)
    assert list(columns["delay"].quantiles)[0::8] == [-4.0, 2.5]
    assert (columns["carrier"].distinct_count, columns["carrier"].mean_length) == (2, 2)
    assert [(one.value.string_value, one.count) for one in columns["carrier"].frequent_values] == [("UA", 2), ("AA", 1)]
    assert (columns["day"].minimum.string_value, columns["day"].maximum.string_value) == ("2013-01-01", "2013-01-03")
    assert sum(columns["id"].histogram.counts) == 3


def test_sketches_are_made_after_an_ingestion_without_being_asked_for(server: ServedIngestion, flights: str) -> None:
    wait_for_sketches(server, flights)
    before = sketches(server, flights)
    server.ingest(flights, SECOND, "second.csv")
    wait_for_sketches(server, flights)

    assert before < sketches(server, flights)


def test_each_version_is_described_by_its_own_files(server: ServedIngestion, profiles: Any, flights: str) -> None:
    first = profiles.GetDatasetProfile(pb.GetDatasetProfileRequest(dataset=flights))
    upsert = {"mode": ingestion_pb2.WRITE_MODE_UPSERT, "keys": ["id"]}
    assert server.ingest(flights, SECOND, "second.csv", **upsert).state == JOB_STATE_SUCCEEDED

    newest = profiles.GetDatasetProfile(pb.GetDatasetProfileRequest(dataset=flights))
    earlier = profiles.GetDatasetProfile(pb.GetDatasetProfileRequest(dataset=flights, version=first.version))

    assert earlier == first
    assert newest.row_count == 4
    assert {one.value.string_value: one.count for one in by_name(newest)["carrier"].frequent_values} == {"DL": 2, "UA": 1, "AA": 1}


def test_a_column_that_was_added_or_widened_is_described_as_it_is_now(server: ServedIngestion, profiles: Any) -> None:
    dataset = server.new_dataset()
    server.ingest(dataset, b"id\n1\n2\n", "a.csv")
    server.ingest(dataset, b"id,note\n2.5,new\n", "b.csv")

    columns = by_name(profiles.GetDatasetProfile(pb.GetDatasetProfileRequest(dataset=dataset)))

    assert (columns["id"].type, columns["id"].mean, columns["id"].distinct_count) == ("double", pytest.approx(5.5 / 3), 3)
    assert (columns["note"].null_count, columns["note"].distinct_count) == (2, 1)


def test_compacted_files_are_sketched_anew_and_say_the_same(server: ServedIngestion, profiles: Any, flights: str) -> None:
    server.ingest(flights, SECOND, "second.csv")
    before = profiles.GetDatasetProfile(pb.GetDatasetProfileRequest(dataset=flights))
    compacted = server.stub.CompactDataset(ingestion_pb.CompactDatasetRequest(name=flights))
    assert compacted.removed_file_count == 2

    after = profiles.GetDatasetProfile(pb.GetDatasetProfileRequest(dataset=flights))

    assert after.version == compacted.version
    assert {name: column.distinct_count for name, column in by_name(after).items()} == {
        name: column.distinct_count for name, column in by_name(before).items()
    }
    wait_for_sketches(server, flights)


def test_a_damaged_sketch_is_made_anew(server: ServedIngestion, profiles: Any, mesh: Mesh, folder_place: FolderPlace) -> None:
    with served(mesh, folder_place) as own, grpc.insecure_channel(own.server.address) as channel:
        stub = type(profiles)(bearing(channel, mesh))
        own.ingest("orders", FIRST, "first.csv")
        wait_for_sketches(own, "orders")
        (sketch,) = (folder_place.tables / "default" / "orders" / "_profiles").iterdir()
        good = sketch.read_bytes()
        sketch.write_bytes(good[: len(good) // 2])

        assert stub.GetDatasetProfile(pb.GetDatasetProfileRequest(dataset="orders")).row_count == 3
        assert len(sketch.read_bytes()) == pytest.approx(len(good), abs=16)


def test_a_version_whose_files_were_vacuumed_is_described_from_sketches_or_refused(
    mesh: Mesh, folder_place: FolderPlace, profiles: Any
) -> None:
    with served(mesh, folder_place) as own, grpc.insecure_channel(own.server.address) as channel:
        stub = type(profiles)(bearing(channel, mesh))
        version = own.ingest("orders", FIRST, "first.csv").version
        wait_for_sketches(own, "orders")
        folder = folder_place.tables / "default" / "orders"
        for file in [*folder.glob("*.parquet"), *(folder / "_profiles").iterdir()]:
            file.unlink()

        error = refused(lambda: stub.GetDatasetProfile(pb.GetDatasetProfileRequest(dataset="orders", version=version)))

        assert (error.code, error.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "TABLE_VERSION_EXPIRED")


def test_sketches_go_with_their_files(mesh: Mesh, folder_place: FolderPlace) -> None:
    with served(mesh, folder_place) as own:
        own.ingest("orders", FIRST, "first.csv")
        wait_for_sketches(own, "orders")
        for file in (folder_place.tables / "default" / "orders").glob("*.parquet"):
            file.unlink()
        own.stub.VacuumDataset(ingestion_pb.VacuumDatasetRequest(name="orders", retention={"seconds": 86_400}))
        assert sketches(own, "orders") == set()


def test_a_deleted_dataset_leaves_no_sketches(server: ServedIngestion, flights: str) -> None:
    server.ingest(flights, SECOND, "second.csv")
    server.stub.DeleteDataset(ingestion_pb.DeleteDatasetRequest(name=flights))

    assert not [path for path in server.place.table_files() if flights in path]


def test_what_does_not_exist_is_refused(profiles: Any, flights: str) -> None:
    unknown = refused(lambda: profiles.GetDatasetProfile(pb.GetDatasetProfileRequest(dataset="nobody_knows")))
    version = refused(lambda: profiles.RenderDatasetProfile(pb.RenderDatasetProfileRequest(dataset=flights, version=99)))
    ingestion = refused(lambda: profiles.RenderIngestion(pb.RenderIngestionRequest(id=str(uuid.uuid4()))))
    nothing = refused(lambda: profiles.RenderValidation(pb.RenderValidationRequest(validation={"suite": {}})))

    assert [error.reason for error in (unknown, version, ingestion, nothing)] == [
        "DATASET_NOT_FOUND",
        "TABLE_VERSION_NOT_FOUND",
        "INGESTION_NOT_FOUND",
        "NOTHING_TO_VALIDATE",
    ]


def test_pages_show_data_and_never_run_them(server: ServedIngestion, profiles: Any) -> None:
    dataset = server.new_dataset()
    rows = [{HOSTILE: HOSTILE, "delay": 1}, {HOSTILE: HOSTILE, "delay": 900}]
    suite: dict[str, Any] = {
        "name": HOSTILE,
        "expectations": [
            {"type": "expect_column_values_to_be_between", "kwargs": {"column": "delay", "max_value": 100}},
            {"type": "expect_column_values_to_be_in_set", "kwargs": {"column": HOSTILE, "value_set": ["x"]}},
        ],
    }
    gate = ingestion_pb2.ExpectationGate()
    gate.suite.update(suite)
    refused_ingestion = server.ingest(dataset, rows, gate=gate)
    accepted = server.ingest(dataset, rows)
    validation = ingestion_pb.ValidateDataRequest(source=source_of(rows))
    validation.suite.update(suite)

    pages = [
        profiles.RenderDatasetProfile(pb.RenderDatasetProfileRequest(dataset=dataset)),
        profiles.RenderIngestion(pb.RenderIngestionRequest(id=refused_ingestion.id)),
        profiles.RenderIngestion(pb.RenderIngestionRequest(id=accepted.id)),
        profiles.RenderValidation(pb.RenderValidationRequest(validation=validation)),
    ]

    assert (refused_ingestion.state, accepted.state) == (JOB_STATE_FAILED, JOB_STATE_SUCCEEDED)
    for page in pages:
        assert page.content_type == "text/html; charset=utf-8"
        assert page.data.startswith(b"<!doctype html>")
        assert b"<script" not in page.data.lower()
    assert b"&lt;script&gt;" in pages[0].data
    assert b"EXPECTATIONS_NOT_MET" in pages[1].data
    assert b"900" in pages[3].data


def test_versions_that_come_fast_are_sketched_together(mesh: Mesh, folder_place: FolderPlace) -> None:
    with served(mesh, folder_place) as own:
        for number in range(8):
            own.ingest("orders", b"id\n%d\n" % number, "a.csv")
        wait_for_sketches(own, "orders")

        assert len(sketches(own, "orders")) == 8


def test_sketches_of_other_writers_versions_are_made_when_asked(mesh: Mesh, folder_place: FolderPlace, profiles: Any) -> None:
    with served(mesh, folder_place) as own, grpc.insecure_channel(own.server.address) as channel:
        own.ingest("orders", b"id\n1\n", "a.csv")
        batch = pa.record_batch({"id": [2, 3]})
        Tables(folder_place.tables_url.replace("%20", " ")).table("default", "orders").write(iter([batch]), batch.schema)

        assert type(profiles)(bearing(channel, mesh)).GetDatasetProfile(pb.GetDatasetProfileRequest(dataset="orders")).row_count == 3


def test_parquet_of_every_type_is_described(server: ServedIngestion, profiles: Any) -> None:
    table = pa.table(
        {
            "flag": [True, None],
            "data": [b"\xff\x00", None],
            "list": [[1], None],
            "struct": [{"a": 1}, None],
            "text": ["x" * 100_000, ""],
            "when": pa.array([0, 10**15], pa.timestamp("us", "UTC")),
            "nan": [float("nan"), float("inf")],
        }
    )
    buffer = io.BytesIO()
    parquet.write_table(table, buffer)
    dataset = server.new_dataset()
    ingestion = server.ingest(dataset, buffer.getvalue(), "all.parquet")
    assert ingestion.state == JOB_STATE_SUCCEEDED, ingestion.error

    columns = by_name(profiles.GetDatasetProfile(pb.GetDatasetProfileRequest(dataset=dataset)))

    assert (columns["flag"].mean, columns["flag"].null_count) == (1.0, 1)
    assert (columns["data"].minimum.string_value, columns["data"].mean_length) == ("/wA=", 2)
    assert [(columns[name].null_count, columns[name].distinct_count) for name in ("list", "struct")] == [(1, 0), (1, 0)]
    assert columns["text"].mean_length == 50_000
    assert len(columns["text"].maximum.string_value) < 200
    assert (columns["nan"].nan_count, columns["nan"].HasField("mean"), columns["nan"].maximum.string_value) == (1, False, "Infinity")
    assert columns["when"].quantiles[-1] == 10**9
