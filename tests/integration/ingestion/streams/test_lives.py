"""Streams that meet limits, stops, kills, deletions and each other."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import grpc
import psutil
import pytest
from deltalake.exceptions import TableNotFoundError
from google.rpc import code_pb2, error_details_pb2
from mlops.ingestion.v1 import ingestion_service_pb2 as service_pb
from mlops.ingestion.v1.schema_service_pb2 import ChangeSchemaRequest
from mlops.ingestion.v1.schema_service_pb2_grpc import DatasetSchemaServiceStub

from demo.real_servers.postgresql import PostgresqlServer
from demo.real_servers.s3 import S3Server
from servers.ingestion.settings import IngestionSettings
from servers.ingestion.store import open_store
from servers.ingestion.streams.errors import StreamInterrupted
from servers.ingestion.streams.right_to_write import RightsToWrite
from servers.runtime.work import TaskState, TaskTable
from tests.integration.ingestion.server.places import FolderPlace, S3Place, rows_of
from tests.integration.ingestion.server.served import PATIENCE_S, Mesh, ServedIngestion, bearing, served
from tests.integration.ingestion.streams.opened import OpenStream, Streams, batch, ndjson, reason_of, stream_threads, streams_of
from tests.integration.runtime.rich_errors import refused
from tests.integration.runtime.waiting import eventually


def data_processes() -> list[psutil.Process]:
    """Processes of this one that work with data."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # it has ended meanwhile
            found += [child] if "servers.ingestion.data_process" in child.cmdline() else []
    return found


def ids(place: FolderPlace | S3Place, dataset: str) -> list[int]:
    """The column `id`, in order."""
    try:
        found: list[int] = rows_of(place.table(dataset))["id"].to_pylist()
    except TableNotFoundError:
        return []
    return sorted(found)


@contextmanager
def held() -> Iterator[None]:
    """All data processes stand still as long as the block runs, those too that start meanwhile."""
    over = threading.Event()
    found: set[psutil.Process] = set()

    def hold() -> None:
        while True:
            for process in data_processes():
                with suppress(psutil.Error):
                    process.suspend()
                    found.add(process)
            is_holding.set()
            if over.wait(0.01):
                return

    is_holding = threading.Event()
    holder = threading.Thread(target=hold)
    holder.start()
    is_holding.wait(PATIENCE_S)
    try:
        yield
    finally:
        over.set()
        holder.join()
        for process in found:
            with suppress(psutil.Error):
                process.resume()


def until_end(stream: OpenStream) -> tuple[list[int], str]:
    """What is still acknowledged, and the reason why the stream ends."""
    acknowledged = []
    for answer in stream.call:
        if answer.HasField("end"):
            return acknowledged, reason_of(answer.end.status)
        acknowledged.append(answer.acknowledgement.sequence)
    raise AssertionError("the stream has no end")


