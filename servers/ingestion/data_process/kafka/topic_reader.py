"""Reads topics as a member of a consumer group."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Consumer, KafkaError, KafkaException, TopicPartition

from servers.ingestion.data_process.kafka.broker_errors import error_of, typed_errors, typed_settings
from servers.ingestion.data_process.kafka.message import Message
from servers.ingestion.data_process.kafka.positions import Partition, Position
from servers.ingestion.subscriptions.errors import KafkaMessagesLost, KafkaTopicShorter, KafkaUnavailable

_LOGGER = logging.getLogger(__name__)

_ANSWER_S = 10.0
"""How long Kafka may take to answer a question, in seconds."""

_PROBE_S = 1.0
_CLOSE_S = 5.0

_OURS = {
    "enable.auto.commit": "false",
    "enable.auto.offset.store": "false",
    # Neither skipped nor read again without anybody's knowledge.
    "auto.offset.reset": "error",
    "isolation.level": "read_committed",
    "log_level": "2",
}
_DEFAULTS = {
    "session.timeout.ms": "10000",
    # New topics and partitions are found so often.
    "topic.metadata.refresh.interval.ms": "10000",
    # Per process, beside the batch: much less than the library's default of 64 MiB.
    "queued.max.messages.kbytes": "16384",
}

Starts = Callable[[Sequence[Partition]], Mapping[Partition, Position]]
"""Says where to go on in partitions."""


class TopicReader:
    """Messages of topics, from the partitions that the group gives to this member.

    Args:
        cluster: Name of the Kafka in the setting.
        properties: Its properties.
        group: Consumer group.
        patience_s: How long no broker may be reachable, in seconds.

    Raises:
        KafkaSettingsInvalid: FAILED_PRECONDITION: the library refuses the properties.
    """

    def __init__(self, cluster: str, properties: Mapping[str, str], group: str, patience_s: float) -> None:
        self._cluster = cluster
        self._patience_s = patience_s
        self._unreachable_since: float | None = None
        self._last_error: KafkaError | None = None
        self._failure: BaseException | None = None
        self._starts: Starts = lambda _partitions: {}
        self.is_reassigned = False
        """Whether the last `read` saw partitions given or taken, also where it failed."""
        self.missing_topics: set[str] = set()
        self._read_to: dict[Partition, int] = {}
        self.assigned: dict[Partition, Position] = {}
        """The partitions that this member has, and what was dealt with of each; the owner moves that on."""
        settings = {**_DEFAULTS, "client.id": "mlmesh", **properties, **_OURS, "group.id": group}
        with typed_settings(cluster, settings):
            self._consumer = Consumer({**settings, "error_cb": self._note_error})

    def cluster_id(self, topics: Sequence[str]) -> str:
        """Returns the identifier that the Kafka has itself, and notes which topics are missing.

        Raises:
            KafkaUnavailable: UNAVAILABLE: it does not answer.
            KafkaAccessDenied: PERMISSION_DENIED: it does not let us in.
        """
        found = self._metadata()
        self.missing_topics = {topic for topic in topics if not _exists(found, topic)}
        return str(found.cluster_id or self._cluster)

    def look_for_missing(self) -> None:
        """Looks whether topics that were missing are there."""
        found = self._metadata()
        self.missing_topics = {topic for topic in self.missing_topics if not _exists(found, topic)}

    def partitions(self, topics: Sequence[str]) -> list[Partition]:
        """Returns the partitions that topics have now."""
        found = self._metadata()
        return [(topic, number) for topic in topics if _exists(found, topic) for number in found.topics[topic].partitions]

    def committed(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """Returns the offsets that the group committed; negative ones where it has none."""
        with typed_errors(self._cluster):
            found = self._consumer.committed([TopicPartition(*partition) for partition in partitions], timeout=_ANSWER_S)
        for each in found:
            if each.error is not None:
                raise error_of(each.error, self._cluster)
        return {(each.topic, each.partition): each.offset for each in found}

    def bounds(self, partitions: Sequence[Partition]) -> dict[Partition, tuple[int, int]]:
        """Returns the offset of the oldest message that is kept, and the one that the next message will have."""
        return {partition: self._bounds(partition) for partition in partitions}

    def subscribe(self, topics: Sequence[str], starts: Starts) -> None:
        """Joins the group.

        Args:
            topics: What to read.
            starts: Asked for each partition that this member gets.
        """
        self._starts = starts
        with typed_errors(self._cluster):
            self._consumer.subscribe(list(topics), on_assign=self._assign, on_revoke=self._revoke, on_lost=self._revoke)

    def read(self, most: int, timeout_s: float) -> tuple[list[Message], bool]:
        """Waits for messages.

        Args:
            most: How many at most.
            timeout_s: How long to wait for so many, in seconds.

        Returns:
            Messages, and whether partitions were given or taken: then what was read before is void, and reading begins anew at `assigned`.

        Raises:
            KafkaUnavailable: UNAVAILABLE: Kafka does not answer, or not as it should.
            KafkaAccessDenied: PERMISSION_DENIED: it does not let us in, or not to a topic or the group.
            KafkaMessagesLost: FAILED_PRECONDITION: it deleted messages before they were read.
            KafkaTopicShorter: FAILED_PRECONDITION: a partition ends before what was read of it.
        """
        self.is_reassigned = False
        with typed_errors(self._cluster):
            found = self._consumer.consume(most, timeout_s)
        self._raise_failure()
        self._check_reachable()
        if self.is_reassigned:
            # Some may be from before, and some from after.
            if found and self.assigned:
                self.begin_anew(self.assigned)
            return [], True
        return [message for each in found if (message := self._checked(each)) is not None], False

    def begin_anew(self, positions: Mapping[Partition, Position]) -> None:
        """Goes on reading elsewhere in the partitions that this member has."""
        with typed_errors(self._cluster):
            self._consumer.assign(self._placed(positions))

    def commit(self, positions: Mapping[Partition, Position], *, waits: bool = False) -> None:
        """Tells the group how far it is. The dataset knows it better, so a failure is none."""
        if not positions:
            return
        try:
            if waits:
                self._consumer.commit(offsets=_offsets(positions), asynchronous=False)
            else:
                self._consumer.commit(offsets=_offsets(positions))
        except KafkaException as error:
            _LOGGER.info("the offsets of a consumer group were not committed: %s", error.args[0].name())

    def end_offset(self, partition: Partition) -> int | None:
        """Returns the offset that the next message of a partition will have, as the last answer said; None = none yet. Asks nobody."""
        with typed_errors(self._cluster):
            _, end = self._consumer.get_watermark_offsets(TopicPartition(*partition), cached=True)
        return end if end >= 0 else None

    def close(self) -> None:
        """Leaves the group. What takes too long goes on in a thread."""
        closing = threading.Thread(target=self._close, name="kafka-close", daemon=True)
        closing.start()
        closing.join(_CLOSE_S)

    def _close(self) -> None:
        try:
            self._consumer.close()
        except (KafkaException, RuntimeError) as error:
            _LOGGER.info("a consumer did not close well: %s", error)

    def _metadata(self) -> Any:
        try:
            found = self._consumer.list_topics(timeout=_ANSWER_S)
        except KafkaException as error:
            # The question only timed out; why, the connection said.
            raise error_of(self._last_error or error.args[0], self._cluster) from None
        self._unreachable_since = None
        return found

    def _bounds(self, partition: Partition) -> tuple[int, int]:
        with typed_errors(self._cluster):
            low, high = self._consumer.get_watermark_offsets(TopicPartition(*partition), timeout=_ANSWER_S)
        return low, high

    def _note_error(self, error: KafkaError) -> None:
        self._last_error = error
        if error.code() == KafkaError._ALL_BROKERS_DOWN and self._unreachable_since is None:
            self._unreachable_since = time.monotonic()

    def _check_reachable(self) -> None:
        if self._unreachable_since is None:
            return
        try:
            self._consumer.list_topics(timeout=_PROBE_S)
        except KafkaException as error:
            if time.monotonic() - self._unreachable_since > self._patience_s:
                raise error_of(self._last_error or error.args[0], self._cluster) from None
        else:
            self._unreachable_since = None

    def _assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self.is_reassigned = True
        try:
            consumer.assign(self._placed(self._starts([(each.topic, each.partition) for each in partitions])))
        except BaseException as error:  # raised where whoever reads sees it
            self._failure = error

    def _revoke(self, consumer: Consumer, _partitions: list[TopicPartition]) -> None:
        self.is_reassigned = True
        self._placed({})
        consumer.unassign()

    def _placed(self, positions: Mapping[Partition, Position]) -> list[TopicPartition]:
        self.assigned = dict(positions)
        self._read_to = {partition: position.next for partition, position in positions.items()}
        return _offsets(positions)

    def _raise_failure(self) -> None:
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def _checked(self, found: Any) -> Message | None:
        error = found.error()
        if error is not None:
            self._judge(error, (found.topic(), found.partition()))
            return None
        partition = (found.topic(), found.partition())
        if found.offset() < self._read_to.get(partition, found.offset() + 1):
            return None
        self._read_to[partition] = found.offset() + 1
        kind, time_ms = found.timestamp()
        known_ms = None if kind == TIMESTAMP_NOT_AVAILABLE else time_ms
        return Message(*partition, found.offset(), known_ms, found.key(), found.value())

    def _judge(self, error: KafkaError, partition: Partition) -> None:
        match error.code():
            case KafkaError._PARTITION_EOF | KafkaError._MAX_POLL_EXCEEDED:
                return
            case KafkaError.UNKNOWN_TOPIC_OR_PART | KafkaError._UNKNOWN_TOPIC | KafkaError._UNKNOWN_PARTITION:
                self.missing_topics.add(partition[0])
            case KafkaError._AUTO_OFFSET_RESET:
                raise self._out_of_range(partition)
            case _:
                raise error_of(error, self._cluster)

    def _out_of_range(self, partition: Partition) -> Exception:
        oldest, end = self._bounds(partition)
        wanted = self._read_to.get(partition, oldest)
        if wanted < oldest:
            return KafkaMessagesLost(*partition, wanted, oldest)
        if wanted > end:
            return KafkaTopicShorter(*partition, wanted, end)
        return KafkaUnavailable(self._cluster, f"{partition[0]}/{partition[1]} does not give message {wanted}, and says it has it")


def _exists(metadata: Any, topic: str) -> bool:
    found = metadata.topics.get(topic)
    return found is not None and found.error is None and bool(found.partitions)


def _offsets(positions: Mapping[Partition, Position]) -> list[TopicPartition]:
    return [TopicPartition(topic, number, position.next) for (topic, number), position in positions.items()]
