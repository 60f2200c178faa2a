"""Large files through the whole mesh, as curl, the client and the command send them."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.test_large_artifact import constant_memory
from tests.integration.runtime.waiting import eventually
from tests.whole_mesh import WholeMesh, run_mlmesh, whole_mesh

MIB = 2**20
ROW_BYTES = 64


@pytest.fixture(scope="module")
def mesh() -> Iterator[WholeMesh]:
    with whole_mesh({"MLMESH_INGESTION_UPLOAD_SWEEP_INTERVAL_S": "1"}) as running:
        yield running


@pytest.fixture
def dataset() -> str:
    return f"rows_{uuid.uuid4().hex[:8]}"


def csv_of(size_bytes: int) -> Iterator[bytes]:
    """A table of rows of one length; no two are alike."""
    yield b"id,text\n"
    rows = (b"%09d,%s\n" % (row, (b"%x" % (row * 2654435761)).rjust(ROW_BYTES - 11, b"x")) for row in range(size_bytes // ROW_BYTES))
    while block := b"".join(row for row, _ in zip(rows, range(10_000), strict=False)):
        yield block


def written(path: Path, size_bytes: int) -> int:
    """Writes a table, and returns how many rows it has."""
    with path.open("wb") as file:
        file.writelines(csv_of(size_bytes))
    return (path.stat().st_size - len(b"id,text\n")) // ROW_BYTES


def put(mesh: WholeMesh, upload_id: str, offset_bytes: int, data: bytes) -> httpx.Response:
    headers = {"content-type": "application/octet-stream"}
    return mesh.request("PUT", f"/api/v1/data/uploads/{upload_id}?offset_bytes={offset_bytes}", content=data, headers=headers)


def row_count(mesh: WholeMesh, dataset: str) -> int:
    return int(mesh.request("GET", f"/api/v1/datasets/{dataset}").json()["row_count"])


def test_a_file_in_pieces_over_rest(mesh: WholeMesh, dataset: str) -> None:
    data = b"".join(csv_of(20 * MIB))
    begun = mesh.request("POST", "/api/v1/data/uploads", json={"name": "rows.csv", "size_bytes": len(data)})
    assert begun.status_code == 200, begun.text
    upload_id = begun.json()["id"]
    half = len(data) // 2

    assert put(mesh, upload_id, 0, data[:half]).json()["offset_bytes"] == str(half)
    early = mesh.request("POST", "/api/v1/data/ingest", json={"dataset": dataset, "source": {"upload_id": upload_id}})
    assert (early.status_code, early.json()["code"]) == (400, 9), early.text
    assert f"{half:,} of {len(data):,} bytes" in early.json()["message"]
    wrong = put(mesh, upload_id, 0, data[half:])
    assert (wrong.status_code, wrong.json()["code"]) == (400, 9), wrong.text
    assert f"stands at byte {half}" in wrong.json()["message"]
    too_long = put(mesh, upload_id, half, data[half:] + b"x" * MIB)
    assert (too_long.status_code, too_long.json()["code"]) == (400, 3), too_long.text
    stands_at = int(mesh.request("GET", f"/api/v1/data/uploads/{upload_id}").json()["offset_bytes"])
    done = put(mesh, upload_id, stands_at, data[stands_at:]).json()
    assert (done["complete"], done["offset_bytes"]) == (True, str(len(data)))

    source = {"dataset": dataset, "source": {"upload_id": upload_id}, "wait": "30s"}
    ingestion = mesh.request("POST", "/api/v1/data/ingest", json=source, timeout=60).json()

    eventually(lambda: mesh.request("GET", f"/api/v1/data/ingestions/{ingestion['id']}").json()["state"] == "JOB_STATE_SUCCEEDED", 60)
    assert row_count(mesh, dataset) == data.count(b"\n") - 1
    gone = mesh.request("GET", f"/api/v1/data/uploads/{upload_id}")
    assert (gone.status_code, gone.json()["code"]) == (404, 5)
    eventually(lambda: not [*(mesh.data_dir / "blobs" / "data-uploads" / "uploads").iterdir()], 60)


def test_300_mb_through_the_client_need_no_memory(mesh: WholeMesh, dataset: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    rows = written(path, 300_000_000)
    pids = {"control": mesh.pid("control"), "envoy": mesh.pid("envoy"), "client": os.getpid()}
    processes = {name: pid for name, pid in pids.items() if pid is not None}
    assert processes.keys() == pids.keys()
    with mesh.client() as client:
        client.ingestion.ingest_data(dataset, b"id,text\n1,x\n", name="first.csv", mode="overwrite")
        with constant_memory("in", processes):
            ingestion = client.ingestion.ingest_data(dataset, path, mode="overwrite")
    assert (ingestion.state, ingestion.rows_added, ingestion.source) == ("succeeded", rows, "rows.csv")
    assert row_count(mesh, dataset) == rows


def test_a_server_that_is_killed_meanwhile_goes_on_where_it_stood(mesh: WholeMesh, dataset: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    rows = written(path, 100 * MIB)
    told_after_kill: list[int] | None = None

    def kill_once(_name: str, done: int, total: int) -> None:
        nonlocal told_after_kill
        pid = mesh.pid("control")
        if told_after_kill is not None:
            told_after_kill.append(done)
        elif done > total // 2 and pid is not None:
            os.kill(pid, signal.SIGKILL)
            told_after_kill = []

    with mesh.client() as client:
        ingestion = client.ingestion.ingest_data(dataset, path, progress=kill_once)

    assert told_after_kill
    # Not from the beginning; perhaps not even a piece again, where the server had stored all that was sent.
    assert min(told_after_kill) > 30 * MIB
    assert (ingestion.state, ingestion.rows_added) == ("succeeded", rows)


def test_a_repeat_with_the_same_id_goes_on_with_what_broke_off_and_ingests_once(mesh: WholeMesh, dataset: str, tmp_path: Path) -> None:
    path, request_id = tmp_path / "rows.csv", str(uuid.uuid4())
    rows = written(path, 40 * MIB)

    class GivenUp(Exception):
        pass

    def give_up(_name: str, done: int, total: int) -> None:
        if done > total // 2:
            raise GivenUp

    offsets: list[int] = []
    with mesh.client() as client:
        with pytest.raises(GivenUp):
            client.ingestion.ingest_data(dataset, path, request_id=request_id, progress=give_up)
        answers = [
            client.ingestion.ingest_data(dataset, path, request_id=request_id, progress=lambda _name, done, _total: offsets.append(done))
            for _ in range(2)
        ]
    assert offsets[0] > 10 * MIB
    assert answers[0].id == answers[1].id
    assert row_count(mesh, dataset) == rows


def test_an_upload_is_a_source_for_checks_and_ingestions(mesh: WholeMesh, dataset: str, tmp_path: Path) -> None:
    suite: dict[str, Any] = {"name": "s", "expectations": [{"type": "expect_column_to_exist", "kwargs": {"column": "id"}}]}
    data = b"".join(csv_of(16 * MIB))
    with mesh.client() as client:
        upload = client.uploads.upload_data(data, name="rows.csv")
        assert client.ingestion.validate_data(suite, source=upload).successful_count == 1
        assert client.ingestion.ingest_data(dataset, upload).rows_added == data.count(b"\n") - 1
        assert client.ingestion.validate_data(suite, source=data, name="rows.csv").row_count == data.count(b"\n") - 1


def test_the_command_takes_a_large_file(mesh: WholeMesh, dataset: str, tmp_path: Path) -> None:
    rows = written(tmp_path / "big.csv", 30 * MIB)
    done = run_mlmesh("data", "ingest", dataset, str(tmp_path / "big.csv"), "--data-dir", str(mesh.data_dir))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{rows} rows added" in done.stdout


def test_rows_keep_the_order_of_their_columns(mesh: WholeMesh, dataset: str) -> None:
    rows = [{"z": 1, "a": 2.0, "m": "x", "at": "2020-02-29"}, {"b": True, "z": 2**62, "a": 4}]
    with mesh.client() as client:
        client.ingestion.ingest_data(dataset, rows)
        found = client.ingestion.get_dataset(dataset)
    assert [(column.name, column.type) for column in found.columns] == [
        ("z", "int64"),
        ("a", "int64"),
        ("m", "string"),
        ("at", "date32[day]"),
        ("b", "bool"),
    ]
