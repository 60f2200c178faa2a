"""Features of one user and of a hundred, through the whole mesh and from Feast's gRPC server, out of the same Redis."""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import grpc
import mlmesh
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.features.feast_python import feast_python
from demo.flights.local_mesh import LocalMesh, running_mesh
from demo.real_servers.redis import RedisServer, redis_server
from servers.runtime.free_ports import free_port

_FEAST_SIDE = Path(__file__).with_name("feast_online.py")
_MESH, _FEAST = "mlmesh", "Feast"
_PUSHED_ROWS = 5_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what can be chosen."""
    parser.add_argument("--users", type=int, default=10_000, help="entities in the online store")
    parser.add_argument("--features", type=int, default=50, help="features of each, float64")
    parser.add_argument("--calls", type=int, default=400, help="calls of a turn, one after the other")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side; the median of their percentiles counts")


def run(given: argparse.Namespace) -> None:
    """Measures and prints."""
    python = feast_python()
    turns: defaultdict[tuple[str, int], list[np.ndarray]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        names = _write_rows(folder, given.users, given.features)
        (folder / "told.json").write_text(json.dumps({"users": given.users, "features": names, "warm_up": 50}))
        settings = {"MLMESH_FEATURES_MAX_PUSHED_ROWS": str(_PUSHED_ROWS)}
        with redis_server(folder / "redis") as redis, _feast(folder, redis, python) as address:
            settings["MLMESH_FEATURES_ONLINE_URL"] = redis.url.replace("/0", "/1")
            with running_mesh(folder / "mesh", settings) as mesh, mlmesh.connect(url=mesh.url, token=mesh.token) as client:
                _fill(client, folder, names)
                for number in range(given.rounds):
                    for rows in (1, 100):
                        for side in sorted((_MESH, _FEAST), reverse=number % 2 == 0):
                            turns[side, rows].append(_turn(side, folder, mesh, address, rows, given, names, python))
                    print(f"turn {number + 1} of {given.rounds}", file=sys.stderr)
    print(_report(turns, given))


def _turn(
    side: str, folder: Path, mesh: LocalMesh, address: str, rows: int, given: argparse.Namespace, names: list[str], python: Path
) -> np.ndarray:
    if side == _MESH:
        return _by_mesh(mesh, rows, given, names)
    command = (str(python), "-P", str(_FEAST_SIDE), "measure", str(folder), address, str(rows), str(given.calls))
    return np.array(json.loads(_output(command, folder).splitlines()[-1]))


def _by_mesh(mesh: LocalMesh, rows: int, given: argparse.Namespace, names: list[str]) -> np.ndarray:
    """Calls the gateway by the stubs of the contract, with a token, as Feast's side does its server by Feast's stubs."""
    from mlops.features.v1 import feature_serving_service_pb2 as pb
    from mlops.features.v1.feature_serving_service_pb2_grpc import FeatureServingServiceStub

    chance, taken = random.Random(rows), []
    credentials = (("authorization", f"Bearer {mesh.token}"),)
    with grpc.insecure_channel(mesh.url.removeprefix("http://")) as channel:
        stub = FeatureServingServiceStub(channel)
        for number in range(-50, given.calls):
            users = [chance.randrange(given.users) for _ in range(rows)]
            started = time.perf_counter()
            entities: Mapping[str, pb.Values] = {"user_id": pb.Values(int64_values=pb.Int64Values(values=users))}
            answer = stub.ServeFeatures(pb.ServeFeaturesRequest(feature_service="activity", entities=entities), metadata=credentials)
            if number >= 0:
                taken.append(time.perf_counter() - started)
    if [feature.name for feature in answer.features] != names or any(feature.statuses[0] != 1 for feature in answer.features):
        raise SystemExit("mlmesh did not answer with all features")
    return np.array(taken)


def _fill(client: mlmesh.Mesh, folder: Path, names: list[str]) -> None:
    client.features.create_entity("user", {"user_id": "int64"})
    client.features.create_view("activity", entities="user", push=True, event_time="event_time", features=dict.fromkeys(names, "float64"))
    client.features.create_service("activity", ["activity"])
    for batch in pq.ParquetFile(folder / "rows.parquet").iter_batches(_PUSHED_ROWS):
        client.features.push("activity", pa.table(batch), offline=False)


def _write_rows(folder: Path, users: int, features: int) -> list[str]:
    values = np.random.default_rng(3)
    names = [f"feature_{place}" for place in range(features)]
    now = np.full(users, np.datetime64(int(time.time()) - 60, "s").astype("datetime64[us]"))
    columns = {"user_id": np.arange(users), "event_time": pa.array(now, pa.timestamp("us", "UTC"))}
    pq.write_table(pa.table({**columns, **{name: values.random(users) for name in names}}), folder / "rows.parquet")
    return names


@contextmanager
def _feast(folder: Path, redis: RedisServer, python: Path) -> Iterator[str]:
    """Runs Feast's gRPC server on what it has written itself."""
    (folder / "feature_store.yaml").write_text(
        "project: bench\nprovider: local\nregistry: registry.db\nentity_key_serialization_version: 3\n"
        f'online_store:\n  type: redis\n  connection_string: "127.0.0.1:{redis.port}"\n'
    )
    _output((str(python), "-P", str(_FEAST_SIDE), "prepare", str(folder)), folder)
    address = f"127.0.0.1:{free_port()}"
    command = (str(python.with_name("feast")), "--chdir", str(folder), "listen", "--address", address)
    with (folder / "feast.log").open("ab") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "FEAST_USAGE": "False"})
    try:
        with grpc.insecure_channel(address) as channel:
            grpc.channel_ready_future(channel).result(timeout=120)
        yield address
    finally:
        server.kill()
        server.wait()


def _output(command: tuple[str, ...], folder: Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env={**os.environ, "FEAST_USAGE": "False"})
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout


def _report(turns: Mapping[tuple[str, int], list[np.ndarray]], given: argparse.Namespace) -> str:
    load = os.getloadavg()[0]
    lines = [
        f"{os.cpu_count()} cores, {platform.system()} {platform.release()}, load {load:.1f}; Python {platform.python_version()}.",
        f"{given.features} float64 features of {given.users:,} users in one Redis, over gRPC; mlmesh through the gateway, with a token.",
        f"{given.rounds} turns of {given.calls} calls of each side, alternating; medians of their percentiles.",
        "",
        "| rows | | p50, ms | p99, ms | p99 of Feast's |",
        "|---:|---|---:|---:|---:|",
    ]
    for rows in (1, 100):
        percentiles = {
            side: [float(np.median([np.percentile(turn, share) for turn in turns[side, rows]])) * 1000 for share in (50, 99)]
            for side in (_MESH, _FEAST)
        }
        for side, (middle, late) in percentiles.items():
            lines.append(f"| {rows} | {side} | {middle:.2f} | {late:.2f} | 1/{percentiles[_FEAST][1] / late:.1f} |")
    return "\n".join(lines)
