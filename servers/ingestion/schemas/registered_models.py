"""Models that were trained on a dataset: the only module of ingestion that calls the registry."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import grpc
from mlops.registry.v1 import model_pb2, registry_service_pb2
from mlops.registry.v1.registry_service_pb2_grpc import ModelRegistryServiceStub

from servers.ingestion.schemas.consumers import Consumer, Found, TouchedDataset
from servers.runtime.auth import Principal
from servers.runtime.errors import DomainError

REGISTRY_SERVICE = "mlops.registry.v1.ModelRegistryService"
READ_PERMISSION = "registry.models.read"
# Versions carry model cards of up to 256 KiB, and a message has at most 16 MiB.
_PAGE_SIZE = 50


class RegisteredModels:
    """Models of the registry whose lineage names the dataset.

    The registry is asked as the mesh's own account, about the caller's project, and only for callers who may read models there.

    Args:
        channel: To the registry, with the credentials of the mesh's service account; None where nobody has said where it is.
        timeout_s: Longest time for all of its answers, in seconds.
        clock: Monotonic seconds.
    """

    def __init__(self, channel: grpc.Channel | None, timeout_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._stub = None if channel is None else ModelRegistryServiceStub(channel)
        self._timeout_s = timeout_s
        self._clock = clock

    def of(self, dataset: TouchedDataset, reader: Principal) -> Found:
        """Finds the versions of models that were trained on a dataset; see `Consumers.of`."""
        if not reader.may(READ_PERMISSION, dataset.project):
            return Found(warnings=(f"models that use the dataset are not told, because you lack the permission {READ_PERMISSION}",))
        if self._stub is None:
            return Found(warnings=("models that use the dataset are not known: registry_address (MLMESH_REGISTRY_ADDRESS) is not set",))
        found: list[Consumer] = []
        try:
            for versions in self._pages(self._stub, dataset.project):
                found += [_consumer(version, dataset) for version in versions if _is_trained_on(version, dataset)]
        except grpc.RpcError as error:
            return _in_part(found, error.code().name)
        except DomainError as error:
            return _in_part(found, error.reason)
        return Found(_ordered(found))

    def _pages(self, stub: ModelRegistryServiceStub, project: str) -> Iterator[Sequence[model_pb2.ModelVersion]]:
        deadline = self._clock() + self._timeout_s
        request = registry_service_pb2.SearchModelVersionsRequest(
            project=project, filter='state = "READY"', order_by="model, version", page_size=_PAGE_SIZE
        )
        while True:
            page = stub.SearchModelVersions(request, timeout=max(0.001, deadline - self._clock()))
            yield page.versions
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token


def _in_part(found: list[Consumer], why: str) -> Found:
    return Found(_ordered(found), (f"there may be other models that use the dataset: the registry did not answer ({why})",))


def _ordered(found: list[Consumer]) -> tuple[Consumer, ...]:
    """Those that are known to use a touched column first."""
    return tuple(sorted(found, key=lambda consumer: not consumer.columns))


def _is_trained_on(version: model_pb2.ModelVersion, dataset: TouchedDataset) -> bool:
    return any(_is_of(reference, dataset) for reference in version.lineage.datasets)


def _is_of(reference: model_pb2.DatasetReference, dataset: TouchedDataset) -> bool:
    """Whether a lineage means a dataset: by where its table is, or by its name, `flights` or `flights@3`."""
    return reference.uri.rstrip("/") == dataset.uri or reference.name.partition("@")[0] == dataset.name


def _consumer(version: model_pb2.ModelVersion, dataset: TouchedDataset) -> Consumer:
    inputs = {tensor.name for tensor in version.signature.inputs}
    return Consumer("model", version.model, str(version.version), tuple(name for name in dataset.columns if name in inputs))
