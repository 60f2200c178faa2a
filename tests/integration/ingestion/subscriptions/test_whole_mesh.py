"""Subscriptions over REST, the client and the command line, through Envoy and every server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import mlmesh
import pytest
from mlmesh.subscriptions import Payload

from tests.integration.runtime.waiting import eventually
from tests.real_servers.kafka import StrictBroker, strict_broker
from tests.whole_mesh import WholeMesh, run_mlmesh, whole_mesh

PATIENCE_S = 90.0
SECRET = "hush-4711"


@pytest.fixture(scope="module")
def broker() -> Iterator[StrictBroker]:
    with strict_broker() as running:
        yield running


@pytest.fixture(scope="module")
def mesh(broker: StrictBroker) -> Iterator[WholeMesh]:
    clusters = {"main": {**broker.kafka.properties, "sasl.username": "mlmesh", "sasl.password": SECRET}}
    with whole_mesh({"MLMESH_INGESTION_KAFKA_CLUSTERS": json.dumps(clusters)}) as running:
        yield running
        assert SECRET not in running.logs("control")


def command(mesh: WholeMesh, *arguments: str) -> str:
    done = run_mlmesh("data", "subscriptions", *arguments, "--data-dir", str(mesh.data_dir))
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_rest(mesh: WholeMesh, broker: StrictBroker) -> None:
    broker.create_topic("orders", 2)
    broker.kafka.send("orders", [b'{"id": 1}', b'{"id": 2}', b"{"], partitions=2)
    path = "/api/v1/data/subscriptions"
    wanted = {"name": "orders", "dataset": "orders", "cluster": "main", "topics": ["orders"], "commit_interval": "0.05s"}
    request = {"subscription": wanted, "request_id": "0d8cbbd6-6f2f-4d7b-a2a3-4c6f8d9e0f11"}
    created = mesh.request("POST", path, json=request)
    assert created.status_code == 200, created.text
    assert created.json()["state"] == "SUBSCRIPTION_STATE_ACTIVE"
    assert mesh.request("POST", path, json=request).json()["create_time"] == created.json()["create_time"]

    def is_read() -> bool:
        found = mesh.request("GET", f"{path}/orders").json()
        # Who stood still for a moment has no partitions until it gets them again.
        positions = [(one["partition"], one["next_offset"], one["end_offset"]) for one in found["partitions"]]
        counts = (found["rows_written"], found["rows_rejected"], found["lag"])
        return (positions, counts) == ([(0, "2", "2"), (1, "1", "1")], ("2", "1", "0"))

    eventually(is_read, PATIENCE_S)
    listed = mesh.request("GET", path, params={"filter": 'dataset = "orders"'}).json()
    assert [one["name"] for one in listed["subscriptions"]] == ["orders"]
    eventually(lambda: mesh.request("GET", "/api/v1/datasets/orders").status_code == 200, PATIENCE_S)
    refused = mesh.request("DELETE", "/api/v1/datasets/orders")
    assert (refused.status_code, refused.json()["details"][0]["reason"]) == (400, "DATASET_SUBSCRIBED")
    assert mesh.request("POST", f"{path}/orders:pause", json={}).json()["state"] == "SUBSCRIPTION_STATE_PAUSED"
    assert mesh.request("POST", f"{path}/orders:resume", json={}).json()["state"] == "SUBSCRIPTION_STATE_ACTIVE"
    assert mesh.request("DELETE", f"{path}/orders").status_code == 200
    assert mesh.request("GET", f"{path}/orders").status_code == 404
    assert mesh.request("POST", path, json={"subscription": wanted | {"cluster": "evil.example:9092"}}).status_code == 404


def test_client(mesh: WholeMesh, broker: StrictBroker) -> None:
    broker.create_topic("events")
    broker.kafka.send("events", [b'{"id": 1, "zip": 1234}'])
    with mesh.client() as client:
        created = client.subscriptions.create_subscription(
            "events",
            dataset="events",
            cluster="main",
            topics=["events"],
            payload=Payload(column_types={"zip": "string"}, has_origin=True),
            schema_contract=mlmesh.SchemaContract(types="discard_row"),
            commit_interval_s=0.05,
        )
        assert (created.state, created.commit_interval_s, created.payload.has_origin) == ("active", 0.05, True)
        eventually(lambda: client.subscriptions.get_subscription("events").rows_written == 1, PATIENCE_S)
        assert [one.name for one in client.subscriptions.list_subscriptions(filter='name = "events"')] == ["events"]
        assert client.subscriptions.pause_subscription("events").state == "paused"
        assert client.subscriptions.resume_subscription("events").is_active
        with pytest.raises(mlmesh.errors.AlreadyExists):
            client.subscriptions.create_subscription("events", dataset="events", cluster="main", topics=["events"])
        client.subscriptions.delete_subscription("events")
        with pytest.raises(mlmesh.errors.NotFound):
            client.subscriptions.get_subscription("events")

    async def names() -> list[str]:
        async with mlmesh.connect_async(url=mesh.url, token=mesh.token) as client:
            return [one.name async for one in client.subscriptions.list_subscriptions(filter='name = "events"')]

    assert asyncio.run(names()) == []


def test_command_line(mesh: WholeMesh, broker: StrictBroker) -> None:
    broker.create_topic("clicks")
    broker.kafka.send("clicks", [b'{"id": 1}', b"nothing"])
    created = command(
        mesh, "create", "clicks", "--topic", "clicks", "--dataset", "clicks", "--cluster", "main", "--commit-interval", "0.05"
    )
    assert "clicks" in created

    def found() -> Any:
        return json.loads(command(mesh, "show", "clicks", "--json"))

    eventually(lambda: found()["rows_rejected"] == 1, PATIENCE_S)
    shown = command(mesh, "show", "clicks")
    assert "MESSAGE_UNREADABLE" in shown
    assert "clicks/0@1" in shown
    assert "clicks" in command(mesh, "list")
    assert "paused" in command(mesh, "pause", "clicks")
    assert "active" in command(mesh, "resume", "clicks")
    command(mesh, "delete", "clicks")
    assert json.loads(command(mesh, "list", "--json")) == []