class TestLimits:
    def test_streams_leave_threads_to_other_calls(self, mesh: Mesh, folder_place: FolderPlace) -> None:
        with served(mesh, folder_place, worker_threads=4) as server, streams_of(server, mesh) as streams:
            opened = [streams.open("a", f"producer-{number}") for number in range(2)]
            assert [stream.position() for stream in opened] == [0, 0]
            one_too_many = streams.open("a", "more")
            refusal = refused(lambda: next(one_too_many.call))
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_STREAMS")
            assert refusal.the(error_details_pb2.RetryInfo).retry_delay.seconds == 1
            assert len(server.stub.ListDatasets(service_pb.ListDatasetsRequest()).datasets) == 0
            # A place is free as soon as a stream has ended.
            opened[0].done_sending()
            assert opened[0].end().code == code_pb2.OK
            assert streams.open("a", "more").position() == 0

    def test_who_says_nothing_does_not_stay(self, mesh: Mesh, folder_place: FolderPlace) -> None:
        with served(mesh, folder_place, stream_idle_s=1.5) as server, streams_of(server, mesh) as streams:
            # The server's time counts, too: the stream that writes is not to begin with a process that has to start.
            server.ingest("b", b"id\n1\n", "b.csv")
            silent = streams.raw()
            refusal = refused(lambda: next(silent.call))
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.ABORTED, "STREAM_EXPIRED")
            stream = streams.open("a")
            assert stream.position() == 0
            stream.send(batch(1, ndjson({"id": 1})))
            assert stream.acknowledgement().sequence == 1
            ended = stream.end()
            assert (ended.code, reason_of(ended)) == (code_pb2.ABORTED, "STREAM_EXPIRED")
            assert "silent" in ended.message

    def test_a_stream_is_opened_again_now_and_then(self, mesh: Mesh, folder_place: FolderPlace) -> None:
        with served(mesh, folder_place, stream_lifetime_s=0.2) as server, streams_of(server, mesh) as streams:
            position = 0
            for _ in range(2):
                stream = streams.open("a")
                assert stream.position() == position
                stream.send(*(batch(sequence, ndjson({"id": sequence})) for sequence in range(position + 1, position + 50)))
                acknowledged, reason = until_end(stream)
                assert reason == "STREAM_EXPIRED"
                assert acknowledged == list(range(position + 1, position + 1 + len(acknowledged)))
                position += len(acknowledged)
                assert ids(folder_place, "a") == list(range(1, position + 1))

    def test_a_sender_who_is_too_fast_is_slowed_down(self, mesh: Mesh, folder_place: FolderPlace) -> None:
        rows = ndjson(*({"id": number, "text": "x" * 1000} for number in range(1000)))
        with served(mesh, folder_place, stream_waiting_bytes=3_000_000) as server, streams_of(server, mesh) as streams:
            stream = streams.open("a")
            stream.position()
            stream.send(batch(1, rows))
            stream.acknowledgement()
            with held():
                stream.send(*(batch(sequence, rows) for sequence in range(2, 62)))
                # One is being written, as many wait as may, and one is at the door.
                eventually(lambda: len(server.scratch_files()) >= 3, PATIENCE_S)
                assert stream.unsent_count() > 0
                assert len(server.scratch_files()) <= 4
            assert [each.sequence for each in stream.acknowledgements(60)] == list(range(2, 62))
            stream.done_sending()
            assert stream.end().code == code_pb2.OK
        assert rows_of(folder_place.table("a")).num_rows == 61 * 1000

    def test_a_batch_with_too_many_rows_is_refused(self, mesh: Mesh, folder_place: FolderPlace) -> None:
        with served(mesh, folder_place, stream_batch_rows=10) as server, streams_of(server, mesh) as streams:
            stream = streams.open("a")
            stream.position()
            stream.send(batch(1, ndjson(*({"id": number} for number in range(11)))))
            assert reason_of(stream.end()) == "BATCH_TOO_LARGE"
            assert folder_place.table_files() == {}


