"""Features hold whatever dies: jobs end as they should, and pushes that were answered are there, once."""

from __future__ import annotations

import base64
import io
import random
import threading
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from tests.chaos.conftest import PATIENCE
from tests.chaos.victims import kill as kill_process
from tests.chaos.victims import kill_server, orphans_of, workers_of
from tests.integration.runtime.waiting import eventually
from tests.whole_mesh import WholeMesh, whole_mesh

PUSHERS = 3
KILLS = 4
ENTITIES = 40
ROWS_A_PUSH = 8
BASE_ROWS, BASE_ENTITIES = 60_000, 25_000
SPINE_ROWS = 5_000
PATIENCE_S = 120.0
FEATURES = "/api/v1/features"
START = datetime(2026, 1, 1, tzinfo=UTC)
TIME = pa.timestamp("us", "UTC")
FULL, INCREMENTAL = "MATERIALIZE_MODE_FULL", "MATERIALIZE_MODE_INCREMENTAL"


@pytest.fixture(scope="module")
def mesh() -> Iterator[WholeMesh]:
    # What a killed server was at is taken over soon.
    with whole_mesh({**PATIENCE, "MLMESH_FEATURES_LEASE_S": "3", "MLMESH_PROCESSING_LEASE_S": "3"}) as running:
        yield running


@dataclass
class Clock:
    """Event times, each of which is given once."""

    chance: random.Random
    lock: threading.Lock = field(default_factory=threading.Lock)
    given: set[int] = field(default_factory=set)

    def take(self) -> int:
        """A second that nobody else has."""
        with self.lock:
            while (second := self.chance.randrange(10_000_000)) in self.given:
                pass
            self.given.add(second)
            return second


def test_jobs_end_and_answered_pushes_are_there_once_whatever_dies(mesh: WholeMesh) -> None:
    base, spine = base_rows(random.Random(1)), spine_rows(random.Random(2))
    with http(mesh) as client:
        for name, table in (("base", base), ("spine", spine)):
            ingest(client, name, table)
        define(client)
    chance, clock = random.Random(11), Clock(random.Random(3))
    stopped, failures = threading.Event(), list[str]()
    pushed: dict[str, list[dict[str, Any]]] = {}
    jobs: dict[str, str] = {}
    ended: list[str] = []

    def until_answered(client: httpx.Client, path: str, body: dict[str, Any]) -> Any:
        """Repeats a call with its request id until it is answered."""
        answers: list[Any] = []

        def attempt() -> bool:
            try:
                answer = client.post(FEATURES + path, json=body)
            except httpx.HTTPError:
                return False
            if answer.status_code == 200:
                answers.append(answer.json())
            # Unavailable, too many, or the one before is not known to have ended: the same request again.
            elif answer.status_code not in {409, 429, 503}:
                failures.append(f"{path}: {answer.text}")
            return bool(answers or failures)

        eventually(attempt, PATIENCE_S)
        return answers[0] if answers else None

    def until_ended(client: httpx.Client, path: str) -> None:
        eventually(lambda: failures or has_ended(client, path), PATIENCE_S)

    def kill_moment() -> None:
        """Comes after a job or two and some pushes."""
        jobs_wanted, pushes_wanted = len(ended) + chance.randint(1, 2), chance.randint(0, 20)
        eventually(lambda: failures or len(ended) >= jobs_wanted, PATIENCE_S)
        pushes_wanted += len(pushed)
        eventually(lambda: failures or len(pushed) >= pushes_wanted, PATIENCE_S)

    def push() -> None:
        with http(mesh) as client:
            while not (stopped.is_set() or failures):
                request_id = str(uuid.uuid4())
                rows = [pushed_row(clock.take(), request_id, number) for number in range(ROWS_A_PUSH)]
                answer = until_answered(client, "/live:push", {"rows": {"rows": rows}, "request_id": request_id})
                if answer:
                    pushed[request_id] = rows
                # Some are still on their way into the dataset when something dies, and not more than that.
                if answer and len(pushed) % 4 == 0:
                    until_ended(client, f"/api/v1/data/ingestions/{answer['ingestion_id']}")

    def materialize() -> None:
        turns = [("live", FULL), ("base", FULL), ("live", INCREMENTAL), ("base", INCREMENTAL)]
        with http(mesh) as client:
            while not (stopped.is_set() or failures):
                view, mode = turns[len(jobs) % len(turns)]
                begun = until_answered(client, f"/{view}:materialize", {"mode": mode, "request_id": str(uuid.uuid4())})
                if begun:
                    jobs[begun["id"]] = view
                    until_ended(client, f"{FEATURES}/materializations/{begun['id']}")
                    ended.append(begun["id"])

    def train() -> None:
        with http(mesh) as client:
            while not (stopped.is_set() or failures):
                request_id = str(uuid.uuid4())
                spec = {
                    "spine": {"dataset": "spine", "label_time_column": "at"},
                    "selections": [{"view": "base"}],
                    "dataset": f"training_{request_id}",
                }
                begun = until_answered(client, "/historical", {"spec": spec, "request_id": request_id})
                if begun:
                    until_ended(client, f"{FEATURES}/historical/{begun['id']}")
                    ended.append(begun["id"])

    threads = [threading.Thread(target=work) for work in (*[push] * PUSHERS, materialize, train)]
    for thread in threads:
        thread.start()
    with http(mesh) as client:
        for kill in range(KILLS):
            kill_moment()
            if kill == 1:
                # One that brings rows into the online store.
                kill_process(chance.choice(eventually(lambda: workers_of(mesh, "features.data_process"), PATIENCE_S)))
            else:
                kill_server(mesh, PATIENCE_S)
                eventually(lambda: client.get(FEATURES).status_code == 200, PATIENCE_S)
        # All that ended so far may have been training sets.
        eventually(lambda: failures or len(jobs) >= 2, PATIENCE_S)
        stopped.set()
        for thread in threads:
            thread.join()
        assert failures == []
        eventually(lambda: not open_ones(client, "/api/v1/data/ingestions", "ingestions"), PATIENCE_S)

        assert newest_served(client, "live", range(ENTITIES)) == newest_pushed(pushed.values())
        base_newest = newest_of(base)
        some = chance.sample(range(BASE_ENTITIES), 2_000)
        assert newest_served(client, "base", some) == {entity: base_newest[entity] for entity in some if entity in base_newest}
        done = listed(client, "/materializations", "materializations")
        assert {each["state"] for each in done} == {"JOB_STATE_SUCCEEDED"}, [each for each in done if "error" in each]
        assert {each["id"] for each in done} == jobs.keys()
        trained = listed(client, "/historical", "training_sets")
        for each in trained:
            assert each["state"] == "JOB_STATE_SUCCEEDED", each
            dataset = client.get(f"/api/v1/datasets/{each['spec']['dataset']}").json()
            assert (dataset["version"], dataset["row_count"]) == (each["dataset_version"], str(SPINE_ROWS)) == ("1", str(SPINE_ROWS))
        assert training_rows(mesh, trained[0]["spec"]["dataset"]) == point_in_time(base, spine)
        live = client.get(f"{FEATURES}/live").raise_for_status().json()["dataset"]
    offline = Counter(rows_of(mesh, live)["request"].to_pylist())
    assert offline == {request_id: len(rows) for request_id, rows in pushed.items()}
    assert pushed
    assert {(each["view"], each["mode"]) for each in done} >= {("live", FULL), ("base", FULL)}, "both kinds of views were made anew"
    assert not orphans_of(mesh, "features.data_process")


