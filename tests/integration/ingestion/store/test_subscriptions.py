"""What subscriptions keep of what their work tells."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import Any

from sqlalchemy import Engine

from servers.ingestion.store.subscriptions import Subscriptions
from servers.ingestion.subscriptions.records import NewSubscription, State
from servers.ingestion.subscriptions.tasks import new_task
from servers.runtime.work import TaskTable
from sql_engine import write

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WRITTEN: dict[str, Any] = {"partitions": [["t", 0, 5, 5, 9]], "rows_written": 5, "rows_rejected": 1, "rejected": [], "version": 3}


def test_what_is_written_until_a_pause_takes_effect_counts_and_what_was_overtaken_does_not(engine: Engine) -> None:
    subscriptions, tasks = Subscriptions(engine, 10), TaskTable(engine)
    request = {"topics": ["t"], "payload": {}, "keys": [], "contract": {}}
    new = NewSubscription("default", "s", "d", "main", "g", "APPEND", request, "ada", NOW, "first")

    def change(state: State, task_id: str) -> None:
        found = subscriptions.get("default", "s")
        write(engine, lambda connection: tasks.enqueue(connection, new_task(task_id, "default", "d")) if task_id != found.task_id else None)
        assert write(engine, partial(subscriptions.change_state, before=found, state=state, task_id=task_id))

    def tell(task_id: str) -> None:
        write(engine, lambda connection: subscriptions.record(connection, task_id, WRITTEN))

    def add(connection: Any) -> None:
        subscriptions.add(connection, new)
        tasks.enqueue(connection, new_task("first", "default", "d"))

    write(engine, add)
    tell("first")
    change(State.PAUSED, "first")
    tell("first")
    paused = subscriptions.get("default", "s")
    change(State.ACTIVE, "second")
    tell("first")

    assert (paused.state, paused.rows_written, paused.rows_rejected, paused.version) == (State.PAUSED, 10, 2, 3)
    assert subscriptions.get("default", "s").rows_written == 10
