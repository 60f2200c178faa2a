"""What a subscription is to the caller, and how its messages become rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from mlops.ingestion.v1 import ingestion_pb2, subscription_service_pb2

from mlmesh.fields import enum_name, enum_value
from mlmesh.ingestions import IngestionError, RejectedRow
from mlmesh.statuses import error_of_status


@dataclass(frozen=True, kw_only=True)
class Payload:
    """How messages become rows."""

    format: str = "json"
    """`json`, `avro` or `protobuf`."""

    avro_schema: str = ""
    """Avro: the schema that the messages were written with, as JSON."""

    protobuf_descriptors: bytes = b""
    """Protocol Buffers: a `FileDescriptorSet`, as `protoc --descriptor_set_out --include_imports` makes it."""

    protobuf_message: str = ""
    """Protocol Buffers: full name of the message, for example `shop.v1.Order`."""

    has_schema_id: bool = False
    """Whether messages begin with the identifier of a schema, as Confluent's serializers write it."""

    has_origin: bool = False
    """Whether rows say where they come from, in `kafka_topic`, `kafka_partition`, `kafka_offset`, `kafka_time` and `kafka_key`."""

    column_types: Mapping[str, str] = field(default_factory=dict)
    """Types of columns as Arrow writes them, instead of those found out: `{"zip": "string"}`."""

    def message(self) -> subscription_service_pb2.Payload:
        """Returns it as it travels.

        Raises:
            mlmesh.errors.InvalidArgument: There is no such format.
        """
        return subscription_service_pb2.Payload(
            format=enum_value(subscription_service_pb2.PayloadFormat, self.format),
            avro_schema=self.avro_schema,
            protobuf_descriptors=self.protobuf_descriptors,
            protobuf_message=self.protobuf_message,
            has_schema_id=self.has_schema_id,
            has_origin=self.has_origin,
            column_types=self.column_types,
        )


@dataclass(frozen=True)
class PartitionPosition:
    """How far a subscription is in a partition.

    Args:
        topic: The topic.
        partition: Number of the partition.
        next_offset: Offset of the next message to write.
        end_offset: Offset that the next message of the topic will have.
        lag: Messages that are not in the dataset yet.
    """

    topic: str
    partition: int
    next_offset: int
    end_offset: int
    lag: int


@dataclass(frozen=True)
class Subscription:
    """Topics that are written into a dataset, as they were when the mesh was asked.

    Args:
        name: Its name.
        project: Its project.
        dataset: The dataset.
        cluster: The Kafka: one of those that the server's settings name.
        topics: The topics.
        group: Consumer group.
        payload: How messages become rows; in a list without the schemas.
        mode: How rows are written: `append` or `upsert`.
        keys: Columns that tell rows apart.
        unreadable_messages: What becomes of a message that is no row: `discard_row` or `freeze`.
        start: Where it began: `earliest` or `latest`.
        commit_interval_s: Longest time that a message waits to be written together with others, in seconds.
        state: `active`, `paused` or `failed`.
        error: Why it failed; while it is active, what it tries again. None where there is nothing.
        partitions: How far it is, by topic and partition.
        lag: Messages that are not in the dataset yet, of all partitions.
        rows_written: Rows that were written since it was created.
        rows_rejected: Messages and rows that were left out since then.
        rejected: The last of them; `row` is the offset, and `column` begins with `topic/partition@offset`.
        version: The newest version of the dataset that it wrote; None until then.
        creator: Who created it.
        create_time: When it was created.
        update_time: When its positions were last known.
    """

    name: str
    project: str
    dataset: str
    cluster: str
    topics: tuple[str, ...]
    group: str
    payload: Payload
    mode: str
    keys: tuple[str, ...]
    unreadable_messages: str
    start: str
    commit_interval_s: float
    state: str
    error: IngestionError | None
    partitions: tuple[PartitionPosition, ...]
    lag: int
    rows_written: int
    rows_rejected: int
    rejected: tuple[RejectedRow, ...]
    version: int | None
    creator: str
    create_time: datetime
    update_time: datetime

    @property
    def is_active(self) -> bool:
        """Whether it reads, or is about to."""
        return self.state == "active"


def subscription_value(message: subscription_service_pb2.Subscription) -> Subscription:
    """Reads a subscription."""
    return Subscription(
        name=message.name,
        project=message.project,
        dataset=message.dataset,
        cluster=message.cluster,
        topics=tuple(message.topics),
        group=message.group,
        payload=_payload_value(message.payload),
        mode=enum_name(ingestion_pb2.WriteMode, message.mode),
        keys=tuple(message.keys),
        unreadable_messages=enum_name(ingestion_pb2.ContractMode, message.unreadable_messages),
        start=enum_name(subscription_service_pb2.StartPosition, message.start),
        commit_interval_s=message.commit_interval.ToTimedelta().total_seconds(),
        state=enum_name(subscription_service_pb2.SubscriptionState, message.state),
        error=_error_value(message),
        partitions=tuple(
            PartitionPosition(one.topic, one.partition, one.next_offset, one.end_offset, one.lag) for one in message.partitions
        ),
        lag=message.lag,
        rows_written=message.rows_written,
        rows_rejected=message.rows_rejected,
        rejected=tuple(RejectedRow(one.row, one.column, one.value, one.reason) for one in message.rejected),
        version=message.version if message.HasField("version") else None,
        creator=message.creator,
        create_time=message.create_time.ToDatetime(UTC),
        update_time=message.update_time.ToDatetime(UTC),
    )


def _payload_value(payload: subscription_service_pb2.Payload) -> Payload:
    return Payload(
        format=enum_name(subscription_service_pb2.PayloadFormat, payload.format),
        avro_schema=payload.avro_schema,
        protobuf_descriptors=payload.protobuf_descriptors,
        protobuf_message=payload.protobuf_message,
        has_schema_id=payload.has_schema_id,
        has_origin=payload.has_origin,
        column_types=dict(payload.column_types),
    )


def _error_value(message: subscription_service_pb2.Subscription) -> IngestionError | None:
    if not message.HasField("error"):
        return None
    error = error_of_status(message.error)
    return IngestionError(error.code, error.reason, error.message)
