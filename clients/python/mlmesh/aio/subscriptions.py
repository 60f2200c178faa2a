"""Subscriptions: topics of Kafka that are written into datasets continuously."""

from __future__ import annotations

from collections.abc import Sequence

import grpc.aio
from google.protobuf.duration_pb2 import Duration
from mlops.ingestion.v1 import ingestion_pb2, subscription_service_pb2, subscription_service_pb2_grpc

from mlmesh.aio.calls import Caller
from mlmesh.aio.pages import Pager
from mlmesh.fields import enum_value
from mlmesh.ingestion_options import SchemaContract
from mlmesh.subscriptions import Payload, Subscription, subscription_value


class SubscriptionsClient:
    """Makes subscriptions, stops them, and lets them go on.

    Args:
        channel: Leads to the mesh.
        caller: Makes the calls.
    """

    def __init__(self, channel: grpc.aio.Channel, caller: Caller) -> None:
        self._stub = subscription_service_pb2_grpc.SubscriptionServiceStub(channel)
        self._caller = caller

    async def create_subscription(
        self,
        name: str,
        *,
        dataset: str,
        cluster: str,
        topics: Sequence[str],
        group: str = "",
        payload: Payload | None = None,
        mode: str = "append",
        keys: Sequence[str] = (),
        schema_contract: SchemaContract | None = None,
        unreadable_messages: str = "discard_row",
        start: str = "earliest",
        commit_interval_s: float | None = None,
        project: str = "",
        request_id: str = "",
        timeout_s: float | None = None,
    ) -> Subscription:
        """Begins to write topics into a dataset, and goes on until it is paused or deleted. A message is in the dataset once.

        Args:
            name: Name of the subscription: 1 to 127 letters, digits, `_` and `-`.
            dataset: The dataset to write; made where there is none.
            cluster: The Kafka: one of those that the server's setting `kafka_clusters` names.
            topics: The topics, at most 100.
            group: Consumer group; empty = `mlmesh.<project>.<name>`.
            payload: How messages become rows; None = they are JSON objects.
            mode: `append`, or `upsert`, which replaces rows that have the same keys.
            keys: Columns that tell rows apart; for `upsert`.
            schema_contract: What may change of the dataset; None = whatever loses nothing.
            unreadable_messages: What becomes of a message that is no row: `discard_row`, it is left out and counted; `freeze`, the
                subscription fails there.
            start: Where it begins that nothing was written of: `earliest` or `latest`.
            commit_interval_s: Longest time that a message waits to be written together with others, in seconds, 0.01 to 60; None = 1.
            project: Project; empty = `default`.
            request_id: A UUID; a repeat within 24 hours returns the first answer. Empty = one is made, for retries of this call.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.NotFound: The server knows no such Kafka.
            mlmesh.errors.AlreadyExists: There is a subscription of this name, or one with this consumer group.
            mlmesh.errors.InvalidArgument: It could write nothing, whatever messages come.
        """
        subscription = subscription_service_pb2.Subscription(
            name=name,
            dataset=dataset,
            cluster=cluster,
            topics=topics,
            group=group,
            payload=payload.message() if payload is not None else None,
            mode=enum_value(ingestion_pb2.WriteMode, mode),
            keys=keys,
            schema_contract=schema_contract.message() if schema_contract is not None else None,
            unreadable_messages=enum_value(ingestion_pb2.ContractMode, unreadable_messages),
            start=enum_value(subscription_service_pb2.StartPosition, start),
            commit_interval=_duration(commit_interval_s) if commit_interval_s is not None else None,
        )
        request = subscription_service_pb2.CreateSubscriptionRequest(subscription=subscription, project=project, request_id=request_id)
        return subscription_value(await self._caller.unary(self._stub.CreateSubscription, request, timeout_s=timeout_s))

    async def get_subscription(self, name: str, *, project: str = "", timeout_s: float | None = None) -> Subscription:
        """Returns a subscription, with how far behind it is.

        Args:
            name: Its name.
            project: Project; empty = `default`.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.NotFound: There is none.
        """
        request = subscription_service_pb2.GetSubscriptionRequest(name=name, project=project)
        return subscription_value(await self._caller.unary(self._stub.GetSubscription, request, timeout_s=timeout_s))

    def list_subscriptions(
        self, *, filter: str = "", order_by: str = "", project: str = "", page_size: int = 0, timeout_s: float | None = None
    ) -> Pager[Subscription]:
        """Lists subscriptions by name unless ordered otherwise.

        Args:
            filter: AIP-160 filter over `name`, `dataset`, `cluster`, `state` and `create_time`, for example `state = "FAILED"`.
            order_by: Of `name`, `create_time`, each with ` desc` if wanted.
            project: Project; empty = `default`.
            page_size: Most items a page; 0 = 50.
            timeout_s: Deadline of each page, in seconds; None = the connection's.
        """
        request = subscription_service_pb2.ListSubscriptionsRequest(project=project, filter=filter, order_by=order_by, page_size=page_size)
        return Pager(self._caller, self._stub.ListSubscriptions, request, "subscriptions", timeout_s, subscription_value)

    async def pause_subscription(self, name: str, *, project: str = "", timeout_s: float | None = None) -> Subscription:
        """Stops reading after the rows that are being written. One that is paused stays as it is.

        Args:
            name: Its name.
            project: Project; empty = `default`.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.NotFound: There is none.
        """
        request = subscription_service_pb2.PauseSubscriptionRequest(name=name, project=project)
        return subscription_value(await self._caller.unary(self._stub.PauseSubscription, request, timeout_s=timeout_s))

    async def resume_subscription(self, name: str, *, project: str = "", timeout_s: float | None = None) -> Subscription:
        """Goes on where the dataset ends, after a pause or a failure. One that is active stays as it is.

        Args:
            name: Its name.
            project: Project; empty = `default`.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.NotFound: There is none, or its Kafka is not in the server's settings any more.
        """
        request = subscription_service_pb2.ResumeSubscriptionRequest(name=name, project=project)
        return subscription_value(await self._caller.unary(self._stub.ResumeSubscription, request, timeout_s=timeout_s))

    async def delete_subscription(self, name: str, *, project: str = "", timeout_s: float | None = None) -> None:
        """Ends a subscription. What it has written stays, and with it how far: one of the same topics and dataset goes on there.

        Args:
            name: Its name.
            project: Project; empty = `default`.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.NotFound: There is none.
        """
        request = subscription_service_pb2.DeleteSubscriptionRequest(name=name, project=project)
        await self._caller.unary(self._stub.DeleteSubscription, request, timeout_s=timeout_s)


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromNanoseconds(round(seconds * 1_000_000_000))
    return duration