class TestCommits:
    def test_what_arrives_during_a_commit_is_the_next_one_together(self, mesh: Mesh, folder_place: FolderPlace) -> None:
        with served(mesh, folder_place) as server, streams_of(server, mesh) as streams:
            stream = streams.open("a")
            stream.position()
            stream.send(batch(1, ndjson({"id": 1})))
            stream.acknowledgement()
            with held():
                stream.send(*(batch(sequence, ndjson({"id": sequence}, {"id": sequence})) for sequence in range(2, 12)))
                eventually(lambda: len(server.scratch_files()) == 10, PATIENCE_S)
            acknowledged = stream.acknowledgements(10)
            assert [each.sequence for each in acknowledged] == list(range(2, 12))
            assert [each.rows_written for each in acknowledged] == [2] * 10
            assert len({each.version for each in acknowledged}) <= 2
            table = folder_place.table("a")
            assert table.version() == acknowledged[-1].version
            assert table.transaction_version("stream:sensor-1") == 11

    def test_small_files_are_joined_now_and_then(self, mesh: Mesh, folder_place: FolderPlace) -> None:
        with served(mesh, folder_place, stream_small_files=5) as server, streams_of(server, mesh) as streams:
            stream = streams.open("a")
            stream.position()
            for sequence in range(1, 13):
                stream.send(batch(sequence, ndjson({"id": sequence})))
                assert stream.acknowledgement().sequence == sequence
            stream.done_sending()
            assert stream.end().code == code_pb2.OK
            table = folder_place.table("a")
            assert len(table.file_uris()) < 5
            assert server.stub.GetDataset(service_pb.GetDatasetRequest(name="a")).version == table.version()
            assert streams.open("a").position() == 12
        assert ids(folder_place, "a") == list(range(1, 13))

    def test_of_what_arrives_together_only_the_bad_batch_is_not_written(self, mesh: Mesh, folder_place: FolderPlace) -> None:
        with served(mesh, folder_place) as server, streams_of(server, mesh) as streams:
            stream = streams.open("a")
            stream.position()
            stream.send(batch(1, ndjson({"id": 1})))
            stream.acknowledgement()
            with held():
                # The dataset cannot have the column of the fourth one: only its writing finds that, and not its reading.
                rows = {2: {"id": 2}, 3: {"id": 3}, 4: {"id": 4, "ID": 4}, 5: {"id": 5}}
                stream.send(*(batch(sequence, ndjson(row)) for sequence, row in rows.items()))
                eventually(lambda: len(server.scratch_files()) == 4, PATIENCE_S)
            assert [each.sequence for each in stream.acknowledgements(2)] == [2, 3]
            ended = stream.end()
            assert (ended.code, reason_of(ended)) == (code_pb2.INVALID_ARGUMENT, "COLUMN_INVALID")
            assert ended.message.startswith("batch 4: ")
        assert ids(folder_place, "a") == [1, 2, 3]

    def test_a_data_process_that_is_killed_costs_no_batch(self, mesh: Mesh, folder_place: FolderPlace) -> None:
        with served(mesh, folder_place) as server, streams_of(server, mesh) as streams:
            stream = streams.open("a")
            stream.position()
            for sequence in range(1, 5):
                with held():
                    stream.send(batch(sequence, ndjson({"id": sequence})))
                    eventually(lambda: server.scratch_files(), PATIENCE_S)
                    for process in data_processes():
                        with suppress(psutil.Error):  # it has ended meanwhile
                            process.kill()
                assert stream.acknowledgement().sequence == sequence
            stream.done_sending()
            assert stream.end().code == code_pb2.OK
        assert ids(folder_place, "a") == list(range(1, 5))

    def test_a_batch_that_ends_every_process_is_named(self, mesh: Mesh, folder_place: FolderPlace) -> None:
        with served(mesh, folder_place) as server, streams_of(server, mesh) as streams:
            stream = streams.open("a")
            stream.position()
            stream.send(batch(1, ndjson({"id": 1})))
            stream.acknowledgement()
            over = threading.Event()

            def kill_all() -> None:
                while not over.wait(0.005):
                    with suppress(psutil.Error):
                        for process in data_processes():
                            process.kill()

            killer = threading.Thread(target=kill_all)
            killer.start()
            # One that has started already might be quicker than its end.
            eventually(lambda: data_processes() == [], PATIENCE_S)
            stream.send(batch(2, ndjson({"id": 2})))
            ended = stream.end()
            over.set()
            killer.join()
            assert (ended.code, reason_of(ended)) == (code_pb2.RESOURCE_EXHAUSTED, "DATA_PROCESS_OUT_OF_MEMORY")
            assert ended.message.startswith("batch 2: ")
            (again,) = streams.write("a", [ndjson({"id": 2})])
            # The last process may have been killed after its commit: then this was a third batch.
            assert again.sequence in (2, 3)
        assert ids(folder_place, "a") == [1, *[2] * (again.sequence - 1)]


class TestEnds:
    def test_a_server_that_stops_acknowledges_what_it_has_taken_in(self, mesh: Mesh, folder_place: FolderPlace) -> None:
        with served(mesh, folder_place, grace_s=PATIENCE_S) as server, streams_of(server, mesh) as streams:
            stream = streams.open("a")
            stream.position()
            stream.send(batch(1, ndjson({"id": 1})))
            stream.acknowledgement()
            with held():
                stream.send(*(batch(sequence, ndjson({"id": sequence})) for sequence in range(2, 8)))
                eventually(lambda: len(server.scratch_files()) == 6, PATIENCE_S)
                stopping = threading.Thread(target=server.server.stop)
                stopping.start()
                eventually(lambda: not server.server.is_ready, PATIENCE_S)
            acknowledged, reason = until_end(stream)
            assert (acknowledged, reason) == (list(range(2, 8)), "STREAM_INTERRUPTED")
            stopping.join()
        assert ids(folder_place, "a") == list(range(1, 8))

    def test_nothing_stays_of_a_caller_who_leaves(self, mesh: Mesh, folder_place: FolderPlace) -> None:
        with served(mesh, folder_place, concurrent_streams=1) as server, streams_of(server, mesh) as streams:
            for _ in range(3):
                stream = streams.open("a")
                stream.send(batch(stream.position() + 1, ndjson({"id": 1})))
                stream.acknowledgement()
                stream.call.cancel()
                eventually(lambda: stream_threads() == [] and server.scratch_files() == [], PATIENCE_S)

                def is_free() -> bool:
                    other = streams.open("b")
                    try:
                        other.position()
                    except grpc.RpcError:
                        return False
                    other.done_sending()
                    return other.end().code == code_pb2.OK

                eventually(is_free, PATIENCE_S)
            eventually(lambda: stream_threads() == [], PATIENCE_S)

    def test_a_caller_who_leaves_during_a_commit_ends_it(self, mesh: Mesh, folder_place: FolderPlace) -> None:
        with served(mesh, folder_place) as server, streams_of(server, mesh) as streams:
            stream = streams.open("a")
            stream.position()
            stream.send(batch(1, ndjson({"id": 1})))
            stream.acknowledgement()
            with held():
                stream.send(batch(2, ndjson({"id": 2})))
                eventually(lambda: server.scratch_files(), PATIENCE_S)
                stream.call.cancel()
                eventually(lambda: stream_threads() == [] and server.scratch_files() == [], PATIENCE_S)
            streams.write("a", [ndjson({"id": 2})])
        assert ids(folder_place, "a") == [1, 2]

    def test_who_cannot_prolong_the_right_to_write_loses_it(self, tmp_path: Path) -> None:
        engine = open_store(IngestionSettings(data_dir=tmp_path))
        tasks = TaskTable(engine)
        rights = RightsToWrite(engine, tasks)
        with rights.taken("default", "a", "p", lambda: None) as right:
            right.check()
            # Nobody prolongs it, since `start` was not called.
            eventually(lambda: right.is_wanted_back, PATIENCE_S)
            with pytest.raises(StreamInterrupted):
                right.check_lease()
        engine.dispose()

    def test_the_right_of_a_stream_is_its_own_also_after_a_claim_that_failed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        engine = open_store(IngestionSettings(data_dir=tmp_path))
        tasks = TaskTable(engine)
        rights, claim = RightsToWrite(engine, tasks), tasks.claim

        def away(*_arguments: object, **_named: object) -> None:
            raise ConnectionResetError

        monkeypatch.setattr(tasks, "claim", away)
        with pytest.raises(ConnectionResetError), rights.taken("default", "a", "p", lambda: None):
            pass
        monkeypatch.setattr(tasks, "claim", claim)

        with rights.taken("default", "b", "q", lambda: None):
            running = [task.payload for task in tasks.find() if task.state is TaskState.RUNNING]
        engine.dispose()

        assert running == [{"project": "default", "dataset": "b", "producer": "q"}]


