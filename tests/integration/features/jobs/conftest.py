"""Real features, processing and ingestion servers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.features.jobs.fed import Fed, fed
from tests.integration.ingestion.server.places import FolderPlace
from tests.integration.ingestion.server.served import small_mesh
from tests.integration.processing.server.served import ServedProcessing, served


# Of a module: its callers' tokens last a quarter of an hour, and other files may run between two of this folder.
@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedProcessing]:
    """Processing and ingestion, on SQLite and folders."""
    with small_mesh() as mesh, served(mesh, FolderPlace(tmp_path_factory.mktemp("place"))) as running:
        yield running


@pytest.fixture(scope="module")
def features(others: ServedProcessing) -> Iterator[Fed]:
    """A features server beside them."""
    with fed(others) as running:
        yield running
