"""The model registry, which knows what models were trained on: the only module of features that calls it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

import grpc
from mlops.registry.v1 import model_pb2, registry_service_pb2
from mlops.registry.v1.registry_service_pb2_grpc import ModelRegistryServiceStub

from servers.features.peers.errors import RegistryUnavailable
from servers.runtime.peer_calls import PeerCalls

SERVICES = ("mlops.registry.v1.ModelRegistryService",)

# Versions carry model cards of up to 256 KiB, and a message has at most 16 MiB.
_PAGE_SIZE = 50
_MOST_PAGES = 200


class TrainedModel(NamedTuple):
    """A version of a model, and a version of a dataset that it was trained on."""

    model: str
    version: int
    dataset: str
    dataset_version: int


class RegistryPeer:
    """Asks the model registry.

    Args:
        channel: With the credentials of the mesh's service account; None where nobody has said where the server is.
        patience_s: Not needed yet: jobs do not ask.
    """

    def __init__(self, channel: grpc.Channel | None, patience_s: float) -> None:
        self._stub: Any = None if channel is None else ModelRegistryServiceStub(channel)
        self._calls = PeerCalls("registry", "features", RegistryUnavailable, patience_s)

    @property
    def is_known(self) -> bool:
        """Whether somebody has said where the registry is."""
        return self._stub is not None

    def models_trained_on(self, project: str, dataset: str, versions: Collection[int]) -> list[TrainedModel]:
        """Returns the versions of models whose lineage names versions of a dataset, as `flights@3`, or `flights` with the digest `3`.

        Args:
            project: Of both.
            dataset: The dataset.
            versions: Its versions.

        Raises:
            RegistryUnavailable: The registry does not answer, or nobody has said where it is.
        """
        return self.models_trained_on_any(project, {(dataset, version) for version in versions})

    def models_trained_on_any(self, project: str, datasets: Collection[tuple[str, int]]) -> list[TrainedModel]:
        """The same for several datasets, each with a version: the registry is asked once, the newest versions first."""
        if self._stub is None:
            raise RegistryUnavailable("registry_address (MLMESH_FEATURES_REGISTRY_ADDRESS or MLMESH_REGISTRY_ADDRESS) is not set")
        wanted, found = set(datasets), []
        request = registry_service_pb2.SearchModelVersionsRequest(project=project, order_by="create_time desc", page_size=_PAGE_SIZE)
        for _ in range(_MOST_PAGES if wanted else 0):
            page = self._calls.answered(lambda: self._stub.SearchModelVersions(request))
            for version in page.versions:
                named = dict.fromkeys(each for reference in version.lineage.datasets if (each := _named(reference)) in wanted)
                found += [TrainedModel(version.model, version.version, name, number) for name, number in named]
            if not page.next_page_token:
                break
            request.page_token = page.next_page_token
        return found


def _named(reference: model_pb2.DatasetReference) -> tuple[str, int] | None:
    name, separator, version = reference.name.partition("@")
    number = version if separator else reference.digest
    return (name, int(number)) if number.isascii() and number.isdecimal() else None
