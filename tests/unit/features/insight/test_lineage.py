"""Models that were trained on what is made of a view."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from mlops.features.v1 import feature_view_pb2 as view_pb
from mlops.registry.v1 import model_pb2
from mlops.registry.v1.registry_service_pb2 import SearchModelVersionsRequest, SearchModelVersionsResponse

from servers.features.definitions.records import ViewVersion
from servers.features.insight.lineage import Lineage
from servers.features.peers.errors import RegistryUnavailable
from servers.features.peers.registry_peer import RegistryPeer, TrainedModel
from servers.features.store.definitions import ServiceUse
from servers.features.store.training_sets import TrainingSetUse
from servers.runtime.auth import Principal

SPEC = view_pb.FeatureViewSpec(
    computed=view_pb.ComputedSource(inputs=[{"name": "a", "dataset": "orders"}, {"name": "b", "dataset": "orders"}], sql="SELECT 1")  # type: ignore[list-item]
)
VIEW = ViewVersion("v-2", "v", "default", "spending", 2, SPEC, (), "spending-v2", "spending-v2", "me", datetime(2026, 1, 1, tzinfo=UTC))


class Registry:
    """A channel to a registry with models in pages of two."""

    def __init__(self, *versions: model_pb2.ModelVersion) -> None:
        self._versions = versions

    def unary_unary(self, path: str, *_: Any, **__: Any) -> Any:
        return self._search if path.endswith("/SearchModelVersions") else None

    unary_stream = stream_unary = stream_stream = unary_unary

    def _search(self, request: SearchModelVersionsRequest) -> SearchModelVersionsResponse:
        begin = int(request.page_token or 0)
        more = str(begin + 2) if begin + 2 < len(self._versions) else ""
        return SearchModelVersionsResponse(versions=self._versions[begin : begin + 2], next_page_token=more)


def model(version: int, *datasets: tuple[str, str]) -> model_pb2.ModelVersion:
    references = [model_pb2.DatasetReference(name=name, digest=digest) for name, digest in datasets]
    return model_pb2.ModelVersion(model="fraud", version=version, lineage=model_pb2.Lineage(datasets=references))


def registry(*versions: model_pb2.ModelVersion) -> RegistryPeer:
    return RegistryPeer(cast("Any", Registry(*versions)), 0)


def test_models_name_the_version_of_a_dataset_in_its_name_or_its_digest() -> None:
    peer = registry(
        model(5, ("train@3", "")),
        model(4, ("train", "3"), ("train@3", "")),
        model(3, ("train", "sha256:3")),
        model(2, ("other@3", "")),
        model(1),
    )

    assert peer.models_trained_on("default", "train", [2, 3]) == [
        TrainedModel("fraud", 5, "train", 3),
        TrainedModel("fraud", 4, "train", 3),
    ]
    with pytest.raises(RegistryUnavailable):
        RegistryPeer(None, 0).models_trained_on("default", "train", [3])


class Known:
    """What the lineage asks."""

    def view_version(self, project: str, name: str) -> ViewVersion:
        return VIEW

    def service_uses(self, view_id: str, limit: int) -> list[ServiceUse]:
        return [ServiceUse("scoring", 4, 1)]

    def uses(self, view_id: str, limit: int) -> list[TrainingSetUse]:
        return [TrainingSetUse("set", "train", 3, 2)]

    def dataset_or_none(self, project: str, name: str) -> Any:
        return VIEW if name == "orders" else None


def lineage_for(permissions: Collection[str], peer: RegistryPeer) -> Any:
    known: Any = Known()
    caller = Principal("ada", "ada", "user", {"default": frozenset(permissions)})
    return Lineage(known, known, known, peer, lambda: caller)("default", "spending")


def test_a_view_is_followed_from_what_it_is_computed_of_to_the_models() -> None:
    found = lineage_for(["registry.models.read"], registry(model(5, ("train@3", ""))))

    assert [(each.dataset, each.HasField("version"), each.pipeline, list(each.input_datasets)) for each in found.datasets] == [
        ("spending-v2", False, "spending-v2", ["orders"]),
        ("orders", True, "", []),
    ]
    assert [(each.service, each.version, each.view_version) for each in found.services] == [("scoring", 4, 1)]
    assert [(each.model, each.version, each.training_set_id) for each in found.models] == [("fraud", 5, "set")]


def test_who_may_not_read_models_is_told_of_none() -> None:
    assert not lineage_for(["features.*"], registry(model(5, ("train@3", "")))).models
    assert not lineage_for(["registry.models.read"], RegistryPeer(None, 0)).models
