from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import mlmesh
import mlmesh.aio.ingestion
import mlmesh.sync.ingestion
import pytest
from mlmesh import ExpectationGate, ReadOptions, SchemaContract, errors
from mlmesh.datasets import Column
from mlmesh.ingestions import IngestionError, RejectedRow
from mlmesh.validation_reports import UnexpectedRow
from mlops.ingestion.v1 import ingestion_pb2

from tests.integration.client.small_ingestion import ID, SmallIngestion
from tests.integration.client.small_mesh import API_KEY, Scene

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)
SUITE = {"name": "flights", "expectations": [{"type": "expect_column_values_to_be_between", "kwargs": {"column": "delay", "min_value": 0}}]}


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses of the client for threads, none of which is made."""
    made: list[float] = []
    monkeypatch.setattr(mlmesh.sync.ingestion, "pause", made.append)
    return made


def sent(scene: Scene) -> Any:
    (request,) = scene.requests["IngestData"]
    return request


class TestSources:
    def test_a_file_travels_with_its_name(self, mesh: mlmesh.Mesh, scene: Scene, tmp_path: Path) -> None:
        (tmp_path / "flights.csv").write_bytes(b"id\n1\n")
        mesh.ingestion.ingest_data("flights", tmp_path / "flights.csv")
        mesh.ingestion.ingest_data("flights", str(tmp_path / "flights.csv"), name="other.csv")
        first, second = (request.source.file for request in scene.requests["IngestData"])
        assert (first.data, first.name, second.name) == (b"id\n1\n", "flights.csv", "other.csv")

    @pytest.mark.parametrize("uri", ["file:///data/flights.csv", "s3://bucket/flights.parquet"])
    def test_what_the_mesh_reads_itself_travels_as_its_uri(self, mesh: mlmesh.Mesh, scene: Scene, uri: str) -> None:
        mesh.ingestion.ingest_data("flights", uri)
        assert sent(scene).source.uri == uri

    def test_rows_travel_as_lines_of_json(self, mesh: mlmesh.Mesh, scene: Scene) -> None:
        mesh.ingestion.ingest_data("flights", ({"id": number, "time": NOON} for number in range(2)))
        file = sent(scene).source.file
        assert file.name == "rows.ndjson"
        assert file.data == b'{"id":0,"time":"2026-11-27T12:00:00+00:00"}\n{"id":1,"time":"2026-11-27T12:00:00+00:00"}\n'

    def test_what_cannot_be_sent_is_refused_before_a_call(self, mesh: mlmesh.Mesh, scene: Scene) -> None:
        with pytest.raises(errors.InvalidArgument, match="row 1, delay: nan"):
            mesh.ingestion.ingest_data("flights", [{"delay": float("nan")}])
        assert scene.calls["IngestData"] == 0


class TestOptions:
    def test_all_that_is_said_travels(self, mesh: mlmesh.Mesh, scene: Scene) -> None:
        read = ReadOptions(format="csv", delimiter=";", has_header=False, null_values=["-"], skip_rows=2, column_types={"zip": "string"})
        mesh.ingestion.ingest_data(
            "flights",
            b"1;2\n",
            name="a.csv",
            mode="upsert",
            keys=["id"],
            read=read,
            schema_contract=SchemaContract(tables="freeze", columns="discard_value", types="discard_row"),
            gate=ExpectationGate(suite={"name": "strict", "expectations": []}, mode="discard_row"),
            project="other",
        )
        request = sent(scene)
        assert (request.dataset, request.project, request.mode) == ("flights", "other", ingestion_pb2.WRITE_MODE_UPSERT)
        assert list(request.keys) == ["id"]
        assert request.read == ingestion_pb2.ReadOptions(
            format=ingestion_pb2.FILE_FORMAT_CSV,
            delimiter=";",
            has_header=False,
            null_values=["-"],
            skip_rows=2,
            column_types={"zip": "string"},
        )
        assert request.read.HasField("has_header")
        assert request.schema_contract == ingestion_pb2.SchemaContract(
            tables=ingestion_pb2.CONTRACT_MODE_FREEZE,
            columns=ingestion_pb2.CONTRACT_MODE_DISCARD_VALUE,
            types=ingestion_pb2.CONTRACT_MODE_DISCARD_ROW,
        )
        assert (request.gate.suite["name"], request.gate.mode) == ("strict", ingestion_pb2.CONTRACT_MODE_DISCARD_ROW)

    def test_what_is_not_said_is_left_to_the_mesh(self, mesh: mlmesh.Mesh, scene: Scene) -> None:
        mesh.ingestion.ingest_data("flights", [{"id": 1}], read=ReadOptions())
        request = sent(scene)
        assert request.read == ingestion_pb2.ReadOptions()
        assert not request.read.HasField("has_header")
        assert not request.HasField("schema_contract")
        assert not request.HasField("gate")

    def test_a_mode_that_does_not_exist_is_refused_with_those_that_do(self, mesh: mlmesh.Mesh) -> None:
        with pytest.raises(errors.InvalidArgument, match="'merge' is none of: append, overwrite, upsert"):
            mesh.ingestion.ingest_data("flights", [{"id": 1}], mode="merge")

    def test_a_repeat_has_the_same_request_id(self, mesh: mlmesh.Mesh, scene: Scene) -> None:
        scene.failures["IngestData"] = [grpc.StatusCode.UNAVAILABLE]
        mesh.ingestion.ingest_data("flights", [{"id": 1}])
        first, second = (request.request_id for request in scene.requests["IngestData"])
        assert first == second
        assert uuid.UUID(first)


class TestWaiting:
    def test_an_ingestion_is_what_the_mesh_says(self, mesh: mlmesh.Mesh) -> None:
        done = mesh.ingestion.ingest_data("flights", [{"id": 1}])
        assert (done.id, done.project, done.dataset, done.source, done.mode, done.state) == (
            *(ID, "default", "flights", "flights.csv", "append", "succeeded"),
        )
        assert (done.rows_read, done.rows_added, done.rows_updated, done.rows_rejected, done.version) == (8, 6, 1, 1, 0)
        assert done.rejected == (RejectedRow(7, "delay", "[late]", "it is no number"),)
        assert (done.schema_changes, done.warnings) == (("column delay was added",), ("the delimiter was taken to be ;",))
        assert (done.create_time, done.start_time, done.end_time, done.error) == (NOON, None, NOON, None)
        assert done.validation is not None
        assert (done.validation.suite_name, done.validation.status) == ("strict", "warning")
        assert done.is_done
        assert done.is_successful

    def test_the_mesh_waits_first_and_then_it_is_asked_ever_less_often(
        self, mesh: mlmesh.Mesh, scene: Scene, ingestion: SmallIngestion, pauses: list[float]
    ) -> None:
        ingestion.states = ["QUEUED", *["RUNNING"] * 10, "SUCCEEDED"]
        assert mesh.ingestion.ingest_data("flights", [{"id": 1}], project="other").version == 0
        assert sent(scene).wait.seconds == 30
        assert scene.calls["GetIngestion"] == len(pauses) == 11
        assert {(request.id, request.project) for request in scene.requests["GetIngestion"]} == {(ID, "other")}
        assert pauses == sorted(pauses)
        assert (pauses[0], pauses[-1]) == (0.1, 2.0)

    def test_the_mesh_answers_before_the_deadline(self, mesh: mlmesh.Mesh, scene: Scene) -> None:
        mesh.ingestion.ingest_data("flights", [{"id": 1}], timeout_s=50)
        assert sent(scene).wait.ToMilliseconds() == 25_000
        assert scene.deadlines["IngestData"] > 25

    def test_whoever_does_not_wait_is_answered_at_once(self, mesh: mlmesh.Mesh, scene: Scene, ingestion: SmallIngestion) -> None:
        ingestion.states = ["QUEUED"]
        accepted = mesh.ingestion.ingest_data("flights", [{"id": 1}], wait=False)
        assert (accepted.state, accepted.is_done, accepted.version) == ("queued", False, None)
        assert not sent(scene).HasField("wait")
        assert scene.calls["GetIngestion"] == 0

    def test_a_failure_is_raised_with_its_reason_and_the_ingestion(
        self, mesh: mlmesh.Mesh, ingestion: SmallIngestion, pauses: list[float]
    ) -> None:
        ingestion.states = ["RUNNING", "FAILED"]
        with pytest.raises(errors.IngestionFailed, match=r"flights failed: flights\.csv, line 7") as raised:
            mesh.ingestion.ingest_data("flights", [{"id": 1}])
        assert raised.value.reason == "RAGGED_ROW"
        assert raised.value.ingestion.error == IngestionError(
            "INVALID_ARGUMENT", "RAGGED_ROW", "flights.csv, line 7: it has 3 cells, not 4"
        )
        assert len(pauses) == 1

    def test_a_cancelled_one_is_not_taken_for_a_successful_one(self, mesh: mlmesh.Mesh, ingestion: SmallIngestion) -> None:
        ingestion.states = ["CANCELLED"]
        with pytest.raises(errors.IngestionFailed, match="was cancelled") as raised:
            mesh.ingestion.wait_for_ingestion(ID)
        assert raised.value.reason == "CANCELLED"

    def test_whoever_runs_out_of_patience_is_told_that_it_goes_on(self, mesh: mlmesh.Mesh, ingestion: SmallIngestion) -> None:
        ingestion.states = ["RUNNING"]
        with pytest.raises(errors.IngestionUnfinished, match=f"{ID} into flights is still running; it goes on") as raised:
            mesh.ingestion.wait_for_ingestion(ID, timeout_s=0.15)
        assert isinstance(raised.value, errors.DeadlineExceeded)
        assert raised.value.ingestion.id == ID
        assert f"wait_for_ingestion('{ID}')" in raised.value.hint

    def test_a_mesh_that_goes_away_meanwhile_leaves_the_name_of_the_ingestion(
        self, mesh: mlmesh.Mesh, scene: Scene, ingestion: SmallIngestion, pauses: list[float]
    ) -> None:
        ingestion.states = ["RUNNING"]
        scene.failures["GetIngestion"] = [grpc.StatusCode.INTERNAL]
        with pytest.raises(errors.Internal) as raised:
            mesh.ingestion.ingest_data("flights", [{"id": 1}])
        assert raised.value.metadata["ingestion_id"] == ID
        assert len(pauses) == 1

    def test_a_look_that_takes_too_long_says_that_it_goes_on(
        self, mesh: mlmesh.Mesh, scene: Scene, ingestion: SmallIngestion, pauses: list[float]
    ) -> None:
        ingestion.states = ["RUNNING"]
        scene.failures["GetIngestion"] = [grpc.StatusCode.DEADLINE_EXCEEDED]
        with pytest.raises(errors.IngestionUnfinished, match="it goes on"):
            mesh.ingestion.ingest_data("flights", [{"id": 1}])
        assert len(pauses) == 1

    def test_an_ingestion_that_does_not_exist_is_not_waited_for(self, mesh: mlmesh.Mesh) -> None:
        with pytest.raises(errors.NotFound) as raised:
            mesh.ingestion.wait_for_ingestion(str(uuid.uuid4()))
        assert raised.value.reason == "INGESTION_NOT_FOUND"

    def test_waiting_can_be_cancelled(self, url: str, scene: Scene, ingestion: SmallIngestion, monkeypatch: pytest.MonkeyPatch) -> None:
        ingestion.states = ["RUNNING"]

        async def scenario() -> None:
            waits, never = asyncio.Event(), asyncio.Event()

            async def pause(_seconds: float) -> None:
                waits.set()
                await never.wait()

            monkeypatch.setattr(mlmesh.aio.ingestion, "pause", pause)
            async with mlmesh.connect_async(url, api_key=API_KEY) as mesh:
                waiting = asyncio.create_task(mesh.ingestion.ingest_data("flights", [{"id": 1}]))
                await waits.wait()
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting

        asyncio.run(scenario())
        assert scene.calls["CancelIngestion"] == 0


def test_ingestions_are_one_list_over_its_pages(mesh: mlmesh.Mesh, scene: Scene) -> None:
    found = mesh.ingestion.list_ingestions(filter='state = "FAILED"', order_by="dataset").to_list()
    assert [(one.id, one.state) for one in found] == [(f"i{number}", "failed") for number in range(5)]
    assert {(request.filter, request.order_by) for request in scene.requests["ListIngestions"]} == {('state = "FAILED"', "dataset")}


def test_a_cancelled_ingestion_may_take_a_while_to_stop(mesh: mlmesh.Mesh, scene: Scene) -> None:
    cancelled = mesh.ingestion.cancel_ingestion(ID, project="other")
    assert (cancelled.state, cancelled.is_done) == ("cancelling", False)
    assert (scene.requests["CancelIngestion"][0].id, scene.requests["CancelIngestion"][0].project) == (ID, "other")


class TestDatasets:
    def test_a_dataset_is_what_it_is_now_unless_a_version_or_a_moment_is_named(self, mesh: mlmesh.Mesh, scene: Scene) -> None:
        newest = mesh.ingestion.get_dataset("flights")
        first = mesh.ingestion.get_dataset("flights", version=0)
        mesh.ingestion.get_dataset("flights", read_time=NOON)
        assert (newest.version, first.version, newest.row_count, newest.size_bytes) == (3, 0, 7, 2048)
        assert newest.columns == (Column("id", "int64"), Column("time", "timestamp[us, tz=UTC]"))
        assert newest.create_time == newest.update_time == NOON
        assert newest.uri == "file:///tables/default/flights"
        unnamed, _, then = scene.requests["GetDataset"]
        assert not unnamed.HasField("version")
        assert not unnamed.HasField("read_time")
        assert then.read_time.ToDatetime(UTC) == NOON

    def test_datasets_and_their_versions_are_lists(self, mesh: mlmesh.Mesh, scene: Scene) -> None:
        assert [one.name for one in mesh.ingestion.list_datasets(filter='name : "a"')] == ["airports", "flights"]
        versions = mesh.ingestion.list_dataset_versions("flights", page_size=2).to_list()
        assert [(one.version, one.operation, one.ingestion_id) for one in versions] == [(1, "MERGE", ID), (0, "WRITE", "")]
        assert scene.requests["ListDatasets"][0].filter == 'name : "a"'
        assert (scene.requests["ListDatasetVersions"][0].name, scene.requests["ListDatasetVersions"][0].page_size) == ("flights", 2)

    def test_a_preview_keeps_every_digit(self, mesh: mlmesh.Mesh, scene: Scene) -> None:
        preview = mesh.ingestion.preview_dataset("flights", version=0, limit=2, skip_rows=5, columns=["id"])
        assert (preview.version, preview.columns) == (3, (Column("id", "int64"),))
        assert preview.rows == [{"id": 2**53 + 1}, {"id": None}]
        (request,) = scene.requests["PreviewDataset"]
        assert (request.HasField("version"), request.version, request.limit, request.skip_rows) == (True, 0, 2, 5)
        assert list(request.columns) == ["id"]

    def test_a_rollback_to_the_first_version_says_so(self, mesh: mlmesh.Mesh, scene: Scene) -> None:
        assert mesh.ingestion.rollback_dataset("flights", 0).version == 4
        (request,) = scene.requests["RollbackDataset"]
        assert (request.HasField("version"), request.version) == (True, 0)
        assert uuid.UUID(request.request_id)

    def test_a_dataset_is_tidied_up(self, mesh: mlmesh.Mesh, scene: Scene) -> None:
        compacted = mesh.ingestion.compact_dataset("flights")
        assert (compacted.version, compacted.removed_file_count, compacted.added_file_count) == (5, 40, 1)
        assert mesh.ingestion.vacuum_dataset("flights", retention=timedelta(days=2)).removed_file_count == 40
        mesh.ingestion.vacuum_dataset("flights")
        stated, left_out = scene.requests["VacuumDataset"]
        assert stated.retention.ToTimedelta() == timedelta(days=2)
        assert not left_out.HasField("retention")

    def test_a_suite_is_suggested_as_plain_json(self, mesh: mlmesh.Mesh, scene: Scene) -> None:
        suite = mesh.ingestion.suggest_expectations("flights", version=0)
        assert suite == {"name": "flights", "expectations": [{"type": "expect_column_to_exist", "kwargs": {"column_index": 1}}]}
        assert isinstance(suite["expectations"][0]["kwargs"]["column_index"], int)
        assert scene.requests["SuggestExpectations"][0].HasField("version")

    def test_a_dataset_is_deleted_by_name(self, mesh: mlmesh.Mesh, scene: Scene) -> None:
        mesh.ingestion.delete_dataset("flights", project="other")
        assert [(one.name, one.project) for one in scene.requests["DeleteDataset"]] == [("flights", "other")]


class TestValidation:
    def test_a_report_says_what_was_expected_and_what_was_found(self, mesh: mlmesh.Mesh, scene: Scene, ingestion: SmallIngestion) -> None:
        ingestion.verdict = "FAILED"
        report = mesh.ingestion.validate_data(SUITE, dataset="flights", version=0, max_unexpected_rows=0)
        assert (report.suite_name, report.status, report.row_count, report.successful_count) == ("flights", "failed", 7, 0)
        assert not report.is_usable
        (result,) = report.results
        assert (result.type, result.severity, result.success) == ("expect_column_values_to_be_between", "critical", False)
        assert result.kwargs == {"column": "delay", "min_value": 0, "max_value": 2.5}
        assert isinstance(result.kwargs["min_value"], int)
        assert (result.element_count, result.missing_count, result.unexpected_count, result.observed_value) == (7, 0, 1, None)
        assert result.unexpected_rows == (UnexpectedRow(4, "delay", -12),)
        (request,) = scene.requests["ValidateData"]
        assert (request.dataset, request.version, request.HasField("version"), request.max_unexpected_rows) == ("flights", 0, True, 0)
        assert not request.HasField("source")

    def test_data_that_are_in_no_dataset_can_be_checked(self, mesh: mlmesh.Mesh, scene: Scene) -> None:
        report = mesh.ingestion.validate_data(SUITE, source=b"delay\n1\n", read=ReadOptions(format="csv"))
        assert report.is_usable
        (request,) = scene.requests["ValidateData"]
        assert (request.source.file.data, request.read.format) == (b"delay\n1\n", ingestion_pb2.FILE_FORMAT_CSV)
        assert not request.HasField("max_unexpected_rows")

    @pytest.mark.parametrize("both", [True, False])
    def test_one_thing_is_checked_at_a_time(self, mesh: mlmesh.Mesh, both: bool) -> None:
        with pytest.raises(errors.InvalidArgument, match="either a dataset or a source"):
            mesh.ingestion.validate_data(SUITE, dataset="flights" if both else "", source="s3://b/k" if both else None)


def test_the_same_can_be_awaited(url: str, scene: Scene, ingestion: SmallIngestion, tmp_path: Path) -> None:
    ingestion.states = ["RUNNING", "SUCCEEDED"]
    (tmp_path / "flights.csv").write_bytes(b"id\n1\n")

    def rows() -> Iterator[dict[str, int]]:
        yield {"id": 1}

    async def scenario() -> None:
        async with mlmesh.connect_async(url, api_key=API_KEY) as mesh:
            assert (await mesh.ingestion.ingest_data("flights", tmp_path / "flights.csv")).is_successful
            assert (await mesh.ingestion.ingest_data("flights", rows())).version == 0
            assert [one.id async for one in mesh.ingestion.list_ingestions()] == [f"i{number}" for number in range(5)]
            assert (await mesh.ingestion.validate_data(SUITE, dataset="flights")).status == "passed"

    asyncio.run(scenario())
    assert [request.source.WhichOneof("from") for request in scene.requests["IngestData"]] == ["file", "file"]
