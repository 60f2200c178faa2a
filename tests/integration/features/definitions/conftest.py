"""Databases with the tables of the feature store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from servers.features.settings import FeaturesSettings
from servers.features.store.opening import open_store
from tests.integration.features.definitions.stored import Stored


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """SQLite and PostgreSQL."""
    folder: Path = tmp_path_factory.mktemp("features")
    url = "" if request.param == "sqlite" else request.getfixturevalue("postgresql").new_database()
    opened = open_store(FeaturesSettings(data_dir=folder, database_url=url))
    yield opened
    opened.dispose()


@pytest.fixture
def stored(engine: Engine) -> Stored:
    """A project of its own."""
    return Stored(engine)
