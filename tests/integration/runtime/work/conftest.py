from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, delete

from servers.runtime.database import open_database
from servers.runtime.settings import ServerSettings
from servers.runtime.work import TaskTable
from servers.runtime.work.task_rows import tasks as rows

DATABASES = ["sqlite", "postgresql", pytest.param("mariadb", marks=pytest.mark.system_package)]


class Clock:
    """Time that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture(scope="session")
def open_tasks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], AbstractContextManager[Engine]]:
    """Opens an empty database of a kind, with the runtime's tables."""

    @contextmanager
    def opened(kind: str) -> Iterator[Engine]:
        folder: Path = tmp_path_factory.mktemp("work")
        url = "" if kind == "sqlite" else request.getfixturevalue(kind).new_database()
        engine = open_database(ServerSettings(data_dir=folder, database_url=url))
        yield engine
        engine.dispose()

    return opened


@pytest.fixture(scope="module", params=DATABASES)
def migrated(request: pytest.FixtureRequest, open_tasks: Callable[[str], AbstractContextManager[Engine]]) -> Iterator[Engine]:
    with open_tasks(request.param) as engine:
        yield engine


@pytest.fixture
def engine(migrated: Engine) -> Engine:
    """A database without tasks."""
    with migrated.begin() as connection:
        connection.execute(delete(rows))
    return migrated


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tasks(engine: Engine, clock: Clock) -> TaskTable:
    return TaskTable(engine, clock=clock)
