"""Subscriptions by their contract: an ingestion server, and a Kafka beside it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from mlops.ingestion.v1 import ingestion_service_pb2
from mlops.ingestion.v1 import subscription_service_pb2 as pb
from mlops.ingestion.v1.subscription_service_pb2_grpc import SubscriptionServiceStub

from tests.integration.ingestion.server.places import FolderPlace
from tests.integration.ingestion.server.served import Mesh, ServedIngestion, bearing, served, small_mesh
from tests.integration.runtime.lost_answers import lose_answers_of
from tests.integration.runtime.waiting import eventually
from tests.real_servers.kafka import StrictBroker

PATIENCE_S = 90.0
SECRET = "hush-4711"


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    """A users server."""
    with small_mesh() as running:
        yield running


class Served:
    """A running server, and what calls it."""

    def __init__(self, ingestion: ServedIngestion, stub: Any) -> None:
        self.ingestion = ingestion
        self.stub = stub

    def create(self, name: str, dataset: str, **more: Any) -> pb.Subscription:
        given = {"name": name, "dataset": dataset, "cluster": "main", "topics": ["t"], "commit_interval": {"nanos": 50_000_000}}
        answer: pb.Subscription = self.stub.CreateSubscription(pb.CreateSubscriptionRequest(subscription=pb.Subscription(**(given | more))))
        return answer

    def get(self, name: str) -> pb.Subscription:
        answer: pb.Subscription = self.stub.GetSubscription(pb.GetSubscriptionRequest(name=name))
        return answer

    def pause(self, name: str) -> pb.Subscription:
        answer: pb.Subscription = self.stub.PauseSubscription(pb.PauseSubscriptionRequest(name=name))
        return answer

    def resume(self, name: str) -> pb.Subscription:
        answer: pb.Subscription = self.stub.ResumeSubscription(pb.ResumeSubscriptionRequest(name=name))
        return answer

    def delete(self, name: str) -> None:
        self.stub.DeleteSubscription(pb.DeleteSubscriptionRequest(name=name))

    def until(self, name: str, condition: Callable[[pb.Subscription], Any]) -> pb.Subscription:
        def met() -> pb.Subscription | None:
            found = self.get(name)
            return found if condition(found) else None

        found: pb.Subscription = eventually(met, PATIENCE_S)
        return found

    def rows(self, dataset: str) -> list[int]:
        request = ingestion_service_pb2.PreviewDatasetRequest(name=dataset, limit=1000)
        return sorted(row["id"] for row in json.loads(self.ingestion.stub.PreviewDataset(request).data)["rows"])


@contextmanager
def serving(mesh: Mesh, folder: Path, broker: StrictBroker, place: FolderPlace | None = None, **settings: Any) -> Iterator[Served]:
    place = place or FolderPlace(folder / "place")
    properties = {**broker.kafka.properties, "topic.metadata.refresh.interval.ms": 500, "sasl.password": SECRET, "client.id": "test"}
    usual = {"kafka_clusters": {"main": properties}, "kafka_patience_s": 0.5, "subscription_longest_retry_s": 1.0}
    with (
        served(mesh, place, data_dir=folder / "data", **(usual | settings)) as ingestion,
        grpc.insecure_channel(ingestion.server.address) as channel,
    ):
        yield Served(ingestion, SubscriptionServiceStub(bearing(channel, mesh)))


@pytest.fixture
def server(mesh: Mesh, tmp_path: Path, broker: StrictBroker) -> Iterator[Served]:
    with serving(mesh, tmp_path, broker) as running:
        yield running


def test_a_subscription_is_made_once(mesh: Mesh, tmp_path: Path, broker: StrictBroker) -> None:
    database_url = f"sqlite:///{tmp_path}/mesh.db"
    with serving(mesh, tmp_path, broker, database_url=database_url) as server:
        wanted = pb.Subscription(name="s", dataset="d", cluster="main", topics=["t"])
        request = pb.CreateSubscriptionRequest(subscription=wanted, request_id=str(uuid.uuid4()))
        first = server.stub.CreateSubscription(request)
        lose_answers_of(database_url, "ingestion")
        assert [server.stub.CreateSubscription(request).create_time for _ in range(2)] == [first.create_time] * 2
        request.request_id = str(uuid.uuid4())
        assert refused(lambda: server.stub.CreateSubscription(request)) == ("ALREADY_EXISTS", "SUBSCRIPTION_EXISTS")


def numbered(first: int, end: int) -> list[bytes]:
    return [json.dumps({"id": number}).encode() for number in range(first, end)]


def positions(subscription: pb.Subscription) -> list[tuple[int, int, int]]:
    return [(one.partition, one.next_offset, one.end_offset) for one in subscription.partitions]


def reason_of(subscription: pb.Subscription) -> str:
    info = error_details_pb2.ErrorInfo()
    for detail in subscription.error.details:
        detail.Unpack(info)
    return info.reason


def refused(call: Callable[[], Any]) -> tuple[str, str]:
    """The code and reason with which a call is refused."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    info = error_details_pb2.ErrorInfo()
    for detail in rpc_status.from_call(caught.value).details:
        detail.Unpack(info)
    assert SECRET not in str(caught.value)
    return caught.value.code().name, info.reason


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_a_life(mesh: Mesh, tmp_path: Path, broker: StrictBroker, database: str, request: pytest.FixtureRequest) -> None:
    url = "" if database == "sqlite" else request.getfixturevalue("postgresql").new_database()
    broker.create_topic("t", 2)
    broker.kafka.send("t", [*numbered(0, 10), b"{"], partitions=2)
    with serving(mesh, tmp_path, broker, database_url=url) as server:
        created = server.create("life", "d")
        assert (created.state, created.group, created.project) == (pb.SUBSCRIPTION_STATE_ACTIVE, "mlmesh.default.life", "default")
        assert (created.mode, created.unreadable_messages, created.start) == (1, 3, pb.START_POSITION_EARLIEST)
        # Who stood still for a moment has no partitions until it gets them again.
        found = server.until("life", lambda one: positions(one) == [(0, 6, 6), (1, 5, 5)] and one.rows_written == 10 and one.version)
        assert (found.rows_rejected, found.lag) == (1, 0)
        assert [(row.row, row.column, row.reason) for row in found.rejected] == [(5, "t/0@5", "MESSAGE_UNREADABLE")]
        eventually(lambda: server.ingestion.exists("d"), PATIENCE_S)

        assert refused(lambda: server.create("life", "d")) == ("ALREADY_EXISTS", "SUBSCRIPTION_EXISTS")
        assert refused(lambda: server.create("other", "e", group="mlmesh.default.life")) == ("ALREADY_EXISTS", "CONSUMER_GROUP_TAKEN")
        delete = ingestion_service_pb2.DeleteDatasetRequest(name="d")
        assert refused(lambda: server.ingestion.stub.DeleteDataset(delete)) == ("FAILED_PRECONDITION", "DATASET_SUBSCRIBED")

        assert server.pause("life").state == pb.SUBSCRIPTION_STATE_PAUSED
        assert server.pause("life").state == pb.SUBSCRIPTION_STATE_PAUSED
        broker.kafka.send("t", numbered(10, 20), partitions=2)
        assert server.resume("life").state == pb.SUBSCRIPTION_STATE_ACTIVE
        assert server.resume("life").state == pb.SUBSCRIPTION_STATE_ACTIVE
        found = server.until("life", lambda one: one.rows_written == 20)
        # What was rejected before is counted once.
        assert found.rows_rejected == 1
        assert server.rows("d") == list(range(20))

        listed = server.stub.ListSubscriptions(pb.ListSubscriptionsRequest(filter='state = "ACTIVE" AND dataset = "d"')).subscriptions
        assert [one.name for one in listed] == ["life"]
        assert refused(lambda: server.stub.ListSubscriptions(pb.ListSubscriptionsRequest(filter="lag > 1")))[1] == "FILTER_INVALID"

        server.delete("life")
        assert refused(lambda: server.get("life")) == ("NOT_FOUND", "SUBSCRIPTION_NOT_FOUND")
        broker.kafka.send("t", numbered(20, 30), partitions=2)
        server.create("life", "d")
        server.until("life", lambda one: one.rows_written == 10)
        assert server.rows("d") == list(range(30))
        server.pause("life")
        server.ingestion.stub.DeleteDataset(delete)
        assert not server.ingestion.exists("d")


