from __future__ import annotations

from collections.abc import Iterator

import mlmesh
import pytest

from tests.integration.client.small_ingestion import SmallIngestion
from tests.integration.client.small_mesh import API_KEY, Scene, serve


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.fixture
def ingestion(scene: Scene) -> SmallIngestion:
    return SmallIngestion(scene)


@pytest.fixture
def url(scene: Scene, ingestion: SmallIngestion) -> Iterator[str]:
    server, address = serve(scene, ingestion.register)
    yield address
    server.stop(None).wait()


@pytest.fixture
def mesh(url: str) -> Iterator[mlmesh.Mesh]:
    with mlmesh.connect(url, api_key=API_KEY) as connection:
        yield connection
