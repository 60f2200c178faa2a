"""Schemas of datasets as a caller sees them who knows nothing but the contract, with files and with PostgreSQL and an S3."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import grpc
import psutil
import pytest
from google.protobuf.json_format import MessageToDict
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from mlops.common.v1.job_pb2 import JOB_STATE_CANCELLED, JOB_STATE_FAILED, JOB_STATE_QUEUED, JOB_STATE_RUNNING, JOB_STATE_SUCCEEDED
from mlops.ingestion.v1 import ingestion_pb2
from mlops.ingestion.v1 import ingestion_service_pb2 as ingestion_service
from mlops.ingestion.v1 import schema_service_pb2 as pb
from mlops.ingestion.v1.schema_service_pb2_grpc import DatasetSchemaServiceStub
from sqlalchemy import MetaData, create_engine, select

from servers.ingestion.settings import IngestionSettings
from servers.ingestion.store import open_store
from tests.integration.ingestion.server.places import FolderPlace, rows_of
from tests.integration.ingestion.server.served import ENDED, PATIENCE_S, Mesh, ServedIngestion, bearing, reason_of, served
from tests.integration.runtime.waiting import eventually

FLIGHTS = b"id,carrier,delay\n1,UA,4\n2,DL,\n3,B6,7\n"


@dataclass
class Schemas:
    """Calls of the service."""

    server: ServedIngestion
    stub: Any

    def change(
        self, dataset: str, rename: Mapping[str, str] | None = None, drop: Sequence[str] = (), **more: Any
    ) -> ingestion_pb2.Ingestion:
        request = pb.ChangeSchemaRequest(dataset=dataset, renamed_columns=rename, dropped_columns=drop, **more)
        answer: ingestion_pb2.Ingestion = self.stub.ChangeSchema(request)
        return answer

    def changed(self, dataset: str, rename: Mapping[str, str] | None = None, drop: Sequence[str] = ()) -> ingestion_pb2.Ingestion:
        answer = self.change(dataset, rename, drop, wait={"seconds": 30})
        return answer if answer.state in ENDED else self.server.ended(answer.id)

    def history(self, dataset: str, page_size: int = 0) -> list[pb.SchemaVersion]:
        found: list[pb.SchemaVersion] = []
        request = pb.ListSchemaVersionsRequest(dataset=dataset, page_size=page_size)
        while True:
            page = self.stub.ListSchemaVersions(request)
            found += page.schemas
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    def columns(self, dataset: str) -> list[str]:
        known = self.server.stub.GetDataset(ingestion_service.GetDatasetRequest(name=dataset))
        return [column.name for column in known.columns]

    def rows(self, dataset: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = rows_of(self.server.place.table(dataset)).to_pylist()
        return sorted(rows, key=repr)


@pytest.fixture
def schemas(server: ServedIngestion, mesh: Mesh) -> Iterator[Schemas]:
    with grpc.insecure_channel(server.server.address) as channel:
        yield Schemas(server, DatasetSchemaServiceStub(bearing(channel, mesh)))


def refusal(error: grpc.RpcError) -> tuple[grpc.StatusCode, str]:
    status = rpc_status.from_call(error)
    assert status is not None
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in status.details)
    return error.code(), info.reason


def test_columns_are_renamed_and_dropped_and_the_history_tells_of_it(schemas: Schemas) -> None:
    server, dataset = schemas.server, schemas.server.new_dataset()
    first = server.ingest(dataset, FLIGHTS, "flights.csv")
    widened = server.ingest(dataset, b"id,carrier,delay,seats\n4,AA,2.5,180\n", "more.csv")

    changed = schemas.changed(dataset, {"id": "carrier", "carrier": "airline"}, ["seats"])

    assert changed.state == JOB_STATE_SUCCEEDED, changed
    assert (changed.source, changed.mode) == ("schema change", ingestion_pb2.WRITE_MODE_OVERWRITE)
    assert (changed.rows_read, changed.rows_added, changed.rows_updated, changed.rows_rejected) == (4, 0, 0, 0)
    sentences = ["column 'id' was renamed to 'carrier'", "column 'carrier' was renamed to 'airline'", "column 'seats' was dropped"]
    assert sorted(changed.schema_changes) == sorted(sentences)
    assert schemas.columns(dataset) == ["carrier", "airline", "delay"]
    assert schemas.rows(dataset)[0] == {"carrier": 1, "airline": "UA", "delay": 4.0}
    earlier = server.stub.GetDataset(ingestion_service.GetDatasetRequest(name=dataset, version=widened.version))
    assert [column.name for column in earlier.columns] == ["id", "carrier", "delay", "seats"]

    server.stub.RollbackDataset(ingestion_service.RollbackDatasetRequest(name=dataset, version=first.version))
    found = schemas.history(dataset)

    assert [(each.ingestion_id, [column.name for column in each.columns]) for each in found] == [
        ("", ["id", "carrier", "delay"]),
        (changed.id, ["carrier", "airline", "delay"]),
        (widened.id, ["id", "carrier", "delay", "seats"]),
        (widened.id, ["id", "carrier", "delay"]),
        (first.id, ["id", "carrier", "delay"]),
    ]
    assert found[-1].changes == ["the table was created with 3 columns"]
    assert found[-2].changes == ["column 'delay' was widened from int64 to double"]
    assert sorted(found[1].changes) == sorted(sentences)
    assert found[1].version == changed.version
    assert [each.create_time.ToDatetime() for each in found] == sorted((each.create_time.ToDatetime() for each in found), reverse=True)
    assert schemas.history(dataset, page_size=2) == found


def test_data_are_taken_in_by_the_new_names(schemas: Schemas) -> None:
    server, dataset = schemas.server, schemas.server.new_dataset()
    server.ingest(dataset, FLIGHTS, "flights.csv")
    schemas.changed(dataset, {"id": "number"})

    upserted = server.ingest(dataset, [{"number": 2, "carrier": "DL", "delay": 1}], mode=ingestion_pb2.WRITE_MODE_UPSERT, keys=["number"])
    frozen = server.ingest(dataset, FLIGHTS, "flights.csv", schema_contract={"columns": ingestion_pb2.CONTRACT_MODE_FREEZE})

    assert (upserted.rows_updated, upserted.rows_added) == (1, 0)
    assert reason_of(frozen) == "SCHEMA_FROZEN"
    assert {row["number"]: row["delay"] for row in schemas.rows(dataset)} == {1: 4, 2: 1, 3: 7}


@pytest.mark.parametrize(
    ("rename", "drop", "reason"),
    [
        ({}, [], "SCHEMA_CHANGE_INVALID"),
        ({"id": "x"}, ["id"], "SCHEMA_CHANGE_INVALID"),
        ({"id": "x", "delay": "X"}, [], "SCHEMA_CHANGE_INVALID"),
        ({"id": "a`b"}, [], "COLUMN_INVALID"),
    ],
)
@pytest.mark.parametrize("validate_only", [False, True])
def test_a_request_that_contradicts_itself_is_refused_at_once(
    schemas: Schemas, rename: dict[str, str], drop: list[str], reason: str, *, validate_only: bool
) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        schemas.change("any", rename, drop, validate_only=validate_only)

    assert refusal(refused.value) == (grpc.StatusCode.INVALID_ARGUMENT, reason)


@pytest.mark.parametrize(
    ("rename", "drop", "code", "reason"),
    [
        ({"gone": "x"}, [], grpc.StatusCode.INVALID_ARGUMENT, "COLUMN_INVALID"),
        ({}, ["Id"], grpc.StatusCode.INVALID_ARGUMENT, "COLUMN_INVALID"),
        ({"id": "DELAY"}, [], grpc.StatusCode.FAILED_PRECONDITION, "COLUMN_TAKEN"),
        ({}, ["id", "carrier", "delay"], grpc.StatusCode.FAILED_PRECONDITION, "NO_COLUMN_LEFT"),
    ],
)
def test_what_the_dataset_does_not_allow_fails_and_is_foreseen(
    schemas: Schemas, rename: dict[str, str], drop: list[str], code: grpc.StatusCode, reason: str
) -> None:
    dataset = schemas.server.new_dataset()
    written = schemas.server.ingest(dataset, FLIGHTS, "flights.csv")

    foreseen = schemas.change(dataset, rename, drop, validate_only=True)
    changed = schemas.changed(dataset, rename, drop)

    assert (foreseen.state, changed.state) == (JOB_STATE_FAILED, JOB_STATE_FAILED)
    assert (changed.error.code, reason_of(changed)) == (code.value[0], reason)
    assert foreseen.error == changed.error
    assert schemas.server.place.table(dataset).version() == written.version


def test_a_dataset_that_is_not_there_has_no_schemas(schemas: Schemas) -> None:
    for call in (lambda: schemas.history("nobody"), lambda: schemas.change("nobody", {"a": "b"})):
        with pytest.raises(grpc.RpcError) as refused:
            call()
        assert refusal(refused.value) == (grpc.StatusCode.NOT_FOUND, "DATASET_NOT_FOUND")


def test_a_repeated_request_changes_once(schemas: Schemas) -> None:
    dataset, request_id = schemas.server.new_dataset(), str(uuid.uuid4())
    schemas.server.ingest(dataset, FLIGHTS, "flights.csv")

    answers = [schemas.change(dataset, {"id": "carrier", "carrier": "id"}, request_id=request_id) for _ in range(2)]

    assert answers[0].id == answers[1].id
    assert schemas.server.ended(answers[0].id).state == JOB_STATE_SUCCEEDED
    assert schemas.columns(dataset) == ["carrier", "id", "delay"]


def test_ten_ingestions_that_race_with_a_change_are_all_there_or_say_why_not(schemas: Schemas) -> None:
    server, dataset = schemas.server, schemas.server.new_dataset()
    server.ingest(dataset, FLIGHTS, "flights.csv")
    begun = threading.Barrier(11)

    def ingest(number: int) -> ingestion_pb2.Ingestion:
        begun.wait()
        return server.ingest(dataset, [{"id": 100 + number}])

    with ThreadPoolExecutor(11) as pool:
        racing = [pool.submit(ingest, number) for number in range(10)]
        begun.wait()
        changed = schemas.changed(dataset, {"id": "number"})
        ended = [each.result() for each in racing]

    assert changed.state == JOB_STATE_SUCCEEDED
    # Those that were asked for before the change and came too late bring nothing back; who asked after it made the column anew.
    refused = {100 + number for number, each in enumerate(ended) if reason_of(each) == "COLUMNS_CHANGED"}
    later = {100 + number for number, each in enumerate(ended) if each.state == JOB_STATE_SUCCEEDED and each.version > changed.version}
    assert all(each.state == JOB_STATE_SUCCEEDED for number, each in enumerate(ended) if 100 + number not in refused)
    rows = schemas.rows(dataset)
    assert {row["number"] for row in rows} - {None} == {1, 2, 3, *range(100, 110)} - later - refused
    assert {row.get("id") for row in rows} - {None} == later
    assert len(rows) == 13 - len(refused)


@dataclass
class Kept:
    """All that a server keeps."""

    rows: dict[str, list[tuple[Any, ...]]]
    files: dict[str, int]
    scratch: list[str]

    @classmethod
    def of(cls, server: ServedIngestion, database_url: str) -> Kept:
        engine = create_engine(database_url) if database_url else open_store(IngestionSettings(data_dir=server.data_dir))
        metadata = MetaData()
        with engine.connect() as connection:
            metadata.reflect(connection)
            # Who asked for what is kept of every call.
            kept = [table for name, table in metadata.tables.items() if "audit" not in name and "version" not in name]
            rows = {table.name: sorted(map(tuple, connection.execute(select(table))), key=repr) for table in kept}
        engine.dispose()
        return cls(rows, server.place.table_files(), server.scratch_files())


def test_nothing_is_written_and_nothing_kept_where_it_is_only_validated(mesh: Mesh, folder_place: FolderPlace) -> None:
    with served(mesh, folder_place) as server, grpc.insecure_channel(server.server.address) as channel:
        schemas = Schemas(server, DatasetSchemaServiceStub(bearing(channel, mesh)))
        server.ingest("flights", FLIGHTS, "flights.csv")
        uri = folder_place.put("more.csv", b"id,carrier,delay,seats\n3,B6,1.5,1\n4,AA,2,2\n,X,1,3\n")
        eventually(
            lambda: not any(row for name, row in Kept.of(server, "").rows.items() if name == "runtime_tasks" and unfinished(row)),
            PATIENCE_S,
        )
        before = Kept.of(server, "")

        upserted = server.start("flights", uri, mode=ingestion_pb2.WRITE_MODE_UPSERT, keys=["id"], validate_only=True)
        made = server.start("new", uri, validate_only=True, request_id=str(uuid.uuid4()))
        changed = schemas.change("flights", {"id": "number"}, ["carrier"], validate_only=True, request_id=str(uuid.uuid4()))
        discarded = server.start(
            "flights", uri, validate_only=True, schema_contract={"types": "CONTRACT_MODE_DISCARD_ROW", "columns": "CONTRACT_MODE_FREEZE"}
        )

        assert Kept.of(server, "") == before
        assert not server.exists("new")
    assert upserted.state == JOB_STATE_SUCCEEDED, upserted
    assert (upserted.id, upserted.HasField("version")) == ("", False)
    assert (upserted.rows_read, upserted.rows_added, upserted.rows_updated, upserted.rows_rejected) == (3, 1, 1, 1)
    assert [MessageToDict(row, preserving_proto_field_name=True) for row in upserted.rejected] == [
        {"row": "3", "column": "id", "reason": "KEY_IS_NULL"}
    ]
    assert upserted.rows_quarantined == 0
    assert list(upserted.schema_changes) == [
        "column 'seats' was added (int64)",
        "column 'delay' was widened from int64 to double",
    ]
    assert list(upserted.warnings) == ["models that use the dataset are not known: registry_address (MLMESH_REGISTRY_ADDRESS) is not set"]
    assert (made.state, made.rows_added, list(made.schema_changes)) == (JOB_STATE_SUCCEEDED, 3, ["the table was created with 4 columns"])
    assert not made.warnings
    assert (changed.state, changed.rows_read, len(changed.schema_changes)) == (JOB_STATE_SUCCEEDED, 3, 2)
    assert (discarded.state, reason_of(discarded)) == (JOB_STATE_FAILED, "SCHEMA_FROZEN")


def unfinished(rows: Sequence[tuple[Any, ...]]) -> bool:
    return any(state in row for row in rows for state in ("QUEUED", "RUNNING"))


def test_what_is_foreseen_is_what_happens(schemas: Schemas) -> None:
    server, dataset = schemas.server, schemas.server.new_dataset()
    server.ingest(dataset, FLIGHTS, "flights.csv")
    uri = server.place.put(f"{dataset}.csv", b"id,carrier,delay\n1,UA,0.5\n9,XX,late\n2,,3\n")
    suite = {"name": "s", "expectations": [{"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "carrier"}}]}
    gate = ingestion_pb2.ExpectationGate(mode=ingestion_pb2.CONTRACT_MODE_DISCARD_ROW)
    gate.suite.update(suite)
    refusing = ingestion_pb2.ExpectationGate(mode=ingestion_pb2.CONTRACT_MODE_FREEZE)
    refusing.suite.update(suite)
    wanted: dict[str, Any] = {"read": {"column_types": {"delay": "string"}}, "schema_contract": {"types": "CONTRACT_MODE_DISCARD_ROW"}}

    for more in ({"gate": gate, **wanted}, {"gate": refusing}, {}):
        foreseen = server.start(dataset, uri, validate_only=True, **more)
        done = server.ingest(dataset, uri, **more)

        assert (foreseen.error.message, reason_of(foreseen)) == (done.error.message, reason_of(done))
        for message in (foreseen, done):
            for field in ("id", "version", "create_time", "start_time", "end_time", "rows_quarantined", "warnings", "error"):
                message.ClearField(field)
        assert foreseen == done


def test_a_registry_that_is_away_is_a_warning(mesh: Mesh, folder_place: FolderPlace) -> None:
    address = f"unix:{mesh.folder}/nobody.sock"
    # That it is away is found at once, and on a busy machine not within any time.
    away: dict[str, Any] = {"registry_address": address, "consumers_timeout_s": 60}
    with served(mesh, folder_place, **away) as server, grpc.insecure_channel(server.server.address) as channel:
        schemas = Schemas(server, DatasetSchemaServiceStub(bearing(channel, mesh)))
        server.ingest("flights", FLIGHTS, "flights.csv")

        foreseen = schemas.change("flights", {"id": "number"}, validate_only=True)

    assert foreseen.state == JOB_STATE_SUCCEEDED
    assert list(foreseen.warnings) == ["there may be other models that use the dataset: the registry did not answer (UNAVAILABLE)"]


def test_a_change_is_cancelled_and_leaves_the_dataset_as_it_was(mesh: Mesh, folder_place: FolderPlace) -> None:
    with served(mesh, folder_place, concurrent_ingestions=1) as server, grpc.insecure_channel(server.server.address) as channel:
        schemas = Schemas(server, DatasetSchemaServiceStub(bearing(channel, mesh)))
        large(server, folder_place, 2_000_000)
        running = schemas.change("large", {"id": "number"})
        waiting = schemas.change("large", {"text": "words"})
        assert server.look(waiting.id).state == JOB_STATE_QUEUED
        eventually(lambda: server.look(running.id).state == JOB_STATE_RUNNING and server.look(running.id).rows_read > 0, PATIENCE_S)

        for each in (waiting, running):
            server.stub.CancelIngestion(ingestion_service.CancelIngestionRequest(id=each.id))

        assert server.ended(running.id).state == server.ended(waiting.id).state == JOB_STATE_CANCELLED
        assert schemas.columns("large") == ["id", "text"]
        assert len(schemas.history("large")) == 1
        eventually(lambda: server.scratch_files() == [], PATIENCE_S)
        assert schemas.changed("large", {"id": "number"}).state == JOB_STATE_SUCCEEDED


def test_validating_ends_with_its_caller(mesh: Mesh, folder_place: FolderPlace) -> None:
    with served(mesh, folder_place) as server:
        large(server, folder_place, 2_000_000)
        source = ingestion_pb2.Source(uri=(folder_place.sources / "large.csv").as_uri())
        request = ingestion_service.IngestDataRequest(dataset="large", source=source, validate_only=True)
        call = server.stub.IngestData.future(request)
        eventually(lambda: server.scratch_files() != [], PATIENCE_S)
        before = data_processes()

        call.cancel()

        eventually(lambda: before - data_processes(), PATIENCE_S)
        eventually(lambda: server.scratch_files() == [], PATIENCE_S)


def data_processes() -> set[int]:
    mine = {child.pid for child in psutil.Process().children(recursive=True)}
    running = {process.pid: process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])}
    return {pid for pid in mine if "servers.ingestion.data_process" in running.get(pid, [])}


def large(server: ServedIngestion, place: FolderPlace, rows: int) -> None:
    """A dataset that takes some seconds to rewrite."""
    block = b"".join(b"%d,%032x\n" % (number, number * 7919) for number in range(20_000))
    with (place.sources / "large.csv").open("wb") as file:
        file.write(b"id,text\n")
        for _ in range(rows // 20_000):
            file.write(block)
    assert server.ingest("large", (place.sources / "large.csv").as_uri()).state == JOB_STATE_SUCCEEDED
