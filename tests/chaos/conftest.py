from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.whole_mesh import Iris, WholeMesh, save_iris, whole_mesh

# Every kill counts as the first in a long time, and a pause before a restart would be longer than any test waits.
PATIENCE = {
    "MLMESH_MESH_STABLE_AFTER_S": "0.1",
    "MLMESH_MESH_SECOND_RESTART_DELAY_S": "3600",
    "MLMESH_MESH_LONGEST_RESTART_DELAY_S": "3600",
}


@pytest.fixture(scope="module")
def mesh() -> Iterator[WholeMesh]:
    with whole_mesh(PATIENCE) as running:
        yield running


@pytest.fixture(scope="module")
def iris(mesh: WholeMesh) -> Iris:
    return save_iris(mesh)
