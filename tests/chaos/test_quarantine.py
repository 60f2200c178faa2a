"""Rows that are left out are in quarantine once, and leave it once, whatever dies in between."""

from __future__ import annotations

import base64
import multiprocessing
import os
import random
import signal
import threading
import uuid
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from servers.ingestion.data_process.quarantine.folder import QuarantineFolder
from servers.ingestion.tables import Tables, writing
from tests.integration.ingestion.quarantine.bench import Bench
from tests.integration.ingestion.streams.opened import ndjson
from tests.integration.runtime.waiting import eventually
from tests.whole_mesh import WholeMesh

SPAWN = multiprocessing.get_context("spawn")
KILLED = 137
BAD = "id,delay\n3,x\n4,7\n5,y\n"


def bench_in(folder: Path) -> Bench:
    return Bench.of(Tables((folder / "tables").as_uri(), spool_folder=folder, shortest_retention=timedelta(0)), folder)


class Points:
    """Dies at one of the points at which work changes what is stored."""

    def __init__(self, stop_at: int) -> None:
        self._stop_at = stop_at
        self.reached = 0

    def reach(self) -> None:
        self.reached += 1
        if self.reached == self._stop_at:
            os._exit(KILLED)

    def around(self, owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def wrapped(*arguments: Any, **options: Any) -> Any:
            self.reach()
            result = original(*arguments, **options)
            self.reach()
            return result

        setattr(owner, name, wrapped)

    def install(self) -> None:
        for owner, name in ((QuarantineFolder, "writing"), (QuarantineFolder, "remove"), (writing, "write_deltalake"), (writing, "_merge")):
            self.around(owner, name)


def ingest_bad(bench: Bench) -> None:
    bench.ingest(BAD, ingestion_id="bad")


def append_bad(bench: Bench) -> None:
    """The same rows in a stream, in two batches that are one commit."""
    bench.append({1: ndjson({"id": 3, "delay": "x"}, {"id": 4, "delay": 7}), 2: ndjson({"id": 6, "delay": 8}, {"id": 5, "delay": "y"})})


def replay_one(bench: Bench) -> None:
    """One row is repaired, the other one is left out again."""
    bench.replay(ingestion_id="replay", repairs={row["id"]: {"delay": {3: 1, 5: "late"}[row["data"]["id"]]} for row in bench.rows()})


def upsert_all(bench: Bench) -> None:
    bench.replay(ingestion_id="replay", mode="UPSERT", keys=["id"], repairs={row["id"]: {"delay": 1} for row in bench.rows()})


def discard_all(bench: Bench) -> None:
    bench.discard()


def run_to_point(folder: Path, work: Callable[[Bench], None], stop_at: int) -> None:
    points = Points(stop_at)
    points.install()
    work(bench_in(folder))


@pytest.mark.parametrize("work", [ingest_bad, append_bad, replay_one, upsert_all, discard_all])
def test_a_kill_at_any_point_loses_and_doubles_no_row(tmp_path: Path, work: Callable[[Bench], None]) -> None:
    expected = {
        "ingest_bad": ([1, 2, 4], [3, 5]),
        "append_bad": ([1, 2, 4, 6], [3, 5]),
        "replay_one": ([1, 2, 3, 4], [5]),
        "upsert_all": ([1, 2, 3, 4, 5], []),
    }
    written, waiting = expected.get(work.__name__, ([1, 2, 4], []))
    stop_at, status = 0, KILLED
    while status == KILLED:
        stop_at += 1
        folder = tmp_path / str(stop_at)
        folder.mkdir()
        bench = bench_in(folder)
        bench.ingest("id,delay\n1,5\n2,6\n")
        if work not in (ingest_bad, append_bad):
            ingest_bad(bench)
        process = SPAWN.Process(target=run_to_point, args=(folder, work, stop_at))
        process.start()
        process.join()
        status = process.exitcode or 0
        assert status in (0, KILLED)

        # Before it is tried again: every row is in one of the two places.
        seen = [*bench.dataset_rows()["id"].to_pylist(), *(row["data"]["id"] for row in bench.rows())]
        if work is not discard_all and (work not in (ingest_bad, append_bad) or len(seen) > 2):
            assert sorted(seen) == sorted(written + waiting), stop_at
        work(bench)
        assert sorted(bench.dataset_rows()["id"].to_pylist()) == written, stop_at
        assert [row["data"]["id"] for row in bench.rows()] == waiting, stop_at
        bench.do("vacuum", retention_s=0)
        assert [row["data"]["id"] for row in bench.rows()] == waiting, stop_at
    assert stop_at > 3


DATASET = "quarantined"
ROWS, BAD_ROWS = 300, 30
CALLERS, KILLS = 2, 4
MOST_OPEN = 4
PATIENCE_S = 180.0
CONTRACT = {"types": "CONTRACT_MODE_DISCARD_ROW", "columns": "CONTRACT_MODE_DISCARD_ROW"}


class Caller:
    """Somebody who repeats a request until it is answered.

    Args:
        mesh: Whom he calls.
    """

    def __init__(self, mesh: WholeMesh) -> None:
        self._mesh = mesh
        self._client = httpx.Client(base_url=mesh.url, headers={"Authorization": f"Bearer {mesh.token}"}, timeout=30)

    def get(self, path: str, **parameters: str) -> dict[str, Any]:
        return self._repeated(lambda: self._client.get(path, params=parameters))

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return self._repeated(lambda: self._client.post(path, json={**body, "request_id": request_id}), request_id := str(uuid.uuid4()))

    def ended(self, ingestion_id: str) -> dict[str, Any]:
        found: list[dict[str, Any]] = []

        def is_over() -> bool:
            found.append(self.get(f"/api/v1/data/ingestions/{ingestion_id}"))
            return found[-1]["state"] in {"JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED"}

        eventually(is_over, PATIENCE_S)
        return found[-1]

    def _repeated(self, call: Callable[[], httpx.Response], _request_id: str = "") -> dict[str, Any]:
        answers: list[dict[str, Any]] = []

        def is_answered() -> bool:
            try:
                answer = call()
            except httpx.HTTPError:
                return False
            # Unavailable, or the one before is not known to have ended, or the process that looked was killed: the same request again.
            if answer.status_code not in {409, 429, 503}:
                assert answer.status_code == 200, answer.text
                answers.append(answer.json())
            return bool(answers)

        eventually(is_answered, PATIENCE_S)
        return answers[0]


def kill_again_and_again(mesh: WholeMesh, stopped: threading.Event) -> None:
    """Kills the server, or one of the processes that work on data, by turns, each time that there is one."""
    chance = random.Random(7)
    for kill in range(KILLS):
        victims: list[int] = []

        def is_found(kill: int = kill, victims: list[int] = victims) -> bool:
            before = mesh.pid("control")
            if before is None:
                return False
            try:
                children = psutil.Process(before).children(recursive=True)
                workers = [child.pid for child in children if "data_process" in " ".join(child.cmdline())]
            except psutil.Error:
                return False
            victims[:] = [before] if kill % 2 else workers
            return bool(victims) and not stopped.wait(chance.random())

        eventually(is_found, PATIENCE_S)
        try:
            os.kill(chance.choice(victims), signal.SIGKILL)
        except ProcessLookupError:
            continue
        if kill % 2:
            eventually(lambda victims=victims: mesh.pid("control") not in (None, victims[0]), PATIENCE_S)


def test_servers_and_workers_that_are_killed_lose_and_double_no_row(mesh: WholeMesh) -> None:
    caller = Caller(mesh)
    created = caller.post("/api/v1/data/ingest", {"dataset": DATASET, "source": file_of("id,delay\nfirst,0\n")})
    assert caller.ended(created["id"])["state"] == "JOB_STATE_SUCCEEDED"
    ingestions: list[str] = []
    stopped = threading.Event()

    def ingest() -> None:
        own, mine = Caller(mesh), list[str]()
        while not stopped.is_set():
            prefix = uuid.uuid4().hex
            rows = "".join(f"{prefix}-{n},{'x' if n < BAD_ROWS else n}\n" for n in range(ROWS))
            body = {"dataset": DATASET, "source": file_of(f"id,delay\n{rows}"), "schema_contract": CONTRACT}
            mine.append(own.post("/api/v1/data/ingest", body)["id"])
            # The rows of every one have to be replayed below, which takes much longer than to take them in.
            if len(mine) > MOST_OPEN:
                own.ended(mine[-MOST_OPEN])
        ingestions.extend(mine)

    callers = [threading.Thread(target=ingest) for _ in range(CALLERS)]
    for each in callers:
        each.start()
    kill_again_and_again(mesh, threading.Event())
    stopped.set()
    for each in callers:
        each.join()
    ended = [caller.ended(each) for each in ingestions]
    # A data process that is killed may have run out of memory: its ingestion fails, and nothing of it is written, or all of it.
    of_ingestion = Counter(row["ingestion_id"] for row in waiting_rows(caller))
    assert set(of_ingestion.values()) <= {BAD_ROWS}
    assert of_ingestion.keys() >= {each["id"] for each in ended if each["state"] == "JOB_STATE_SUCCEEDED"}
    assert row_count(caller) == 1 + len(of_ingestion) * (ROWS - BAD_ROWS)
    for each in ended:
        if each["state"] == "JOB_STATE_SUCCEEDED":
            assert int(each["rows_quarantined"]) == BAD_ROWS

    killer = threading.Thread(target=kill_again_and_again, args=(mesh, threading.Event()))
    killer.start()
    while (rows := waiting_rows(caller)) or killer.is_alive():
        repairs = [{"id": row["id"], "values": {"delay": number}} for number, row in enumerate(rows[:20])]
        body = {"filter": 'reason = "none"'} if not repairs else {"repairs": repairs}
        caller.ended(caller.post(f"/api/v1/datasets/{DATASET}/quarantine:replay", body)["id"])
    killer.join()
    assert row_count(caller) == 1 + len(of_ingestion) * ROWS


def file_of(text: str) -> dict[str, Any]:
    return {"file": {"data": base64.b64encode(text.encode()).decode(), "name": "rows.csv"}}


def row_count(caller: Caller) -> int:
    # Read anew: a server that died after the commit has not written down what the dataset has.
    version = caller.get(f"/api/v1/datasets/{DATASET}/versions", page_size="1")["versions"][0]["version"]
    return int(caller.get(f"/api/v1/datasets/{DATASET}", version=version)["row_count"])


def waiting_rows(caller: Caller) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    token = ""
    while True:
        page = caller.get(f"/api/v1/datasets/{DATASET}/quarantine", page_size="1000", page_token=token)
        rows += page["rows"]
        token = page["next_page_token"]
        if not token:
            return rows
