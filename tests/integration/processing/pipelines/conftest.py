"""Real processing and ingestion servers in two shapes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.ingestion.server.served import Mesh
from tests.integration.processing.pipelines.piped import Piped, piped
from tests.integration.processing.server.conftest import local, mesh, s3_access, server
from tests.integration.processing.server.served import ServedProcessing

__all__ = ["Mesh", "local", "mesh", "s3_access", "server"]


@pytest.fixture(scope="module")
def pipes(server: ServedProcessing) -> Iterator[Piped]:
    """Pipelines on SQLite and folders, and on PostgreSQL and S3."""
    with piped(server) as running:
        yield running


@pytest.fixture(scope="module")
def local_pipes(local: ServedProcessing) -> Iterator[Piped]:
    """Pipelines on SQLite and folders."""
    with piped(local) as running:
        yield running
