"""Messages of Kafka are in the dataset once, whatever dies in between: the server, its data process, or the broker."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import grpc
import numpy as np
import psutil
import pytest
from mlops.ingestion.v1 import subscription_service_pb2 as pb
from mlops.ingestion.v1.subscription_service_pb2_grpc import SubscriptionServiceStub

from demo.real_servers.kafka import TansuBroker, tansu
from demo.real_servers.s3 import S3Server
from servers.ingestion.tables import DatasetTable, Tables
from tests.integration.ingestion.server.served import Mesh, bearing, small_mesh
from tests.integration.runtime.waiting import eventually

MESSAGES = 200_000
PARTITIONS = 4
KILLS = 20
BROKER_KILLS = (7, 14)
PATIENCE_S = 240.0


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    """A users server."""
    with small_mesh() as running:
        yield running


@pytest.fixture
def broker(tmp_path: Path, s3: S3Server) -> Iterator[TansuBroker]:
    """A broker whose log outlives it."""
    with tansu(tmp_path / "tansu", s3) as running:
        yield running


def environment(mesh: Mesh, folder: Path, broker: TansuBroker) -> dict[str, str]:
    return os.environ | {
        "MLMESH_DATA_DIR": str(folder / "data"),
        "MLMESH_INGESTION_LISTEN": f"unix:{mesh.folder}/chaos.sock",
        "MLMESH_USERS_ADDRESS": f"unix:{mesh.folder}/users.sock",
        "MLMESH_SERVICE_KEY_FILE": str(mesh.key_file),
        "MLMESH_INGESTION_KAFKA_CLUSTERS": json.dumps({"main": broker.kafka.properties}),
        # Small, so that there are hundreds of commits to be killed in.
        "MLMESH_INGESTION_SUBSCRIPTION_BATCH_ROWS": "400",
        "MLMESH_INGESTION_SUBSCRIPTION_COMPACT_AFTER": "20",
        "MLMESH_INGESTION_SUBSCRIPTION_LEASE_S": "1",
        "MLMESH_INGESTION_SUBSCRIPTION_LONGEST_RETRY_S": "1",
        "MLMESH_INGESTION_KAFKA_PATIENCE_S": "1",
    }


@contextmanager
def running(variables: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """An ingestion server in a process, which is killed in the end."""
    with log.open("ab") as output:
        process = subprocess.Popen([sys.executable, "-m", "servers.ingestion"], env=variables, stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def subscribe(mesh: Mesh) -> None:
    subscription = pb.Subscription(name="s", dataset="d", cluster="main", topics=["t"], commit_interval={"nanos": 50_000_000})
    with grpc.insecure_channel(f"unix:{mesh.folder}/chaos.sock") as channel:
        grpc.channel_ready_future(channel).result(PATIENCE_S)
        stub = SubscriptionServiceStub(bearing(channel, mesh))

        def is_created() -> bool:
            with suppress(grpc.RpcError):
                stub.CreateSubscription(pb.CreateSubscriptionRequest(subscription=subscription))
                return True
            return False

        # The keys that verify tokens arrive a moment after the start.
        eventually(is_created, PATIENCE_S)


def numbered(first: int, end: int) -> list[bytes]:
    return [b'{"id":%d,"text":"message %d"}' % (number, number) for number in range(first, end)]


def version(table: DatasetTable) -> int:
    return table.snapshot().version if table.exists() else -1


def ids(table: DatasetTable) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.sort(np.concatenate([batch.column("id").to_numpy() for batch in table.batches()]))


def test_200_000_messages_are_as_many_rows(mesh: Mesh, tmp_path: Path, broker: TansuBroker) -> None:
    broker.kafka.create_topic("t", PARTITIONS)
    broker.kafka.send("t", numbered(0, MESSAGES // 2), partitions=PARTITIONS)
    variables, log = environment(mesh, tmp_path, broker), tmp_path / "server.log"
    table = Tables((tmp_path / "data" / "tables").as_uri()).table("default", "d")
    chance = random.Random(52)
    with running(variables, log):
        subscribe(mesh)
    for kill in range(KILLS):
        if kill == KILLS // 2:
            broker.kafka.send("t", numbered(MESSAGES // 2, MESSAGES), partitions=PARTITIONS)
        with running(variables, log) as server:
            if kill % 2:
                # In the middle of writing; else wherever it is: starting, joining the group, reading, writing, joining files.
                reached, more = version(table), chance.randint(1, 20)
                eventually(lambda reached=reached, more=more: server.poll() is not None or version(table) > reached + more, PATIENCE_S)
            with suppress(subprocess.TimeoutExpired):
                server.wait(chance.uniform(0, 0.5 if kill % 2 else 4))
            assert server.poll() is None, log.read_text()[-3000:]
            if kill in BROKER_KILLS:
                broker.kill()
            elif kill % 5 == 3:
                for child in psutil.Process(server.pid).children(recursive=True):
                    with suppress(psutil.NoSuchProcess):
                        child.kill()
        if kill in BROKER_KILLS:
            broker.start()
    # All of them were killed at work.
    assert version(table) > KILLS
    assert table.snapshot().row_count < MESSAGES
    with running(variables | {"MLMESH_INGESTION_SUBSCRIPTION_BATCH_ROWS": "50000"}, log):
        eventually(lambda: table.snapshot().row_count >= MESSAGES, PATIENCE_S)
    found = ids(table)
    assert len(found) == MESSAGES
    assert np.array_equal(found, np.arange(MESSAGES))
