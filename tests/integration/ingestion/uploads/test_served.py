"""Uploads of a real server, on a folder with SQLite and on an S3 with PostgreSQL."""

from __future__ import annotations

import gzip
import os
import threading
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import grpc
import pytest
from mlops.common.v1.job_pb2 import JOB_STATE_FAILED, JOB_STATE_SUCCEEDED
from mlops.ingestion.v1 import ingestion_pb2
from mlops.ingestion.v1 import ingestion_service_pb2 as ingestion_service
from mlops.ingestion.v1 import upload_service_pb2 as pb

from servers.ingestion.data_process import DataProcesses
from tests.integration.ingestion.server.places import FolderPlace, rows_of
from tests.integration.ingestion.server.served import PATIENCE_S, Mesh, reason_of
from tests.integration.ingestion.uploads.conftest import DAY, ServedUploads, Shape, serving
from tests.integration.runtime.rich_errors import Refusal, refused
from tests.integration.runtime.waiting import eventually

ROWS = 200_000
CSV = b"id,name\n" + b"".join(b"%d,row %d\n" % (each, each) for each in range(ROWS))
NO_UPLOAD = str(uuid.uuid4())


def ingest(server: ServedUploads, upload_id: str, dataset: str = "", **more: Any) -> ingestion_pb2.Ingestion:
    dataset = dataset or server.ingestion.new_dataset()
    request = ingestion_service.IngestDataRequest(dataset=dataset, source=ingestion_pb2.Source(upload_id=upload_id), wait={"seconds": 30})
    request.MergeFrom(ingestion_service.IngestDataRequest(**more))
    answer = server.ingestion.stub.IngestData(request)
    return server.ingestion.ended(answer.id)


def is_gone(server: ServedUploads, upload_id: str) -> bool:
    refusal = refused(lambda: server.get(upload_id))
    return (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "UPLOAD_NOT_FOUND")


def check(refusal: Refusal, code: grpc.StatusCode, reason: str) -> None:
    assert (refusal.code, refusal.reason) == (code, reason), refusal.message


def test_a_file_in_pieces_becomes_rows_and_is_gone_then(server: ServedUploads) -> None:
    data = gzip.compress(CSV, 1)
    begun = server.begin(len(data), "rows.csv.gz")
    assert (begun.name, begun.size_bytes, begun.offset_bytes, begun.complete) == ("rows.csv.gz", len(data), 0, False)
    assert begun.expire_time.ToDatetime() == (server.clock.now + DAY).replace(tzinfo=None)
    assert server.append(begun.id, 0, data[:100_000], b"", data[100_000:150_000]).offset_bytes == 150_000
    assert server.get(begun.id.upper()).offset_bytes == 150_000
    done = server.append(begun.id, 150_000, data[150_000:])
    assert (done.offset_bytes, done.complete) == (len(data), True)

    dataset = server.ingestion.new_dataset()
    ingestion = ingest(server, begun.id, dataset)

    assert (ingestion.state, ingestion.rows_added, ingestion.source) == (JOB_STATE_SUCCEEDED, ROWS, "rows.csv.gz"), ingestion
    assert sorted(rows_of(server.ingestion.place.table(dataset))["id"].to_pylist()) == list(range(ROWS))
    assert is_gone(server, begun.id)
    assert server.ingestion.scratch_files() == []


def test_a_file_that_is_not_right_goes_with_its_ingestion_too(server: ServedUploads) -> None:
    upload_id = server.uploaded(b"a,b\n1,2\n3\n")
    ingestion = ingest(server, upload_id)
    assert (ingestion.state, reason_of(ingestion)) == (JOB_STATE_FAILED, "RAGGED_ROW")
    assert ingestion.error.message.startswith("rows.csv, line 3: ")
    assert is_gone(server, upload_id)


def test_a_check_leaves_it_where_it_is(server: ServedUploads) -> None:
    upload_id = server.uploaded(CSV)
    request = ingestion_service.ValidateDataRequest(source=ingestion_pb2.Source(upload_id=upload_id))
    request.suite.update({"name": "s", "expectations": [{"type": "expect_column_to_exist", "kwargs": {"column": "id"}}]})
    for _ in range(2):
        report = server.ingestion.stub.ValidateData(request)
        assert (report.row_count, report.successful_count) == (ROWS, 1)
    assert server.get(upload_id).complete


def test_an_upload_without_a_name_is_read_as_the_request_says(server: ServedUploads) -> None:
    upload_id = server.uploaded(b"a\n1\n", name="")
    ingestion = ingest(server, upload_id, read={"format": ingestion_pb2.FILE_FORMAT_CSV})
    assert (ingestion.state, ingestion.rows_added, ingestion.source) == (JOB_STATE_SUCCEEDED, 1, "data")


