"""What ends something waits for those that are at it, and misses none."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from servers.ingestion import deleting
from servers.ingestion.deleting import Deleting
from servers.ingestion.records import Dataset
from servers.ingestion.settings import IngestionSettings
from servers.ingestion.store import Datasets, Ingestions, Subscriptions, open_store
from servers.ingestion.subscriptions.records import NewSubscription
from servers.ingestion.subscriptions.subscribing import Subscribing
from servers.ingestion.waiting import WaitingCalls
from servers.runtime.work import TaskState, TaskTable, Workers, WorkSettings
from sql_engine import write
from tests.integration.runtime.waiting import eventually

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    opened = open_store(IngestionSettings(data_dir=tmp_path / "data"))
    yield opened
    opened.dispose()


class BusyIngestions(Ingestions):
    """Somebody writes to every dataset for so many looks."""

    looks = 0
    busy_looks = 0

    def is_any_running(self, _project: str, _dataset: str) -> bool:
        self.looks += 1
        return self.looks <= self.busy_looks


class Processes:
    """Does nothing."""

    def run(self, _operation: str, _arguments: Any, **_options: Any) -> None:
        return None


def test_a_deletion_waits_for_a_long_ingestion_for_as_long_as_it_takes(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deleting, "BUSY_PAUSE_S", 0.001)
    tasks, datasets, ingestions = TaskTable(engine), Datasets(engine), BusyIngestions(engine)
    ingestions.busy_looks = 120
    write(engine, lambda connection: datasets.put(connection, Dataset("default", "flights", 1, (), 0, 0, NOW, NOW)))
    subject = Deleting(engine, tasks, ingestions, datasets, Processes(), lambda: "1")  # type: ignore[arg-type]
    workers = Workers(tasks, owner="life", settings=WorkSettings(poll_interval_s=0.002))
    workers.register(deleting.KIND, subject.work)
    workers.start()
    try:
        task_id = subject.start("default", "flights")
        eventually(lambda: subject.is_done(task_id), 60)
    finally:
        workers.stop()
    assert ingestions.looks == 121


def test_a_subscription_that_is_resumed_while_it_is_deleted_leaves_no_work(engine: Engine) -> None:
    tasks = TaskTable(engine)
    subscriptions = Subscriptions(engine, 10)
    ids = iter(["second", "third"])
    subject = Subscribing(engine, tasks, subscriptions, Processes(), {"main": {}}, lambda: next(ids), WaitingCalls(1))  # type: ignore[arg-type]
    request = {"topics": ["t"], "payload": {}, "keys": [], "contract": {}}
    subject.create(NewSubscription("default", "s", "d", "main", "g", "APPEND", request, "ada", NOW, "first"), lambda: None)
    subject.pause("default", "s", lambda _s: True)
    found = subscriptions.get("default", "s")

    class Overtaken(Subscriptions):
        def get(self, project: str, name: str) -> Any:
            # Somebody else resumes it right after this look.
            subject.resume(project, name)
            return found

    other = Subscribing(engine, tasks, Overtaken(engine, 10), Processes(), {"main": {}}, lambda: next(ids), WaitingCalls(1))  # type: ignore[arg-type]
    other.delete("default", "s", lambda _s: True)
    assert [(task.task_id, task.state) for task in tasks.find(state=TaskState.QUEUED)] == []
