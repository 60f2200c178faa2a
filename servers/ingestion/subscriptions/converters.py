"""Between the contract of subscriptions and what the domain and the data processes take."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2, error_details_pb2, status_pb2
from mlops.ingestion.v1 import ingestion_pb2
from mlops.ingestion.v1 import subscription_service_pb2 as pb

from servers.ingestion.converters import contract_from_proto, mode_from_proto
from servers.ingestion.subscriptions.errors import InvalidConsumerGroup, InvalidPayload, InvalidTopics, SubscriptionWaiting
from servers.ingestion.subscriptions.records import NewSubscription, State, Subscription
from servers.runtime.errors import ERROR_DOMAIN
from servers.runtime.timestamps import timestamp

_CONTRACT_PREFIX, _FORMAT_PREFIX, _MODE_PREFIX = "CONTRACT_MODE_", "PAYLOAD_FORMAT_", "WRITE_MODE_"
_START_PREFIX, _STATE_PREFIX = "START_POSITION_", "SUBSCRIPTION_STATE_"
_DEFAULT_COMMIT_INTERVAL_S = 1.0
_MOST_GROUP_CHARACTERS = 255
_FIELDS_OF_FORMAT = {"AVRO": ("avro_schema",), "PROTOBUF": ("protobuf_descriptors", "protobuf_message")}


def subscription_from_proto(
    subscription: pb.Subscription, *, project: str, creator: str, create_time: datetime, task_id: str
) -> NewSubscription:
    """Reads what is wanted.

    Raises:
        InvalidPayload: What is said of messages contradicts itself.
        InvalidConsumerGroup: The consumer group has a name that nobody can read.
        InvalidTopics: A topic is called `.` or `..`.
    """
    group = subscription.group or f"mlmesh.{project}.{subscription.name}"
    if not group.isprintable() or len(group) > _MOST_GROUP_CHARACTERS:
        raise InvalidConsumerGroup
    if bad := [topic for topic in subscription.topics if topic in (".", "..")]:
        raise InvalidTopics(bad[0])
    has_interval = subscription.HasField("commit_interval")
    return NewSubscription(
        project=project,
        name=subscription.name,
        dataset=subscription.dataset,
        cluster=subscription.cluster,
        group=group,
        mode=mode_from_proto(subscription.mode),
        request={
            "topics": list(subscription.topics),
            "payload": _payload(subscription.payload),
            "keys": list(subscription.keys),
            "contract": contract_from_proto(subscription.schema_contract),
            "unreadable": _contract_mode(subscription.unreadable_messages or ingestion_pb2.CONTRACT_MODE_DISCARD_ROW),
            "start": pb.StartPosition.Name(subscription.start or pb.START_POSITION_EARLIEST).removeprefix(_START_PREFIX),
            "commit_interval_s": subscription.commit_interval.ToTimedelta().total_seconds() if has_interval else _DEFAULT_COMMIT_INTERVAL_S,
        },
        creator=creator,
        create_time=create_time,
        task_id=task_id,
    )


def listed_to_proto(subscription: Subscription) -> pb.Subscription:
    """Gives a subscription as a list has it: without what describes its messages, which may be long."""
    message = subscription_to_proto(subscription)
    message.payload.ClearField("avro_schema")
    message.payload.ClearField("protobuf_descriptors")
    return message


def subscription_to_proto(subscription: Subscription) -> pb.Subscription:
    """Gives a subscription as the contract has it."""
    request = subscription.request
    positions = [
        pb.PartitionPosition(topic=topic, partition=number, next_offset=offset, end_offset=end, lag=max(0, end - offset))
        for topic, number, offset, _, end in subscription.positions
    ]
    interval = Duration()
    interval.FromNanoseconds(round(request["commit_interval_s"] * 1_000_000_000))
    message = pb.Subscription(
        name=subscription.name,
        project=subscription.project,
        dataset=subscription.dataset,
        cluster=subscription.cluster,
        topics=request["topics"],
        group=subscription.group,
        payload=_payload_message(request["payload"]),
        mode=ingestion_pb2.WriteMode.Value(_MODE_PREFIX + subscription.mode),
        keys=request["keys"],
        unreadable_messages=ingestion_pb2.ContractMode.Value(_CONTRACT_PREFIX + request["unreadable"]),
        start=pb.StartPosition.Value(_START_PREFIX + request["start"]),
        commit_interval=interval,
        state=pb.SubscriptionState.Value(_STATE_PREFIX + subscription.state),
        error=_error(subscription),
        partitions=positions,
        lag=sum(position.lag for position in positions),
        rows_written=subscription.rows_written,
        rows_rejected=subscription.rows_rejected,
        rejected=[
            ingestion_pb2.RejectedRow(row=row["row"], column=row["column"], value=row["value"] or "", reason=row["reason"])
            for row in subscription.rejected
        ],
        version=subscription.version,
        creator=subscription.creator,
        create_time=timestamp(subscription.create_time),
        update_time=timestamp(subscription.update_time),
    )
    if request["contract"]:
        modes = {part: ingestion_pb2.ContractMode.Value(_CONTRACT_PREFIX + mode) for part, mode in request["contract"].items()}
        message.schema_contract.CopyFrom(ingestion_pb2.SchemaContract(**modes))
    return message


def _payload(payload: pb.Payload) -> dict[str, Any]:
    kind = pb.PayloadFormat.Name(payload.format or pb.PAYLOAD_FORMAT_JSON).removeprefix(_FORMAT_PREFIX)
    for of_kind, fields in _FIELDS_OF_FORMAT.items():
        for field in fields:
            if of_kind == kind and not getattr(payload, field):
                raise InvalidPayload(field, f"`{field}` is needed with the format {kind}")
            if of_kind != kind and getattr(payload, field):
                raise InvalidPayload(field, f"`{field}` goes with the format {of_kind}, and the format is {kind}")
    return {
        "format": kind,
        "avro_schema": payload.avro_schema,
        "protobuf_descriptors": base64.b64encode(payload.protobuf_descriptors).decode("ascii"),
        "protobuf_message": payload.protobuf_message,
        "has_schema_id": payload.has_schema_id,
        "has_origin": payload.has_origin,
        "column_types": dict(payload.column_types),
    }


def _payload_message(payload: Mapping[str, Any]) -> pb.Payload:
    return pb.Payload(
        format=pb.PayloadFormat.Value(_FORMAT_PREFIX + payload["format"]),
        avro_schema=payload["avro_schema"],
        protobuf_descriptors=base64.b64decode(payload["protobuf_descriptors"]),
        protobuf_message=payload["protobuf_message"],
        has_schema_id=payload["has_schema_id"],
        has_origin=payload["has_origin"],
        column_types=payload["column_types"],
    )


def _contract_mode(mode: ingestion_pb2.ContractMode.ValueType) -> str:
    return ingestion_pb2.ContractMode.Name(mode).removeprefix(_CONTRACT_PREFIX)


def _error(subscription: Subscription) -> status_pb2.Status | None:
    error = subscription.error
    if error is None or subscription.state is State.PAUSED:
        if not subscription.is_waiting:
            return None
        waiting = SubscriptionWaiting()
        error = {"code": waiting.code.name, "reason": waiting.reason, "message": waiting.message, "metadata": {}}
    packed = AnyMessage()
    packed.Pack(error_details_pb2.ErrorInfo(reason=error["reason"], domain=ERROR_DOMAIN, metadata=error["metadata"]))
    return status_pb2.Status(code=code_pb2.Code.Value(error["code"]), message=error["message"], details=[packed])
