"""The Python client: whoever uses it sees each batch written once, and does nothing for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import mlmesh
import polars as pl
import pyarrow as pa
import pytest
from mlmesh import SchemaContract, errors
from mlmesh.row_batches import Acknowledgement
from mlops.ingestion.v1 import ingestion_service_pb2 as service_pb

from tests.integration.client.cutting_proxy import CuttingProxy
from tests.integration.ingestion.server.places import FolderPlace, rows_of
from tests.integration.ingestion.server.served import PATIENCE_S, Mesh, ServedIngestion, served
from tests.integration.ingestion.streams.opened import streams_of
from tests.integration.runtime.waiting import eventually


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> FolderPlace:
    return FolderPlace(tmp_path_factory.mktemp("place"))


@pytest.fixture(scope="module")
def ingestion(mesh: Mesh, place: FolderPlace) -> Iterator[ServedIngestion]:
    with served(mesh, place, listen="127.0.0.1:0") as server:
        yield server


@pytest.fixture
def dataset(ingestion: ServedIngestion) -> str:
    return ingestion.new_dataset()


@pytest.fixture
def client(ingestion: ServedIngestion, mesh: Mesh) -> Iterator[mlmesh.Mesh]:
    with mlmesh.connect(url=f"http://{ingestion.server.address}", token=mesh.issuer.token()) as connected:
        yield connected


def ids(place: FolderPlace, dataset: str) -> list[Any]:
    return sorted(rows_of(place.table(dataset))["id"].to_pylist())


def test_rows_of_every_kind_are_written_and_acknowledged_in_order(client: mlmesh.Mesh, place: FolderPlace, dataset: str) -> None:
    acknowledged: list[Acknowledgement] = []
    moment = datetime(2026, 11, 27, 12, tzinfo=UTC)
    with client.streams.write_rows(dataset, producer="p", on_acknowledged=acknowledged.append) as stream:
        assert stream.position == 0
        assert stream.send([{"id": 2**60 + 1, "at": moment, "ratio": 1.0}]) == 1
        assert stream.send(row for row in [{"id": 2, "ratio": 3}]) == 2
        assert stream.send(b'{"id": 3}\n{"id": 4}\n') == 3
        written = stream.write(pa.table({"id": [5], "ratio": [0.5]}))
        assert (written.sequence, written.rows_written, written.rows_rejected) == (4, 1, 0)
        assert stream.position == 4
        stream.send(pa.record_batch({"id": [6]}))
        stream.send(pl.DataFrame({"id": [7]}))
    assert [one.sequence for one in acknowledged] == [1, 2, 3, 4, 5, 6]
    found = {row["id"]: row for row in rows_of(place.table(dataset)).to_pylist()}
    assert sorted(found) == [2, 3, 4, 5, 6, 7, 2**60 + 1]
    assert found[2**60 + 1] == {"id": 2**60 + 1, "at": moment, "ratio": 1.0}
    with client.streams.write_rows(dataset, producer="p") as again:
        assert again.position == 6


def test_what_cannot_be_sent_is_refused_and_the_stream_goes_on(client: mlmesh.Mesh, place: FolderPlace, dataset: str) -> None:
    bad: list[tuple[Any, str]] = [
        ([], "SOURCE_EMPTY"),
        (b"", "SOURCE_EMPTY"),
        ({"id": 1}, "ROWS_INVALID"),
        ("id", "ROWS_INVALID"),
        ([["id"]], "ROWS_INVALID"),
        ([{1: 1}], "ROWS_INVALID"),
        ([{"id": float("nan")}], "VALUE_NOT_JSON"),
        ([{"id": b"x"}], "VALUE_NOT_JSON"),
        ([{"id": "\ud800"}], "VALUE_NOT_JSON"),
        ([{"id": "x" * 5_000_000}], "BATCH_TOO_LARGE"),
        (({"id": number} for number in iter(int, 1)), "BATCH_TOO_LARGE"),
    ]
    with client.streams.write_rows(dataset, producer="p") as stream:
        for rows, reason in bad:
            with pytest.raises(errors.InvalidArgument) as caught:
                stream.send(rows)
            assert caught.value.reason == reason
        assert stream.send([{"id": 1}]) == 1
    assert ids(place, dataset) == [1]


def test_a_bad_batch_is_an_error_after_those_before_it_are_written(client: mlmesh.Mesh, place: FolderPlace, dataset: str) -> None:
    contract = SchemaContract(types="freeze")
    stream = client.streams.write_rows(dataset, producer="p", schema_contract=contract)

    def write() -> None:
        with stream:
            for value in (1, 2, "many", 4):
                stream.send([{"id": value}])

    with pytest.raises(errors.InvalidArgument, match=r"batch 3: .*'many'") as caught:
        write()
    assert (caught.value.reason, caught.value.metadata["sequence"]) == ("VALUE_DOES_NOT_FIT", "3")
    assert stream.position == 2
    assert ids(place, dataset) == [1, 2]
    with pytest.raises(errors.InvalidArgument):
        stream.send([{"id": 5}])


def test_a_connection_that_breaks_off_costs_nothing(ingestion: ServedIngestion, mesh: Mesh, place: FolderPlace, dataset: str) -> None:
    host, _, port = ingestion.server.address.rpartition(":")
    acknowledged: list[int] = []
    with (
        CuttingProxy((host, int(port)), hold_after_bytes=2**40) as proxy,
        mlmesh.connect(url=proxy.url, token=mesh.issuer.token()) as client,
    ):
        stream = client.streams.write_rows(
            dataset, producer="p", on_acknowledged=lambda one: acknowledged.append(one.sequence), timeout_s=PATIENCE_S
        )
        with stream:
            for number in range(1, 61):
                stream.send([{"id": number}])
                if number % 20 == 0:
                    proxy.cut()
    assert acknowledged == list(range(1, 61))
    assert ids(place, dataset) == list(range(1, 61))


def test_streams_that_expire_are_opened_again(mesh: Mesh, folder_place: FolderPlace) -> None:
    with (
        served(mesh, folder_place, listen="127.0.0.1:0", stream_lifetime_s=0.2) as server,
        mlmesh.connect(url=f"http://{server.server.address}", token=mesh.issuer.token()) as client,
        client.streams.write_rows("a", producer="p", max_in_flight=2) as stream,
    ):
        for number in range(40):
            stream.send([{"id": number}])
    assert ids(folder_place, "a") == list(range(40))


def test_who_was_taken_over_learns_it(client: mlmesh.Mesh, place: FolderPlace, dataset: str) -> None:
    def write() -> None:
        with client.streams.write_rows(dataset, producer="p") as older:
            older.write([{"id": 1}])
            with client.streams.write_rows(dataset, producer="p") as newer:
                assert newer.position == 1
                newer.write([{"id": 2}])
                newer.send([{"id": 3}])
            older.send([{"id": -2}])

    with pytest.raises(errors.FailedPrecondition) as caught:
        write()
    assert caught.value.reason == "STREAM_TAKEN_OVER"
    assert ids(place, dataset) == [1, 2, 3]


def test_who_goes_on_after_a_deletion_learns_that_batches_are_gone(
    client: mlmesh.Mesh, ingestion: ServedIngestion, place: FolderPlace, dataset: str
) -> None:
    def write() -> None:
        with client.streams.write_rows(dataset, producer="p") as stream:
            stream.write([{"id": 1}])
            ingestion.stub.DeleteDataset(service_pb.DeleteDatasetRequest(name=dataset))
            stream.write([{"id": 2}])

    with pytest.raises(errors.FailedPrecondition) as caught:
        write()
    assert caught.value.reason == "STREAM_POSITION_LOST"
    assert not ingestion.exists(dataset)


def test_patience_has_an_end(mesh: Mesh, folder_place: FolderPlace) -> None:
    with (
        served(mesh, folder_place, listen="127.0.0.1:0", concurrent_streams=1) as server,
        streams_of(server, mesh) as streams,
        mlmesh.connect(url=f"http://{server.server.address}", token=mesh.issuer.token()) as client,
    ):
        other = streams.open("a")
        other.position()
        with pytest.raises(errors.ResourceExhausted) as caught, client.streams.write_rows("a", producer="p", timeout_s=0.1):
            pass
        assert caught.value.reason == "TOO_MANY_STREAMS"
        # With more of it, the place that becomes free is taken.
        waiting = threading.Thread(target=lambda: eventually(lambda: other.done_sending() is None, PATIENCE_S))
        waiting.start()
        with client.streams.write_rows("a", producer="p", timeout_s=PATIENCE_S) as stream:
            stream.send([{"id": 1}])
        waiting.join()
    assert ids(folder_place, "a") == [1]


def test_tasks_share_a_stream(ingestion: ServedIngestion, mesh: Mesh, place: FolderPlace, dataset: str) -> None:
    async def write() -> list[int]:
        acknowledged: list[int] = []
        async with mlmesh.connect_async(url=f"http://{ingestion.server.address}", token=mesh.issuer.token()) as connected:
            stream = connected.streams.write_rows(
                dataset, producer="p", max_in_flight=4, on_acknowledged=lambda one: acknowledged.append(one.sequence)
            )
            async with stream:
                await asyncio.gather(*(stream.send([{"id": number}]) for number in range(20)))
                await stream.flush()
                # Whoever gives up waiting loses nothing.
                last = asyncio.create_task(stream.write([{"id": 20}]))
                await asyncio.sleep(0)
                last.cancel()
                await asyncio.gather(last, return_exceptions=True)
                await stream.send([{"id": 21}])
        return acknowledged

    acknowledged = asyncio.run(write())
    assert acknowledged == list(range(1, len(acknowledged) + 1))
    assert set(range(20)) | {21} <= set(ids(place, dataset)) <= set(range(22))
    assert len(ids(place, dataset)) == len(acknowledged)