class TestColumns:
    def test_a_stream_that_was_opened_before_a_column_was_renamed_does_not_bring_it_back(self, server: ServedIngestion, mesh: Mesh) -> None:
        dataset = server.new_dataset()
        with streams_of(server, mesh) as streams, grpc.insecure_channel(server.server.address) as channel:
            streams.write(dataset, [ndjson({"id": 1, "delay": 5})], "other")
            stream = streams.open(dataset)
            assert stream.position() == 0
            schemas = DatasetSchemaServiceStub(bearing(channel, mesh))
            schemas.ChangeSchema(ChangeSchemaRequest(dataset=dataset, renamed_columns={"delay": "late_by"}, wait={"seconds": 30}))
            # What has nothing to do with it goes on.
            stream.send(batch(1, ndjson({"id": 2})))
            assert stream.acknowledgement().rows_written == 1
            stream.send(batch(2, ndjson({"id": 3, "delay": 6})))
            ended = stream.end()
            assert reason_of(ended) == "COLUMNS_CHANGED"
            assert "'delay' was renamed to 'late_by'" in ended.message
            # Who opens it again knows what he does.
            streams.write(dataset, [ndjson({"id": 3, "late_by": 6}), ndjson({"id": 4, "delay": 7})])
        found = rows_of(server.place.table(dataset)).sort_by("id").to_pylist()
        assert [(row["id"], row["late_by"], row["delay"]) for row in found] == [(1, 5, None), (2, None, None), (3, 6, None), (4, None, 7)]