def test_a_server_that_stops_leaves_the_rest_to_the_next_one(mesh: Mesh, tmp_path: Path, broker: StrictBroker) -> None:
    broker.create_topic("t", 2)
    broker.kafka.send("t", numbered(0, 10), partitions=2)
    place = FolderPlace(tmp_path / "place")
    with serving(mesh, tmp_path, broker, place) as server:
        server.create("s", "d")
        server.until("s", lambda one: one.rows_written == 10)
    broker.kafka.send("t", numbered(10, 20), partitions=2)
    with serving(mesh, tmp_path, broker, place) as server:
        found = server.until("s", lambda one: one.rows_written == 20)
        assert not found.HasField("error")
        assert server.rows("d") == list(range(20))


def test_a_kafka_that_does_not_answer_is_tried_again(mesh: Mesh, tmp_path: Path, broker: StrictBroker) -> None:
    broker.create_topic("t")
    broker.kafka.send("t", numbered(0, 10))
    broker.set_down()
    with serving(mesh, tmp_path, broker) as server:
        server.create("s", "d")
        found = server.until("s", lambda one: reason_of(one) == "KAFKA_UNAVAILABLE")
        assert found.state == pb.SUBSCRIPTION_STATE_ACTIVE
        assert SECRET not in str(found)
        broker.set_up()
        found = server.until("s", lambda one: one.rows_written == 10)
        assert not found.HasField("error")


