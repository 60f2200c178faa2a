"""Stores in SQLite, PostgreSQL and MariaDB."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine, delete

from servers.ingestion.settings import IngestionSettings
from servers.ingestion.store import Datasets, Ingestions, open_store
from servers.ingestion.store.tables import METADATA
from servers.runtime.work import TaskTable
from servers.runtime.work.task_rows import tasks as task_rows
from tests.integration.ingestion.store.lives import Lives
from tests.integration.runtime.work.conftest import DATABASES, Clock

OpenedStores = Callable[[str], AbstractContextManager[Engine]]


@pytest.fixture(scope="session")
def opened_store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> OpenedStores:
    """Opens an empty store in a database of a kind."""

    @contextmanager
    def opened(kind: str) -> Iterator[Engine]:
        folder: Path = tmp_path_factory.mktemp("store")
        url = "" if kind == "sqlite" else request.getfixturevalue(kind).new_database()
        engine = open_store(IngestionSettings(data_dir=folder, database_url=url))
        yield engine
        engine.dispose()

    return opened


@pytest.fixture(scope="module", params=DATABASES)
def migrated(request: pytest.FixtureRequest, opened_store: OpenedStores) -> Iterator[Engine]:
    with opened_store(request.param) as engine:
        yield engine


@pytest.fixture
def engine(migrated: Engine) -> Engine:
    """A store with nothing in it."""
    with migrated.begin() as connection:
        for table in (*reversed(METADATA.sorted_tables), task_rows):
            connection.execute(delete(table))
    return migrated


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ingestions(engine: Engine) -> Ingestions:
    return Ingestions(engine)


@pytest.fixture
def datasets(engine: Engine) -> Datasets:
    return Datasets(engine)


@pytest.fixture
def tasks(engine: Engine, ingestions: Ingestions, clock: Clock) -> TaskTable:
    return TaskTable(engine, clock=clock, on_end=ingestions.end)


@pytest.fixture
def lives(engine: Engine, ingestions: Ingestions, tasks: TaskTable, clock: Clock) -> Lives:
    return Lives(engine, ingestions, tasks, clock)