def test_of_pushes_at_the_same_time_the_newest_stays_in_whatever_order_they_come(mesh: WholeMesh) -> None:
    rows = [pushed_row(second, "race", 0) | {"id": 1_000_000 + second % 5} for second in range(500)]
    counts: list[int] = []
    with http(mesh) as client:
        define(client)

    def push(order: Sequence[dict[str, Any]]) -> None:
        with http(mesh) as client:
            for start in range(0, len(order), 20):
                body = {"rows": {"rows": order[start : start + 20]}, "target": "PUSH_TARGET_ONLINE"}
                answer = client.post(f"{FEATURES}/live:push", json=body).raise_for_status().json()
                counts.extend((int(answer["written_rows"]), int(answer["kept_newer_rows"])))

    # Each row is pushed by everybody, by some of them last what is newest and by others first.
    orders = [rows, rows[::-1], *(random.Random(seed).sample(rows, len(rows)) for seed in range(2))]
    clients = [threading.Thread(target=push, args=(order,)) for order in orders]
    for each in clients:
        each.start()
    for each in clients:
        each.join()

    with http(mesh) as client:
        assert newest_served(client, "live", range(1_000_000, 1_000_005)) == {1_000_000 + number: 495 + number for number in range(5)}
    assert sum(counts) == len(orders) * len(rows)


def define(client: httpx.Client) -> None:
    """Makes the entity and both views, unless they are there."""
    live = [{"name": "value", "type": "int64"}, {"name": "request", "type": "string"}]
    for path, body in (
        ("/entities", {"name": "thing", "join_keys": [{"name": "id", "type": "int64"}]}),
        ("", {"name": "live", "spec": {"entities": ["thing"], "push": {}, "event_time_column": "time", "features": live}}),
        (
            "",
            {
                "name": "base",
                "spec": {
                    "entities": ["thing"],
                    "dataset": {"dataset": "base"},
                    "event_time_column": "time",
                    "features": [{"name": "value"}],
                },
            },
        ),
    ):
        answer = client.post(FEATURES + path, json=body)
        assert answer.status_code in {200, 409} or body["name"] == "base", answer.text