@pytest.mark.parametrize("name", ["../../../escaped.csv", "/etc/escaped.csv", "a\0b.csv", "x" * 251 + ".csv", "鹿 🦌.csv", "'\n;.csv"])
def test_its_name_leads_nowhere(server: ServedUploads, name: str) -> None:
    ingestion = ingest(server, server.uploaded(b"a\n1\n", name=name))
    assert (ingestion.state, ingestion.source) == (JOB_STATE_SUCCEEDED, name.replace("\0", "␀"))


def test_what_is_not_there_or_not_whole_is_not_ingested(server: ServedUploads) -> None:
    dataset = server.ingestion.new_dataset()
    check(refused(lambda: ingest(server, NO_UPLOAD, dataset)), grpc.StatusCode.NOT_FOUND, "UPLOAD_NOT_FOUND")
    upload_id = server.begin(10).id
    server.append(upload_id, 0, b"a\n1\n")

    refusal = refused(lambda: ingest(server, upload_id, dataset))

    check(refusal, grpc.StatusCode.FAILED_PRECONDITION, "UPLOAD_INCOMPLETE")
    assert "4 of 10 bytes" in refusal.message
    request = ingestion_service.ValidateDataRequest(source=ingestion_pb2.Source(upload_id=upload_id))
    request.suite.update({"name": "s", "expectations": []})
    check(refused(lambda: server.ingestion.stub.ValidateData(request)), grpc.StatusCode.FAILED_PRECONDITION, "UPLOAD_INCOMPLETE")
    check(refused(lambda: ingest(server, upload_id, dataset, project="other")), grpc.StatusCode.NOT_FOUND, "UPLOAD_NOT_FOUND")
    assert not server.ingestion.exists(dataset)


def test_other_projects_have_no_part_in_it(server: ServedUploads) -> None:
    upload_id = server.uploaded(b"a\n1\n")
    check(refused(lambda: server.get(upload_id, project="other")), grpc.StatusCode.NOT_FOUND, "UPLOAD_NOT_FOUND")
    check(refused(lambda: server.append(upload_id, 4, project="other")), grpc.StatusCode.NOT_FOUND, "UPLOAD_NOT_FOUND")
    # A later message cannot lead into another project, either.
    begun = server.begin(10)
    messages = [pb.AppendDataUploadRequest(id=begun.id, data=b"12345"), pb.AppendDataUploadRequest(id=upload_id, data=b"6")]
    assert server.stub.AppendDataUpload(iter(messages), metadata=server.metadata).offset_bytes == 6
    assert server.get(upload_id).offset_bytes == 4