def test_what_fails_stays_as_it_is_until_somebody_resumes_it(server: Served, broker: StrictBroker) -> None:
    broker.create_topic("t")
    broker.kafka.send("t", numbered(0, 3))
    server.create("s", "d")
    server.until("s", lambda one: one.rows_written == 3)
    server.pause("s")
    broker.kafka.send("t", numbered(3, 9))
    broker.forget_before("t", 0, 6)
    server.resume("s")
    found = server.until("s", lambda one: one.state == pb.SUBSCRIPTION_STATE_FAILED)
    assert reason_of(found) == "KAFKA_MESSAGES_LOST"
    assert [one.name for one in server.stub.ListSubscriptions(pb.ListSubscriptionsRequest(filter='state = "FAILED"')).subscriptions] == [
        "s"
    ]
    # A failed one may be paused; that is no consent.
    assert server.pause("s").state == pb.SUBSCRIPTION_STATE_PAUSED
    server.resume("s")
    server.until("s", lambda one: one.state == pb.SUBSCRIPTION_STATE_FAILED)
    found = server.resume("s")
    assert not found.HasField("error")
    server.until("s", lambda one: one.rows_written == 6)
    assert server.rows("d") == [0, 1, 2, 6, 7, 8]
    # The consent was for those.
    server.pause("s")
    broker.kafka.send("t", numbered(9, 12))
    broker.forget_before("t", 0, 11)
    server.resume("s")
    found = server.until("s", lambda one: one.state == pb.SUBSCRIPTION_STATE_FAILED)
    assert reason_of(found) == "KAFKA_MESSAGES_LOST"


def test_those_beyond_the_limit_wait_and_say_so(mesh: Mesh, tmp_path: Path, broker: StrictBroker) -> None:
    broker.create_topic("t")
    broker.kafka.send("t", numbered(0, 3))
    with serving(mesh, tmp_path, broker, concurrent_subscriptions=1) as server:
        server.create("first", "d")
        server.until("first", lambda one: one.rows_written == 3)
        server.create("second", "e")
        found = server.until("second", lambda one: reason_of(one) == "SUBSCRIPTION_WAITING")
        assert found.state == pb.SUBSCRIPTION_STATE_ACTIVE
        server.pause("first")
        found = server.until("second", lambda one: one.rows_written == 3)
        assert not found.HasField("error")


@pytest.mark.parametrize(
    ("wrong", "code", "reason"),
    [
        ({"cluster": "elsewhere:9092"}, "NOT_FOUND", "KAFKA_CLUSTER_UNKNOWN"),
        ({"mode": 3}, "INVALID_ARGUMENT", "UPSERT_KEYS_INVALID"),
        ({"keys": ["id"]}, "INVALID_ARGUMENT", "UPSERT_KEYS_INVALID"),
        ({"mode": 2}, "INVALID_ARGUMENT", "REQUEST_INVALID"),
        ({"topics": ["."]}, "INVALID_ARGUMENT", "TOPIC_INVALID"),
        ({"topics": ["a/b"]}, "INVALID_ARGUMENT", "REQUEST_INVALID"),
        ({"group": "a\0b"}, "INVALID_ARGUMENT", "CONSUMER_GROUP_INVALID"),
        ({"payload": {"format": pb.PAYLOAD_FORMAT_AVRO}}, "INVALID_ARGUMENT", "PAYLOAD_INVALID"),
        ({"payload": {"avro_schema": "{}"}}, "INVALID_ARGUMENT", "PAYLOAD_INVALID"),
        ({"payload": {"format": pb.PAYLOAD_FORMAT_AVRO, "avro_schema": '"long"'}}, "INVALID_ARGUMENT", "PAYLOAD_INVALID"),
        ({"payload": {"column_types": {"a": "number"}}}, "INVALID_ARGUMENT", "PAYLOAD_INVALID"),
        ({"commit_interval": {"seconds": 61}}, "INVALID_ARGUMENT", "REQUEST_INVALID"),
    ],
)
def test_what_cannot_be_is_refused_at_once(wrong_server: Served, wrong: dict[str, Any], code: str, reason: str) -> None:
    assert refused(lambda: wrong_server.create("s", "d", **wrong)) == (code, reason)


@pytest.fixture(scope="module")
def wrong_server(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    from tests.real_servers.kafka import strict_broker

    with strict_broker() as broker, serving(mesh, tmp_path_factory.mktemp("wrong"), broker) as running:
        yield running


def test_nobody_is_told_of_other_projects(server: Served, broker: StrictBroker) -> None:
    broker.create_topic("t")
    server.create("s", "d")
    assert refused(lambda: server.stub.GetSubscription(pb.GetSubscriptionRequest(name="s", project="other")))[1] in {
        "SUBSCRIPTION_NOT_FOUND",
        "PERMISSION_DENIED",
    }
