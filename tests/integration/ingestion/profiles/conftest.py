"""The servers of `tests/integration/ingestion/server`, and calls about profiles."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from mlops.ingestion.v1.profile_service_pb2_grpc import DatasetProfileServiceStub

from tests.integration.ingestion.server.conftest import folder_place, mesh, s3_access, server
from tests.integration.ingestion.server.served import Mesh, ServedIngestion, bearing

__all__ = ["folder_place", "mesh", "s3_access", "server"]


@pytest.fixture(scope="module")
def profiles(mesh: Mesh, server: ServedIngestion) -> Iterator[Any]:
    """A stub of the profile service."""
    with grpc.insecure_channel(server.server.address) as channel:
        yield DatasetProfileServiceStub(bearing(channel, mesh))
