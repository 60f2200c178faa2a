"""What was begun by a server that died before it had answered is not begun again."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

import grpc
from google.protobuf.message import Message
from mlops.common.v1.job_pb2 import JOB_STATE_SUCCEEDED
from mlops.ingestion.v1 import ingestion_pb2, ingestion_service_pb2, quarantine_service_pb2, schema_service_pb2, upload_service_pb2
from mlops.ingestion.v1.quarantine_service_pb2_grpc import QuarantineServiceStub
from mlops.ingestion.v1.schema_service_pb2_grpc import DatasetSchemaServiceStub
from mlops.ingestion.v1.upload_service_pb2_grpc import DataUploadServiceStub
from sqlalchemy import update

from servers.ingestion.store.tables import uploads
from sql_engine import begin_write, connect
from tests.integration.ingestion.server.places import FolderPlace
from tests.integration.ingestion.server.served import Mesh, bearing, served, source_of
from tests.integration.runtime.lost_answers import lose_answers_of

WAIT = {"seconds": 30}
DISCARD = {"types": ingestion_pb2.CONTRACT_MODE_DISCARD_ROW}


def test_uploads_are_begun_once(mesh: Mesh, folder_place: FolderPlace, tmp_path: Path) -> None:
    database_url = f"sqlite:///{tmp_path}/mesh.db"
    with served(mesh, folder_place, database_url=database_url) as server, grpc.insecure_channel(server.server.address) as channel:
        stub = DataUploadServiceStub(bearing(channel, mesh))
        request = upload_service_pb2.BeginDataUploadRequest(name="a.csv", size_bytes=5, request_id=str(uuid.uuid4()))
        first = stub.BeginDataUpload(request)
        lose_answers_of(database_url, "ingestion")
        assert [stub.BeginDataUpload(request) for _ in range(2)] == [first, first]

        # The server had died before the bytes had a place.
        lose_answers_of(database_url, "ingestion")
        engine = connect(database_url, schema="ingestion")
        with begin_write(engine) as connection:
            connection.execute(update(uploads).values(blob_id=None))
        engine.dispose()
        assert stub.BeginDataUpload(request).id == first.id
        assert stub.GetDataUpload(upload_service_pb2.GetDataUploadRequest(id=first.id)).size_bytes == 5


def test_ingestions_changes_and_replays_are_begun_once(mesh: Mesh, folder_place: FolderPlace, tmp_path: Path) -> None:
    database_url = f"sqlite:///{tmp_path}/mesh.db"
    with served(mesh, folder_place, database_url=database_url) as server, grpc.insecure_channel(server.server.address) as channel:
        shown, dataset = bearing(channel, mesh), server.new_dataset()

        def three_times(call: Callable[[Message], ingestion_pb2.Ingestion], request: Message) -> ingestion_pb2.Ingestion:
            request.request_id = str(uuid.uuid4())  # type: ignore[attr-defined]
            first = call(request)
            lose_answers_of(database_url, "ingestion")
            assert [call(request), call(request)] == [first, first]
            assert first.state == JOB_STATE_SUCCEEDED
            return first

        def ingest(data: bytes, **more: object) -> ingestion_pb2.Ingestion:
            request = ingestion_service_pb2.IngestDataRequest(dataset=dataset, source=source_of(data, "a.csv"), wait=WAIT, **more)
            return three_times(server.stub.IngestData, request)

        assert ingest(b"id,x\n0,1\n").rows_added == 1
        assert ingest(b"id,x\n1,2\nno,3\n", schema_contract=DISCARD).rows_quarantined == 1
        replay = quarantine_service_pb2.ReplayQuarantinedRowsRequest(dataset=dataset, wait=WAIT)
        (row,) = QuarantineServiceStub(shown).ListQuarantinedRows(quarantine_service_pb2.ListQuarantinedRowsRequest(dataset=dataset)).rows
        replay.repairs.add(id=row.id).values.update({"id": 7})
        assert three_times(QuarantineServiceStub(shown).ReplayQuarantinedRows, replay).rows_added == 1
        change = schema_service_pb2.ChangeSchemaRequest(dataset=dataset, renamed_columns={"x": "y"}, wait=WAIT)
        # A second change of the same kind would be refused: there is no such column any more.
        assert three_times(DatasetSchemaServiceStub(shown).ChangeSchema, change).schema_changes

        assert sorted(folder_place.table(dataset).to_pyarrow_table()["id"].to_pylist()) == [0, 1, 7]
        listed = server.stub.ListIngestions(ingestion_service_pb2.ListIngestionsRequest(filter=f'dataset = "{dataset}"'))
        assert len(listed.ingestions) == 4
