"""Ingestions that are cancelled, that outlive their server, that several servers share, and that want too much."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import pyarrow as pa
import pytest
from deltalake.exceptions import TableNotFoundError
from mlops.common.v1.job_pb2 import JOB_STATE_CANCELLED, JOB_STATE_FAILED, JOB_STATE_QUEUED, JOB_STATE_RUNNING, JOB_STATE_SUCCEEDED
from mlops.ingestion.v1 import ingestion_pb2
from mlops.ingestion.v1 import ingestion_service_pb2 as pb

from demo.real_servers.postgresql import PostgresqlServer
from demo.real_servers.s3 import S3Server
from tests.integration.client.cutting_proxy import CuttingProxy
from tests.integration.ingestion.server.places import FolderPlace, S3Place, rows_of
from tests.integration.ingestion.server.served import PATIENCE_S, Mesh, ServedIngestion, reason_of, served
from tests.integration.runtime.waiting import eventually

GOOD = b"id,name\n1,x\n2,y\n"
_BLOCK = b"".join(b"%d,%032x,2020-01-01,0.25\n" % (index, index * 7919) for index in range(20_000))


def large_csv(place: FolderPlace, megabytes: int) -> str:
    """A file that keeps a server busy for some seconds."""
    path = place.sources / f"large-{megabytes}.csv"
    with path.open("wb") as file:
        file.write(b"id,text,day,ratio\n")
        for _ in range(megabytes * 1_000_000 // len(_BLOCK)):
            file.write(_BLOCK)
    return path.as_uri()


def cancel(server: ServedIngestion, ingestion_id: str) -> ingestion_pb2.Ingestion:
    answer: ingestion_pb2.Ingestion = server.stub.CancelIngestion(pb.CancelIngestionRequest(id=ingestion_id))
    return answer


@pytest.fixture
def held_s3(s3_access: S3Server) -> Iterator[CuttingProxy]:
    """A way to the S3 that holds the first connection until it is cut, and no later one."""
    parts = urlsplit(s3_access.endpoint)
    assert parts.hostname is not None
    assert parts.port is not None
    with CuttingProxy((parts.hostname, parts.port), hold_after_bytes=1) as proxy:
        yield proxy


def test_what_is_cancelled_while_it_waits_or_is_read_writes_nothing(mesh: Mesh, folder_place: FolderPlace) -> None:
    uri = large_csv(folder_place, 200)
    with served(mesh, folder_place, concurrent_ingestions=1) as server:
        running = server.start("large", uri)
        eventually(lambda: server.look(running.id).state == JOB_STATE_RUNNING, PATIENCE_S)
        waiting = server.start("small", GOOD, "good.csv")

        assert server.look(waiting.id).state == JOB_STATE_QUEUED
        assert cancel(server, waiting.id).state == JOB_STATE_CANCELLED
        cancel(server, running.id)

        assert server.ended(running.id).state == JOB_STATE_CANCELLED
        assert not server.exists("large")
        assert not server.exists("small")
        assert folder_place.table_files() == {}
        eventually(lambda: server.scratch_files() == [], PATIENCE_S)
        # It stays as it is, and the next one is not hindered.
        assert cancel(server, running.id).state == JOB_STATE_CANCELLED
        assert server.ingest("small", GOOD, "good.csv").state == JOB_STATE_SUCCEEDED
        assert cancel(server, server.ingest("small", GOOD, "good.csv").id).state == JOB_STATE_SUCCEEDED


def test_what_is_cancelled_while_it_is_written_changes_no_row(mesh: Mesh, folder_place: FolderPlace) -> None:
    uri = large_csv(folder_place, 100)
    with served(mesh, folder_place) as server:
        assert server.ingest("large", b"id,text,day,ratio\n1,x,2020-01-01,0.5\n", "small.csv").state == JOB_STATE_SUCCEEDED
        before = folder_place.table("large").version()
        ingestion = server.start("large", uri)
        eventually(lambda: server.look(ingestion.id).rows_read > 0, PATIENCE_S)
        cancel(server, ingestion.id)

        assert server.ended(ingestion.id).state == JOB_STATE_CANCELLED
        assert folder_place.table("large").version() == before
        assert rows_of(folder_place.table("large")).num_rows == 1
        eventually(lambda: server.scratch_files() == [], PATIENCE_S)


def test_what_is_cancelled_while_it_is_written_leaves_the_name_free(mesh: Mesh, folder_place: FolderPlace) -> None:
    uri = large_csv(folder_place, 150)
    with served(mesh, folder_place) as server:
        ingestion = server.start("large", uri)
        eventually(folder_place.table_files, PATIENCE_S)
        cancel(server, ingestion.id)

        assert server.ended(ingestion.id).state == JOB_STATE_CANCELLED
        assert not server.exists("large")
        other = server.ingest("large", b"id\nx\n", "other types.csv")
        assert other.state == JOB_STATE_SUCCEEDED, other.error.message


def test_an_ingestion_outlives_its_server(mesh: Mesh, s3_access: S3Server, held_s3: CuttingProxy, tmp_path: Path) -> None:
    place = S3Place(s3_access, endpoint=held_s3.url)
    uri = place.put("good.csv", GOOD)
    with served(mesh, place, data_dir=tmp_path / "data", database_url=f"sqlite:///{tmp_path}/mesh.db") as first:
        running = first.start("flights", uri, name="")
        given = [first.start("flights", b"id,name\n%d,z\n" % index, "good.csv").id for index in range(3, 6)]
        assert held_s3.holds.wait(PATIENCE_S)
        assert first.look(running.id).state == JOB_STATE_RUNNING
    assert first.scratch_files() == []
    held_s3.cut()

    with served(mesh, place, data_dir=tmp_path / "data", database_url=f"sqlite:///{tmp_path}/mesh.db") as second:
        ended = [second.ended(each) for each in (running.id, *given)]

        assert [each.state for each in ended] == [JOB_STATE_SUCCEEDED] * 4, ended
        assert sorted(rows_of(place.table("flights"))["id"].to_pylist()) == [1, 2, 3, 4, 5]
        assert second.stub.GetDataset(pb.GetDatasetRequest(name="flights")).row_count == 5


def test_two_servers_share_the_work(mesh: Mesh, s3_access: S3Server, postgresql: PostgresqlServer) -> None:
    place, database_url = S3Place(s3_access), postgresql.new_database()
    with (
        served(mesh, place, database_url=database_url, concurrent_ingestions=1) as one,
        served(mesh, place, database_url=database_url, concurrent_ingestions=1) as other,
    ):
        pools = [server.data_dir / "ingestion" / "scratch" for server in (one, other)]
        ids = [one.start("flights", b"id\n%d\n" % index, "good.csv").id for index in range(20)]
        eventually(lambda: all(any(pool.glob("*/process-*")) for pool in pools), PATIENCE_S)

        assert [other.ended(each).state for each in ids] == [JOB_STATE_SUCCEEDED] * 20
        assert sorted(rows_of(place.table("flights"))["id"].to_pylist()) == list(range(20))
        versions = one.stub.ListDatasetVersions(pb.ListDatasetVersionsRequest(name="flights", page_size=100)).versions
        assert Counter(each.ingestion_id for each in versions if each.ingestion_id) == Counter(ids)
        assert other.stub.GetDataset(pb.GetDatasetRequest(name="flights")).row_count == 20


def test_a_dataset_that_is_deleted_while_it_is_written_is_whole_or_gone(server: ServedIngestion) -> None:
    dataset = server.new_dataset()
    assert server.ingest(dataset, GOOD, "good.csv").state == JOB_STATE_SUCCEEDED
    is_over = threading.Event()

    def delete_again_and_again() -> Counter[grpc.StatusCode]:
        answers: Counter[grpc.StatusCode] = Counter()
        while not is_over.wait(0.05):
            try:
                server.stub.DeleteDataset(pb.DeleteDatasetRequest(name=dataset))
            except grpc.RpcError as error:
                answers[error.code()] += 1
            else:
                answers[grpc.StatusCode.OK] += 1
        return answers

    rows = b"id,name\n" + b"".join(b"%d,z\n" % index for index in range(1000))
    with ThreadPoolExecutor(1) as threads:
        deleting = threads.submit(delete_again_and_again)
        ids = [server.start(dataset, rows, "rows.csv").id for _ in range(12)]
        ended = [server.ended(each) for each in ids]
        is_over.set()
        answers = deleting.result()

    assert [each.state for each in ended] == [JOB_STATE_SUCCEEDED] * 12, ended
    assert answers[grpc.StatusCode.OK] > 0
    assert answers.keys() <= {grpc.StatusCode.OK, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNAVAILABLE}
    if server.exists(dataset):
        found = rows_of(server.place.table(dataset))
        counts = Counter(found["id"].to_pylist())
        assert len(counts) == 1000
        assert len(set(counts.values())) == 1
        assert server.stub.GetDataset(pb.GetDatasetRequest(name=dataset)).row_count == found.num_rows
    else:
        assert not [path for path in server.place.table_files() if f"/{dataset}/" in path]
        with pytest.raises(TableNotFoundError):
            server.place.table(dataset)
    # Its name is free.
    ingestion = server.ingest(dataset, GOOD, "good.csv", mode=ingestion_pb2.WRITE_MODE_OVERWRITE)
    assert ingestion.state == JOB_STATE_SUCCEEDED
    assert rows_of(server.place.table(dataset)).num_rows == 2


def test_an_ingestion_that_ended_long_ago_is_forgotten_and_its_rows_are_not(mesh: Mesh, folder_place: FolderPlace) -> None:
    ahead = [timedelta(0)]
    with served(mesh, folder_place, clock=lambda: datetime.now(UTC) + ahead[0], upload_sweep_interval_s=0.02) as server:
        ended = server.ingest("flights", GOOD, "good.csv")
        ahead[0] = timedelta(days=89)
        assert server.look(ended.id).state == JOB_STATE_SUCCEEDED
        ahead[0] = timedelta(days=91)
        eventually(lambda: not server.stub.ListIngestions(pb.ListIngestionsRequest()).ingestions, PATIENCE_S)
        with pytest.raises(grpc.RpcError, match="there is no ingestion"):
            server.look(ended.id)
        assert server.stub.GetDataset(pb.GetDatasetRequest(name="flights")).row_count == 2


def test_a_request_has_sixteen_mebibytes(server: ServedIngestion) -> None:
    dataset, limit = server.new_dataset(), 16 * 2**20
    row = b"x" * 1023 + b"\n"

    with pytest.raises(grpc.RpcError) as refused:
        server.start(dataset, row * 16_384, "large.csv")

    # gRPC itself says so, before the server sees the call.
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert str(limit) in str(refused.value.details())
    assert not server.exists(dataset)
    ingestion = server.ingest(dataset, b"text\n" + row * 16_383, "large.csv")
    assert (ingestion.state, ingestion.rows_added) == (JOB_STATE_SUCCEEDED, 16_383), ingestion.error


def test_who_needs_too_much_memory_fails_alone(mesh: Mesh, folder_place: FolderPlace) -> None:
    with served(mesh, folder_place, process_memory_bytes=640 << 20, concurrent_ingestions=2) as server:
        assert server.ingest("flights", GOOD, "good.csv").state == JOB_STATE_SUCCEEDED
        greedy = server.start("greedy", folder_place.put("greedy.arrow", greedy_file()))
        beside = [server.start("flights", GOOD, "good.csv") for _ in range(3)]

        failed = server.ended(greedy.id)
        assert failed.state == JOB_STATE_FAILED, failed
        assert reason_of(failed) in ("DATA_PROCESS_OUT_OF_MEMORY", "OUT_OF_MEMORY")
        assert "MLMESH_INGESTION_PROCESS_MEMORY_BYTES" in failed.error.message
        assert [server.ended(each.id).state for each in beside] == [JOB_STATE_SUCCEEDED] * 3
        assert not server.exists("greedy")
        assert not [path for path in folder_place.table_files() if "greedy" in path]
        assert server.ingest("flights", GOOD, "good.csv").state == JOB_STATE_SUCCEEDED
        assert rows_of(folder_place.table("flights")).num_rows == 10
        assert server.scratch_files() == []


def greedy_file() -> bytes:
    """A text that a dictionary says once: small as a file, and a gigabyte as a column."""
    words = pa.DictionaryArray.from_arrays(pa.array([0] * 1000, pa.int32()), pa.array(["x" * 2**20]))
    buffer = pa.BufferOutputStream()
    table = pa.table({"text": words})
    with pa.ipc.new_stream(buffer, table.schema) as writer:
        writer.write_table(table)
    return bytes(buffer.getvalue().to_pybytes())
