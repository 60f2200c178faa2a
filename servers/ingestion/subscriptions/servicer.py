"""The contract of subscriptions: convert, call, convert."""

# ruff: noqa: D102 - method names and their documentation are the contract's

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from google.protobuf.empty_pb2 import Empty
from mlops.ingestion.v1 import subscription_service_pb2 as pb
from mlops.ingestion.v1.subscription_service_pb2_grpc import SubscriptionServiceServicer

from servers.ingestion.converters import listing_from_proto
from servers.ingestion.subscriptions import converters
from servers.ingestion.subscriptions.subscribing import Subscribing
from servers.runtime.auth import current_principal, current_project
from servers.runtime.effects import effect_id
from servers.runtime.still_wanted import check_still_wanted
from servers.runtime.streams import wait_unless_ending


class SubscriptionServicer(SubscriptionServiceServicer):
    """Serves `mlops.ingestion.v1.SubscriptionService`.

    Args:
        subscribing: Makes subscriptions, stops them, and lets them go on.
        clock: The time now.
    """

    def __init__(self, subscribing: Subscribing, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._subscribing = subscribing
        self._clock = clock

    def CreateSubscription(self, request: pb.CreateSubscriptionRequest, context: Any) -> pb.Subscription:
        new = converters.subscription_from_proto(
            request.subscription,
            project=current_project(),
            creator=current_principal().display_name,
            create_time=self._clock(),
            task_id=effect_id(),
        )
        return converters.subscription_to_proto(self._subscribing.create(new, check_still_wanted))

    def GetSubscription(self, request: pb.GetSubscriptionRequest, context: Any) -> pb.Subscription:
        return converters.subscription_to_proto(self._subscribing.get(current_project(), request.name))

    def ListSubscriptions(self, request: pb.ListSubscriptionsRequest, context: Any) -> pb.ListSubscriptionsResponse:
        found, token = self._subscribing.page(current_project(), listing_from_proto(request))
        return pb.ListSubscriptionsResponse(subscriptions=map(converters.listed_to_proto, found), next_page_token=token)

    def PauseSubscription(self, request: pb.PauseSubscriptionRequest, context: Any) -> pb.Subscription:
        return converters.subscription_to_proto(self._subscribing.pause(current_project(), request.name, wait_unless_ending))

    def ResumeSubscription(self, request: pb.ResumeSubscriptionRequest, context: Any) -> pb.Subscription:
        return converters.subscription_to_proto(self._subscribing.resume(current_project(), request.name))

    def DeleteSubscription(self, request: pb.DeleteSubscriptionRequest, context: Any) -> Empty:
        self._subscribing.delete(current_project(), request.name, wait_unless_ending)
        return Empty()