def test_messages_that_are_none_are_refused(server: ServedUploads) -> None:
    check(
        refused(lambda: server.stub.AppendDataUpload(iter([]), metadata=server.metadata)),
        grpc.StatusCode.INVALID_ARGUMENT,
        "UPLOAD_MISUSED",
    )
    for wrong in ("", "x", "../" * 5, "0" * 64):
        check(refused(lambda wrong=wrong: server.append(wrong, 0, b"x")), grpc.StatusCode.INVALID_ARGUMENT, "UPLOAD_MISUSED")
    upload_id = server.begin(10).id
    for call in (
        lambda: server.append(upload_id, -1, b"x"),
        lambda: server.append(upload_id, 0, bytes(4 * 2**20 + 1)),
        lambda: server.begin(0),
    ):
        check(refused(call), grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_INVALID")
    check(refused(lambda: server.append(upload_id, 3, b"x")), grpc.StatusCode.FAILED_PRECONDITION, "UPLOAD_OFFSET_MISMATCH")
    check(refused(lambda: server.append(upload_id, 0, b"12345678901")), grpc.StatusCode.INVALID_ARGUMENT, "UPLOAD_TOO_LONG")
    assert server.get(upload_id).offset_bytes == 0


def test_beginning_again_is_the_same_upload(server: ServedUploads) -> None:
    request_id = str(uuid.uuid4())
    assert server.begin(10, request_id=request_id) == server.begin(10, request_id=request_id)
    check(refused(lambda: server.begin(11, request_id=request_id)), grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED")


def test_a_file_is_not_larger_than_the_server_takes(server: ServedUploads) -> None:
    check(refused(lambda: server.begin(64 * 2**30 + 1)), grpc.StatusCode.RESOURCE_EXHAUSTED, "FILE_TOO_LARGE")


def test_it_can_be_given_up(server: ServedUploads) -> None:
    upload_id = server.uploaded(b"a\n1\n")
    server.delete(upload_id)
    assert is_gone(server, upload_id)
    check(refused(lambda: server.delete(upload_id)), grpc.StatusCode.NOT_FOUND, "UPLOAD_NOT_FOUND")


def test_its_time_is_over_a_day_after_its_last_piece(server: ServedUploads) -> None:
    first, second = server.begin(10).id, server.begin(10).id
    server.clock.now += DAY - timedelta(seconds=1)
    server.append(second, 0, b"12345")
    server.clock.now += timedelta(seconds=1)
    assert is_gone(server, first)
    check(refused(lambda: server.append(first, 0, b"x")), grpc.StatusCode.NOT_FOUND, "UPLOAD_NOT_FOUND")
    assert server.get(second).offset_bytes == 5


def test_an_upload_that_broke_off_goes_on_where_it_stands(server: ServedUploads) -> None:
    data = os.urandom(3 * 2**20)
    upload_id, may_end = server.begin(len(data)).id, threading.Event()

    def broken() -> Iterator[pb.AppendDataUploadRequest]:
        yield pb.AppendDataUploadRequest(id=upload_id, data=data[: 2**20])
        yield pb.AppendDataUploadRequest(data=data[2**20 : 2**21])
        may_end.wait(PATIENCE_S)

    call = server.stub.AppendDataUpload.future(broken(), metadata=server.metadata)
    if isinstance(server.ingestion.place, FolderPlace):
        eventually(lambda: server.get(upload_id).offset_bytes == 2**21, PATIENCE_S)
    call.cancel()
    may_end.set()

    def resumed() -> bool:
        stands_at = server.get(upload_id).offset_bytes
        answer = server.stub.AppendDataUpload.future(
            iter([pb.AppendDataUploadRequest(id=upload_id, offset_bytes=stands_at, data=data[stands_at:])]), metadata=server.metadata
        )
        # An S3 gets what came before only when the connection is known to have broken off.
        assert answer.code() in (grpc.StatusCode.OK, grpc.StatusCode.FAILED_PRECONDITION)
        return answer.code() is grpc.StatusCode.OK

    assert eventually(resumed, PATIENCE_S)


def test_many_ingest_it_at_the_same_time(server: ServedUploads, monkeypatch: pytest.MonkeyPatch) -> None:
    upload_id, dataset = server.uploaded(CSV), server.ingestion.new_dataset()
    request = ingestion_service.IngestDataRequest(dataset=dataset, source=ingestion_pb2.Source(upload_id=upload_id))
    may_work, run = threading.Event(), DataProcesses.run

    def when_it_may(processes: DataProcesses, *arguments: Any, **named: Any) -> Any:
        may_work.wait(PATIENCE_S)
        return run(processes, *arguments, **named)

    # The upload goes with the last of them: none has ended before all have begun, and somebody has tried to delete it.
    with monkeypatch.context() as patched:
        patched.setattr(DataProcesses, "run", when_it_may)
        try:
            started = [server.ingestion.stub.IngestData(request).id for _ in range(4)]
            refusal = refused(lambda: server.delete(upload_id))
        finally:
            may_work.set()
    ended = [server.ingestion.ended(each) for each in started]

    assert [(each.state, each.rows_added) for each in ended] == [(JOB_STATE_SUCCEEDED, ROWS)] * 4
    check(refusal, grpc.StatusCode.FAILED_PRECONDITION, "UPLOAD_IN_USE")
    assert is_gone(server, upload_id)
    assert rows_of(server.ingestion.place.table(dataset)).num_rows == 4 * ROWS


def test_what_a_compressed_file_inflates_to_has_a_limit_of_its_own(mesh: Mesh, tmp_path: Any) -> None:
    shape = Shape("local", "", "", tmp_path)
    with serving(mesh, FolderPlace(tmp_path / "place"), shape, max_decompressed_bytes=1_000_000, max_file_bytes=len(CSV)) as server:
        ingestion = ingest(server, server.uploaded(gzip.compress(CSV, 1), "rows.csv.gz"))
        assert (ingestion.state, reason_of(ingestion)) == (JOB_STATE_FAILED, "FILE_TOO_LARGE")
        assert "1000000 bytes" in ingestion.error.message
        assert ingest(server, server.uploaded(CSV)).state == JOB_STATE_SUCCEEDED
        check(refused(lambda: server.begin(len(CSV) + 1)), grpc.StatusCode.RESOURCE_EXHAUSTED, "FILE_TOO_LARGE")
