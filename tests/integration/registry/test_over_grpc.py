"""The shared class through the gateway: `create_registry("grpc")` over a whole mesh."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.registry_behaviour import RegistryBehaviour
from tests.registry_racer import RegistrySpec
from tests.whole_mesh import whole_mesh


class TestOverGrpc(RegistryBehaviour):
    @pytest.fixture(scope="class")
    @classmethod
    def spec(cls) -> Iterator[RegistrySpec]:
        with whole_mesh() as mesh:
            yield RegistrySpec("grpc", {"url": mesh.url, "token": mesh.token})
