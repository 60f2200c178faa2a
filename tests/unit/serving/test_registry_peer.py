from __future__ import annotations

from collections.abc import Iterator
from concurrent import futures

import grpc
import pytest
from mlops.registry.v1 import model_pb2, registry_service_pb2, registry_service_pb2_grpc

from servers.runtime.errors import DomainError
from servers.serving.errors import InvalidModelChoice, ModelNotFound, ModelNotServable, RegistryUnavailable
from servers.serving.model_source import ModelChoice
from servers.serving.registry_peer import RegistrySource


class _Registry(registry_service_pb2_grpc.ModelRegistryServiceServicer):
    """Refuses to resolve a model with the gRPC code that is its name."""

    def ResolveModelVersion(
        self, request: registry_service_pb2.ResolveModelVersionRequest, context: grpc.ServicerContext
    ) -> model_pb2.ModelVersion:
        context.abort(grpc.StatusCode[request.model], "why")
        raise AssertionError("abort raises")


@pytest.fixture(scope="module")
def source() -> Iterator[RegistrySource]:
    server = grpc.server(futures.ThreadPoolExecutor(2))
    registry_service_pb2_grpc.add_ModelRegistryServiceServicer_to_server(_Registry(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield RegistrySource(channel, fetch_timeout_s=1.0)
    server.stop(None).wait()


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("NOT_FOUND", ModelNotFound),
        ("INVALID_ARGUMENT", InvalidModelChoice),
        ("FAILED_PRECONDITION", ModelNotServable),
        ("PERMISSION_DENIED", RegistryUnavailable),
        ("UNAVAILABLE", RegistryUnavailable),
        ("INTERNAL", RegistryUnavailable),
    ],
)
def test_only_what_a_retry_may_mend_is_unavailable(source: RegistrySource, code: str, error: type[DomainError]) -> None:
    with pytest.raises(error):
        source.resolve(ModelChoice(name=code, project="default"), 5.0)
