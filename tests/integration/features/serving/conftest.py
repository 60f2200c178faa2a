"""A server of features."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.features.serving.served import ServedFeatures, served


@pytest.fixture(scope="module")
def features() -> Iterator[ServedFeatures]:
    """Over SQLite and LMDB; ingestion is a note of what it was given."""
    folder = Path(tempfile.mkdtemp(prefix="mlm-"))  # short: sockets have a limit of 100 bytes
    with served(folder) as running:
        yield running
    shutil.rmtree(folder, ignore_errors=True)
