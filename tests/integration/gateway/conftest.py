from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.gateway.mesh_in_memory import GatewayUnderTest, short_folder


@pytest.fixture(scope="package", params=[False, True], ids=["grpcio", "lane"])
def has_lanes(request: pytest.FixtureRequest) -> bool:
    """Whether the mesh of a test has lanes: what a caller sees must not depend on it."""
    return bool(request.param)


@pytest.fixture(scope="package")
def shared_gateway(has_lanes: bool) -> Iterator[GatewayUnderTest]:
    with short_folder() as folder:
        origins = ("https://console.example.org",)
        gateway = GatewayUnderTest(folder, has_lanes=has_lanes, allowed_origins=origins, max_body_bytes=2 << 20)
        try:
            yield gateway.start()
        finally:
            gateway.stop()


@pytest.fixture
def gateway(shared_gateway: GatewayUnderTest) -> GatewayUnderTest:
    shared_gateway.forget()
    return shared_gateway
