from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.gateway.mesh_in_memory import GatewayUnderTest, short_folder


@pytest.fixture(scope="session")
def shared_gateway() -> Iterator[GatewayUnderTest]:
    with short_folder() as folder:
        gateway = GatewayUnderTest(folder, allowed_origins=("https://console.example.org",), max_body_bytes=2 << 20)
        try:
            yield gateway.start()
        finally:
            gateway.stop()


@pytest.fixture
def gateway(shared_gateway: GatewayUnderTest) -> GatewayUnderTest:
    shared_gateway.forget()
    return shared_gateway
