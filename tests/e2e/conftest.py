from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.whole_mesh import Iris, WholeMesh, save_iris, whole_mesh


@pytest.fixture(scope="session")
def landing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder whose files the mesh may ingest."""
    return tmp_path_factory.mktemp("landing")


@pytest.fixture(scope="session")
def mesh(landing: Path) -> Iterator[WholeMesh]:
    with whole_mesh({"MLMESH_INGESTION_ALLOWED_SOURCES": json.dumps([landing.as_uri()])}) as running:
        yield running


@pytest.fixture(scope="session")
def iris(mesh: WholeMesh) -> Iris:
    return save_iris(mesh)
