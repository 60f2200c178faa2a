from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import tritonclient.grpc
import tritonclient.http
from mesh import GRPC, HTTP
from transports import TRANSPORTS, Transport


@pytest.fixture(scope="session")
def grpc_client() -> Iterator[Any]:
    with tritonclient.grpc.InferenceServerClient(GRPC) as client:
        yield client


@pytest.fixture(scope="session")
def http_client() -> Iterator[Any]:
    with tritonclient.http.InferenceServerClient(HTTP, concurrency=4, connection_timeout=60, network_timeout=60) as client:
        yield client


@pytest.fixture(params=[pytest.param("grpc"), pytest.param("http", marks=pytest.mark.http)])
def client(request: pytest.FixtureRequest) -> Any:
    """Both clients: their methods have the same names, and answers of the same content."""
    return request.getfixturevalue(f"{request.param}_client")


@pytest.fixture(params=[pytest.param(name, marks=[] if name == "grpc" else [pytest.mark.http]) for name in TRANSPORTS])
def transport(request: pytest.FixtureRequest) -> Transport:
    """Each way in which tensors travel."""
    kind = TRANSPORTS[request.param]
    return kind(request.getfixturevalue("grpc_client" if request.param == "grpc" else "http_client"))
