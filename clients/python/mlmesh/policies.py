"""What the contracts say of each method: whether it needs a token, whether a retry is safe, how long it may take.

Every request type belongs to exactly one method, so a request tells its policy.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message

SERVICES = {
    "users": ("mlops.users.v1.users_service_pb2", "UserService"),
    "registry": ("mlops.registry.v1.registry_service_pb2", "ModelRegistryService"),
    "serving": ("mlops.serving.v1.serving_service_pb2", "ModelServingService"),
    "ingestion": ("mlops.ingestion.v1.ingestion_service_pb2", "DataIngestionService"),
    "streams": ("mlops.ingestion.v1.stream_service_pb2", "DataStreamService"),
    "subscriptions": ("mlops.ingestion.v1.subscription_service_pb2", "SubscriptionService"),
    "quarantine": ("mlops.ingestion.v1.quarantine_service_pb2", "QuarantineService"),
    "schemas": ("mlops.ingestion.v1.schema_service_pb2", "DatasetSchemaService"),
    "profiles": ("mlops.ingestion.v1.profile_service_pb2", "DatasetProfileService"),
    "uploads": ("mlops.ingestion.v1.upload_service_pb2", "DataUploadService"),
    "processing": ("mlops.processing.v1.processing_service_pb2", "DataProcessingService"),
    "pipelines": ("mlops.processing.v1.pipeline_service_pb2", "PipelineService"),
    "features": ("mlops.features.v1.feature_store_service_pb2", "FeatureStoreService"),
    "feature_serving": ("mlops.features.v1.feature_serving_service_pb2", "FeatureServingService"),
    "feature_jobs": ("mlops.features.v1.feature_job_service_pb2", "FeatureJobService"),
    "system": ("mlops.system.v1.system_service_pb2", "SystemMonitorService"),
}
"""Module and name of the service behind each sub-client; `features` has three."""

_ATTEMPTS = 5
# 0.2 + 0.5 + 1.25 + 3 s: longer than a killed server takes to come back.
_RETRY = {
    "maxAttempts": _ATTEMPTS,
    "initialBackoff": "0.2s",
    "backoffMultiplier": 2.5,
    "maxBackoff": "3s",
    "retryableStatusCodes": ["UNAVAILABLE"],
}


@dataclass(frozen=True)
class CallPolicy:
    """How a method is called.

    Args:
        path: Path of the method, `/package.Service/Method`.
        needs_token: Whether it is refused without a token.
        may_retry: Whether a repeat is safe.
        takes_request_id: Whether a repeat is safe because of a `request_id`, which the client makes.
        is_transfer: Whether it moves bytes in bulk and so may take long.
        is_client_stream: Whether the caller sends a stream.
    """

    path: str
    needs_token: bool
    may_retry: bool
    takes_request_id: bool
    is_transfer: bool
    is_client_stream: bool


def services() -> Iterator[ServiceDescriptor]:
    """Yields the descriptors of all services that have a sub-client."""
    for module, name in SERVICES.values():
        yield import_module(module).DESCRIPTOR.services_by_name[name]


def policy_of(request: Message | type[Message]) -> CallPolicy:
    """Returns the policy of the method that takes a request, or requests of a type.

    Raises:
        KeyError: No method takes it.
    """
    return _policies()[request.DESCRIPTOR.full_name]


def service_config(described: Iterable[ServiceDescriptor] | None = None) -> str:
    """Returns the gRPC service config that retries what the contracts allow, and nothing else.

    gRPC itself retries by it, in sync and async channels alike, with jitter and with the server's own push-back. Client streams are
    left out: gRPC would have to keep everything that was sent; uploads resume instead.

    Args:
        described: Services to configure; None = all.
    """
    names = [
        {"service": method.containing_service.full_name, "method": method.name}
        for service in (services() if described is None else described)
        for method in service.methods
        if call_policy(method).may_retry and not method.client_streaming
    ]
    return json.dumps({"methodConfig": [{"name": names, "retryPolicy": _RETRY}]} if names else {})


def call_policy(method: MethodDescriptor) -> CallPolicy:
    """Reads the policy of a method out of its options."""
    from mlops.common.v1 import options_pb2

    options: Any = method.GetOptions()
    policy = options.Extensions[options_pb2.policy]
    safe = (options_pb2.IDEMPOTENCY_READ_ONLY, options_pb2.IDEMPOTENCY_IDEMPOTENT, options_pb2.IDEMPOTENCY_REQUEST_ID)
    return CallPolicy(
        path=f"/{method.containing_service.full_name}/{method.name}",
        needs_token=policy.access != options_pb2.ACCESS_PUBLIC,
        may_retry=policy.idempotency in safe,
        takes_request_id=policy.idempotency == options_pb2.IDEMPOTENCY_REQUEST_ID,
        is_transfer=policy.rate_class == options_pb2.RATE_CLASS_TRANSFER,
        is_client_stream=bool(method.client_streaming),
    )


@cache
def _policies() -> dict[str, CallPolicy]:
    return {method.input_type.full_name: call_policy(method) for service in services() for method in service.methods}
