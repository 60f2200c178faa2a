"""The quarantine as a caller sees it who knows nothing but the contract: on folders with SQLite, and on an S3 with PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from mlops.common.v1.job_pb2 import JOB_STATE_FAILED, JOB_STATE_SUCCEEDED
from mlops.ingestion.v1 import ingestion_pb2
from mlops.ingestion.v1 import ingestion_service_pb2 as ingestion_service
from mlops.ingestion.v1 import quarantine_service_pb2 as pb
from mlops.ingestion.v1.quarantine_service_pb2_grpc import QuarantineServiceStub

from tests.integration.ingestion.server.places import rows_of
from tests.integration.ingestion.server.served import Mesh, ServedIngestion, reason_of
from tests.integration.runtime.rich_errors import refused

GOOD = b"id,delay\n1,5\n2,6\n"
BAD = b"id,delay\n3,x\n4,7\n5,y\n9007199254740993,z\n"
ROWS_OUT = ingestion_pb2.SchemaContract(columns=ingestion_pb2.CONTRACT_MODE_DISCARD_ROW, types=ingestion_pb2.CONTRACT_MODE_DISCARD_ROW)
WAIT = {"seconds": 30}


@pytest.fixture
def stub(server: ServedIngestion, mesh: Mesh) -> Iterator[Any]:
    with grpc.insecure_channel(server.server.address) as channel:
        metadata = mesh.issuer.bearer()

        class WithToken:
            def __getattr__(self, name: str) -> Any:
                return lambda request: getattr(QuarantineServiceStub(channel), name)(request, metadata=metadata)

        yield WithToken()


@pytest.fixture
def dataset(server: ServedIngestion) -> str:
    """A dataset with two rows in it, and three in its quarantine."""
    name = server.new_dataset()
    assert server.ingest(name, GOOD, "good.csv").state == JOB_STATE_SUCCEEDED
    ingestion = server.ingest(name, BAD, "bad.csv", schema_contract=ROWS_OUT)
    assert (ingestion.rows_added, ingestion.rows_rejected, ingestion.rows_quarantined) == (1, 3, 3)
    return name


def listed(stub: Any, dataset: str, **more: Any) -> list[pb.QuarantinedRow]:
    return list(stub.ListQuarantinedRows(pb.ListQuarantinedRowsRequest(dataset=dataset, **more)).rows)


def repair(row: pb.QuarantinedRow, values: dict[str, Any]) -> pb.RowRepair:
    message = pb.RowRepair(id=row.id)
    message.values.update(values)
    return message


def test_repair_replay_and_discard(server: ServedIngestion, stub: Any, dataset: str) -> None:
    first, second, third = listed(stub, dataset)
    assert (first.row, first.column, first.value, first.reason) == (1, "delay", "x", "VALUE_DOES_NOT_FIT")
    assert dict(first.data) == {"id": 3, "delay": "x"}
    assert third.data["id"] == "9007199254740993", "a number that JSON would round"
    assert server.look(first.ingestion_id).rows_quarantined == 3

    request = pb.ReplayQuarantinedRowsRequest(
        dataset=dataset, repairs=[repair(first, {"delay": 30}), repair(second, {"delay": "late"}), repair(third, {"delay": "1"})], wait=WAIT
    )
    ingestion = stub.ReplayQuarantinedRows(request)
    assert ingestion.state == JOB_STATE_SUCCEEDED, ingestion.error
    assert ingestion.source == f"quarantine of {dataset}"
    assert (ingestion.rows_read, ingestion.rows_added, ingestion.rows_quarantined) == (3, 2, 1)

    [left] = listed(stub, dataset)
    assert (left.id, left.ingestion_id, left.value, left.data["delay"]) == (second.id, ingestion.id, "late", "late")
    written = {row["id"]: row["delay"] for row in rows_of(server.place.table(dataset)).to_pylist()}
    assert written == {1: 5, 2: 6, 3: 30, 4: 7, 9007199254740993: 1}
    assert server.stub.GetDataset(ingestion_service.GetDatasetRequest(name=dataset)).row_count == 5
    found = server.stub.ListIngestions(ingestion_service.ListIngestionsRequest(filter=f'dataset = "{dataset}"', page_size=1)).ingestions
    assert [each.id for each in found] == [ingestion.id]

    discard = pb.DiscardQuarantinedRowsRequest(dataset=dataset, ids=[left.id])
    assert stub.DiscardQuarantinedRows(discard).removed_row_count == 1
    assert stub.DiscardQuarantinedRows(discard).removed_row_count == 0
    assert listed(stub, dataset) == []
    assert server.scratch_files() == []


def test_pages(server: ServedIngestion, stub: Any, dataset: str) -> None:
    rows, token = [], ""
    while True:
        page = stub.ListQuarantinedRows(pb.ListQuarantinedRowsRequest(dataset=dataset, page_size=2, page_token=token))
        rows += [row.row for row in page.rows]
        token = page.next_page_token
        if not token:
            break
        server.ingest(dataset, BAD, "bad.csv", schema_contract=ROWS_OUT)
    assert rows == [1, 3, 4]
    assert len(listed(stub, dataset)) == 6
    page = stub.ListQuarantinedRows(pb.ListQuarantinedRowsRequest(dataset=dataset, page_size=1))
    other = pb.ListQuarantinedRowsRequest(dataset=dataset, page_size=1, page_token=page.next_page_token, filter='reason = "x"')
    assert refused(lambda: stub.ListQuarantinedRows(other)).code is grpc.StatusCode.INVALID_ARGUMENT


def test_what_is_wrong_is_said(server: ServedIngestion, stub: Any, dataset: str) -> None:
    known = listed(stub, dataset)[0]

    def replay(**fields: Any) -> Any:
        return refused(lambda: stub.ReplayQuarantinedRows(pb.ReplayQuarantinedRowsRequest(**({"dataset": dataset} | fields))))

    unknown = replay(ids=[known.id, "nobody"], repairs=[pb.RowRepair(id="nothing", values={})])
    assert (unknown.code, unknown.reason) == (grpc.StatusCode.NOT_FOUND, "QUARANTINED_ROWS_NOT_FOUND")
    assert "no rows nobody, nothing;" in unknown.message
    assert replay(ids=[known.id], filter='reason = "x"').reason == "QUARANTINE_SELECTION_INVALID"
    assert replay(repairs=[repair(known, {"delay": 1})] * 2).reason == "QUARANTINE_SELECTION_INVALID"
    assert replay(filter="nonsense = 1").code is grpc.StatusCode.INVALID_ARGUMENT
    assert replay(dataset="nobody").reason == "DATASET_NOT_FOUND"
    for call, request in (
        (stub.ListQuarantinedRows, pb.ListQuarantinedRowsRequest(dataset="nobody")),
        (stub.DiscardQuarantinedRows, pb.DiscardQuarantinedRowsRequest(dataset="nobody")),
    ):
        assert refused(lambda call=call, request=request: call(request)).reason == "DATASET_NOT_FOUND"
    for wrong in ({"filter": "column"}, {"order_by": "row"}, {"page_token": "x"}):
        request = pb.ListQuarantinedRowsRequest(dataset=dataset, **wrong)
        assert refused(lambda request=request: stub.ListQuarantinedRows(request)).code is grpc.StatusCode.INVALID_ARGUMENT
    failed = stub.ReplayQuarantinedRows(pb.ReplayQuarantinedRowsRequest(dataset=dataset, keys=["id"], wait=WAIT))
    assert (failed.state, reason_of(failed)) == (JOB_STATE_FAILED, "UPSERT_KEYS_INVALID")
    assert len(listed(stub, dataset)) == 3


def test_a_repeated_request_replays_once(server: ServedIngestion, stub: Any, dataset: str) -> None:
    row = listed(stub, dataset)[0]
    request = pb.ReplayQuarantinedRowsRequest(
        dataset=dataset, repairs=[repair(row, {"delay": 1})], wait=WAIT, request_id="7f6f9b0e-3d0f-4c55-9f0b-0a86a2f7a4e1"
    )
    assert stub.ReplayQuarantinedRows(request).id == stub.ReplayQuarantinedRows(request).id
    assert sorted(rows_of(server.place.table(dataset))["id"].to_pylist()) == [1, 2, 3, 4]


def test_replays_of_the_same_rows_at_the_same_time_write_them_once(server: ServedIngestion, stub: Any, dataset: str) -> None:
    rows = listed(stub, dataset)
    barrier = threading.Barrier(4)

    def replay(_number: int) -> Any:
        barrier.wait(30)
        repairs = [repair(row, {"delay": 1}) for row in rows]
        try:
            return stub.ReplayQuarantinedRows(pb.ReplayQuarantinedRowsRequest(dataset=dataset, repairs=repairs))
        except grpc.RpcError as error:
            # The others were so quick that the rows are not there any more.
            assert error.code() is grpc.StatusCode.NOT_FOUND  # noqa: PT017
            return None

    with ThreadPoolExecutor(4) as threads:
        started = [each for each in threads.map(replay, range(4)) if each is not None]
    ended = [server.ended(each.id) for each in started]

    assert [each.state for each in ended] == [JOB_STATE_SUCCEEDED] * len(ended), ended
    assert sum(each.rows_added for each in ended) == 3
    assert sorted(rows_of(server.place.table(dataset))["id"].to_pylist()) == [1, 2, 3, 4, 5, 9007199254740993]
    assert listed(stub, dataset) == []


def test_a_deleted_dataset_takes_its_quarantine_along(server: ServedIngestion, stub: Any, dataset: str) -> None:
    assert [path for path in server.place.table_files() if f".quarantine/{dataset}/" in path]
    server.stub.DeleteDataset(ingestion_service.DeleteDatasetRequest(name=dataset))

    assert not [path for path in server.place.table_files() if f"/{dataset}/" in path]
    request = pb.ListQuarantinedRowsRequest(dataset=dataset)
    assert refused(lambda: stub.ListQuarantinedRows(request)).reason == "DATASET_NOT_FOUND"
    assert server.ingest(dataset, GOOD, "good.csv").state == JOB_STATE_SUCCEEDED
    assert listed(stub, dataset) == []
