from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.whole_mesh import Iris, WholeMesh, save_iris, whole_mesh


@pytest.fixture(scope="module")
def mesh() -> Iterator[WholeMesh]:
    with whole_mesh() as running:
        yield running


@pytest.fixture(scope="module")
def iris(mesh: WholeMesh) -> Iris:
    return save_iris(mesh)
