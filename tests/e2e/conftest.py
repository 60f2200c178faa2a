from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.whole_mesh import Iris, WholeMesh, save_iris, whole_mesh


@pytest.fixture(scope="session")
def mesh() -> Iterator[WholeMesh]:
    # Schemathesis guesses at logins from one address, faster than anybody may; limits have tests of their own.
    limits = {"AUTH": {"per_second": 10_000, "burst": 10_000}}
    with whole_mesh({"MLMESH_GATEWAY_RATE_LIMITS": json.dumps(limits)}) as running:
        yield running


@pytest.fixture(scope="session")
def iris(mesh: WholeMesh) -> Iris:
    return save_iris(mesh)
