"""A broker of Kafka's protocol for tests: the one of librdkafka's own tests.

It runs in this process and can do what Tansu (`demo.real_servers.kafka`) cannot: refuse, forget old messages, delete a topic.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import confluent_kafka

from demo.real_servers.kafka import Kafka

_PRODUCER = 0
"""RD_KAFKA_PRODUCER of librdkafka."""


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
