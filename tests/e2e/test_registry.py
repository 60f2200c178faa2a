"""The library's registry over a mesh keeps every promise that it keeps on its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_management import create_registry
from model_management.errors import InvalidValue
from tests.registry_behaviour import RegistryBehaviour
from tests.registry_racer import RegistrySpec
from tests.whole_mesh import WholeMesh


class TestGrpc(RegistryBehaviour):
    @pytest.fixture(scope="class")
    @classmethod
    def spec(cls, mesh: WholeMesh) -> RegistrySpec:
        return RegistrySpec("grpc", {"url": mesh.url, "token": (mesh.data_dir / "token").read_text().strip()})


def test_a_bearer_token_opens_it_too(mesh: WholeMesh, tmp_path: Path) -> None:
    (tmp_path / "weights").write_text("w")
    with create_registry("grpc", url=mesh.url, token=mesh.token) as registry:
        assert registry.save_model(tmp_path, "by-token").creator == "admin"


def test_a_tag_with_signs_of_the_filter_grammar_is_found(mesh: WholeMesh) -> None:
    with create_registry("grpc", url=mesh.url, token=mesh.token) as registry:
        registry.create_model("odd", tags={'a "quoted" key': "50% \\ *"})
        registry.create_model("even", tags={'a "quoted" key': "50% \\ more"})
        found = registry.metadata_backend.backend.find_models_by_tag('a "quoted" key', "50% \\ *")
        assert [model.name for model in found] == ["odd"]


def test_what_a_mesh_cannot_be_asked_is_said(mesh: WholeMesh) -> None:
    with create_registry("grpc", url=mesh.url, token=mesh.token) as registry, pytest.raises(InvalidValue, match="one model at a time"):
        registry.list_versions(include_deleted=True)