class TestDeletions:
    def test_a_deletion_ends_streams_and_they_begin_anew(self, mesh: Mesh, folder_place: FolderPlace) -> None:
        with served(mesh, folder_place) as server, streams_of(server, mesh) as streams:
            stream = streams.open("a")
            stream.position()
            stream.send(batch(1, ndjson({"id": 1})), batch(2, ndjson({"id": 2})))
            stream.acknowledgements(2)
            server.stub.DeleteDataset(service_pb.DeleteDatasetRequest(name="a"))
            ended = stream.end()
            assert (ended.code, reason_of(ended)) == (code_pb2.UNAVAILABLE, "DATASET_BUSY")
            assert folder_place.table_files() == {}
            assert not server.exists("a")
            assert [each.sequence for each in streams.write("a", [ndjson({"id": "of another type"})])] == [1]
            assert rows_of(folder_place.table("a")).to_pylist() == [{"id": "of another type"}]

    def test_a_dataset_that_is_deleted_under_load_is_never_half_there(self, mesh: Mesh, folder_place: FolderPlace) -> None:
        over = threading.Event()
        broken: list[str] = []

        def send(streams: Streams, producer: str) -> None:
            while not over.is_set():
                stream = streams.open("a", producer)
                try:
                    sequence = stream.position()
                    while not over.is_set():
                        sequence += 1
                        stream.send(batch(sequence, ndjson({"id": sequence, "producer": producer})))
                        if reason := _reason_unless_acknowledged(stream):
                            if reason != "DATASET_BUSY":
                                broken.append(reason)
                            break
                except grpc.RpcError as error:
                    if error.code() is not grpc.StatusCode.UNAVAILABLE:
                        broken.append(str(error))
                finally:
                    stream.done_sending()

        with served(mesh, folder_place) as server, streams_of(server, mesh) as streams:
            senders = [threading.Thread(target=send, args=(streams, producer)) for producer in ("p", "q")]
            for sender in senders:
                sender.start()
            for _ in range(4):
                eventually(lambda: server.exists("a") or broken, PATIENCE_S)
                eventually(lambda: _version(folder_place, "a") > 3 or broken, PATIENCE_S)
                server.stub.DeleteDataset(service_pb.DeleteDatasetRequest(name="a"))
            eventually(lambda: _version(folder_place, "a") > 3 or broken, PATIENCE_S)
            over.set()
            for sender in senders:
                sender.join()
            assert broken == []
            eventually(lambda: stream_threads() == [], PATIENCE_S)
            table = folder_place.table("a")
            # The whole log is there, and of each producer what it wrote since.
            assert (folder_place.tables / "default" / "a" / "_delta_log" / f"{0:020}.json").exists()
            for producer in ("p", "q"):
                last = table.transaction_version(f"stream:{producer}") or 0
                written = [row["id"] for row in rows_of(table).to_pylist() if row["producer"] == producer]
                assert sorted(written) == list(range(1, last + 1))


class TestRivals:
    def test_of_two_streams_of_a_producer_the_newer_one_goes_on(self, mesh: Mesh, folder_place: FolderPlace) -> None:
        with served(mesh, folder_place) as server, streams_of(server, mesh) as streams:
            older = streams.open("a")
            older.position()
            older.send(batch(1, ndjson({"id": 1})))
            older.acknowledgement()
            newer = streams.open("a")
            # What the newer one learns is what the older one wrote, and nothing comes after it.
            assert newer.position() == 1
            older.send(batch(2, ndjson({"id": -2})))
            ended = older.end()
            assert (ended.code, reason_of(ended)) == (code_pb2.FAILED_PRECONDITION, "STREAM_TAKEN_OVER")
            newer.send(batch(2, ndjson({"id": 2})))
            assert newer.acknowledgement().was_written_before is False
            # Others are not concerned.
            assert streams.open("a", "other").position() == 0
            assert streams.open("b").position() == 0
        assert ids(folder_place, "a") == [1, 2]

    def test_many_programs_that_call_themselves_the_same_lose_and_double_nothing(
        self, mesh: Mesh, s3_access: S3Server, postgresql: PostgresqlServer
    ) -> None:
        place, database_url = S3Place(s3_access), postgresql.new_database()
        written: list[int] = []

        def send(streams: Streams, number: int) -> None:
            """Writes numbers of its own, until each is acknowledged."""
            left = [number * 1000 + each for each in range(8)]
            while left:
                stream = streams.open("a")
                try:
                    last = stream.position()
                except grpc.RpcError:
                    continue  # another one came first
                while left:
                    last += 1
                    stream.send(batch(last, ndjson({"id": left[0]})))
                    if _reason_unless_acknowledged(stream):
                        # Whether it was written is not known: the dataset says.
                        if left[0] in ids(place, "a"):
                            written.append(left.pop(0))
                        break
                    written.append(left.pop(0))
                stream.done_sending()

        with (
            served(mesh, place, database_url=database_url) as one,
            served(mesh, place, database_url=database_url) as two,
            streams_of(one, mesh) as to_one,
            streams_of(two, mesh) as to_two,
            ThreadPoolExecutor(3) as threads,
        ):
            for done in [threads.submit(send, streams, number) for number, streams in enumerate((to_one, to_two, to_one), start=1)]:
                done.result(PATIENCE_S)
            assert sorted(written) == ids(place, "a") == sorted(number * 1000 + each for number in (1, 2, 3) for each in range(8))


def _version(place: FolderPlace, dataset: str) -> int:
    try:
        return int(place.table(dataset).version())
    except (TableNotFoundError, OSError):
        return -1


def _reason_unless_acknowledged(stream: OpenStream) -> str:
    answer = next(stream.call)
    if not answer.HasField("end"):
        return ""
    return reason_of(answer.end.status) or "ended"