def pushed_row(second: int, request_id: str, number: int) -> dict[str, Any]:
    moment = (START + timedelta(seconds=second)).isoformat()
    return {"id": (second + number) % ENTITIES, "time": moment, "value": second, "request": request_id}


def base_rows(chance: random.Random) -> pa.Table:
    seconds = chance.sample(range(10_000_000), BASE_ROWS)
    times = pa.array([START + timedelta(seconds=second) for second in seconds], TIME)
    return pa.table({"id": [chance.randrange(BASE_ENTITIES) for _ in seconds], "time": times, "value": seconds})


def spine_rows(chance: random.Random) -> pa.Table:
    times = pa.array([START + timedelta(seconds=chance.randrange(10_000_000)) for _ in range(SPINE_ROWS)], TIME)
    return pa.table({"id": [chance.randrange(BASE_ENTITIES) for _ in range(SPINE_ROWS)], "at": times, "label": list(range(SPINE_ROWS))})


def newest_of(table: pa.Table) -> dict[int, int]:
    """The newest value of each entity, which says itself how new it is."""
    found = table.group_by("id").aggregate([("value", "max")])
    return dict(zip(found["id"].to_pylist(), found["value_max"].to_pylist(), strict=True))


def newest_pushed(pushes: Any) -> dict[int, int]:
    found: dict[int, int] = {}
    for rows in pushes:
        for row in rows:
            found[row["id"]] = max(found.get(row["id"], 0), row["value"])
    return found


def point_in_time(base: pa.Table, spine: pa.Table) -> dict[int, int | None]:
    """The value of each label that was known at its time."""
    history: dict[int, list[int]] = {}
    for entity, value in zip(base["id"].to_pylist(), base["value"].to_pylist(), strict=True):
        history.setdefault(entity, []).append(value)
    seconds = pc.divide(pc.subtract(spine["at"].cast(pa.int64()), int(START.timestamp() * 1_000_000)), 1_000_000).to_pylist()
    rows = zip(spine["label"].to_pylist(), spine["id"].to_pylist(), seconds, strict=True)
    return {label: max((value for value in history.get(entity, []) if value <= second), default=None) for label, entity, second in rows}


def rows_of(mesh: WholeMesh, dataset: str) -> pa.Table:
    """The rows of a dataset, found without the servers."""
    return DeltaTable(mesh.data_dir / "tables" / "default" / dataset).to_pyarrow_table()


def training_rows(mesh: WholeMesh, dataset: str) -> dict[int, int | None]:
    found = rows_of(mesh, dataset)
    return dict(zip(found["label"].to_pylist(), found["value"].to_pylist(), strict=True))


def newest_served(client: httpx.Client, view: str, entities: Sequence[int]) -> dict[int, int]:
    """What the online store has."""
    found: dict[int, int] = {}
    for start in range(0, len(entities), 1000):
        asked = entities[start : start + 1000]
        body = {"selections": [{"view": view, "features": ["value"]}], "entities": {"id": {"int64_values": {"values": list(asked)}}}}
        (value,) = client.post(f"{FEATURES}/serve", json=body).raise_for_status().json()["features"]
        values = zip(asked, value["values"]["int64_values"]["values"], value["statuses"], strict=True)
        found |= {entity: int(each) for entity, each, status in values if status == "VALUE_STATUS_PRESENT"}
    return found


def ingest(client: httpx.Client, dataset: str, table: pa.Table) -> None:
    file = io.BytesIO()
    pq.write_table(table, file)
    source = {"file": {"data": base64.b64encode(file.getvalue()).decode(), "name": "rows.parquet"}}
    answer = client.post("/api/v1/data/ingest", json={"dataset": dataset, "source": source, "wait": "30s"}).raise_for_status()
    assert answer.json()["state"] == "JOB_STATE_SUCCEEDED", answer.text


def has_ended(client: httpx.Client, path: str) -> bool:
    """Whether a job is known to have ended; not while the server is away."""
    try:
        answer = client.get(path)
    except httpx.HTTPError:
        return False
    return answer.status_code == 200 and answer.json()["state"] in {"JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED"}


def listed(client: httpx.Client, path: str, field_name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get(FEATURES + path, params={"page_size": "1000"}).raise_for_status().json()[field_name]
    return found


def open_ones(client: httpx.Client, path: str, field_name: str) -> list[Any]:
    condition = 'NOT (state = "SUCCEEDED" OR state = "FAILED" OR state = "CANCELLED")'
    found: list[Any] = client.get(path, params={"filter": condition, "page_size": "1000"}).raise_for_status().json()[field_name]
    return found


def http(mesh: WholeMesh) -> httpx.Client:
    return httpx.Client(base_url=mesh.url, headers={"Authorization": f"Bearer {mesh.token}"}, timeout=30)
