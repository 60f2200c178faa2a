"""One mesh for all tests here that need none of their own; it ends with the last of them, since an idle one takes time from the others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.whole_mesh import Iris, WholeMesh, save_iris, whole_mesh


@pytest.fixture(scope="package")
def landing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder whose files the mesh may ingest."""
    return tmp_path_factory.mktemp("landing")


@pytest.fixture(scope="package")
def mesh_and_idle_bytes(landing: Path) -> Iterator[tuple[WholeMesh, int]]:
    with whole_mesh({"MLMESH_INGESTION_ALLOWED_SOURCES": json.dumps([landing.as_uri()])}) as running:
        yield running, running.memory_bytes()


@pytest.fixture(scope="package")
def mesh(mesh_and_idle_bytes: tuple[WholeMesh, int]) -> WholeMesh:
    return mesh_and_idle_bytes[0]


@pytest.fixture(scope="package")
def idle_bytes(mesh_and_idle_bytes: tuple[WholeMesh, int]) -> int:
    """The memory that the mesh took before anybody called it."""
    return mesh_and_idle_bytes[1]


@pytest.fixture(scope="package")
def iris(mesh: WholeMesh) -> Iris:
    return save_iris(mesh)
