from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from sqlalchemy import Engine

from servers.runtime.work import NewTask, Task, TaskState, TaskTable
from sql_engine import write
from tests.integration.runtime.waiting import eventually

HERE = Path(__file__).parent
Start = Callable[[str, str], "subprocess.Popen[bytes]"]


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, open_tasks: Callable[[str], AbstractContextManager[Engine]]) -> Iterator[Engine]:
    with open_tasks(request.param) as engine:
        yield engine


@pytest.fixture
def start(engine: Engine, tmp_path: Path) -> Iterator[Start]:
    """Starts a process with workers; kills it after the test."""
    processes: list[subprocess.Popen[bytes]] = []
    url = engine.url.render_as_string(hide_password=False)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}

    def begin(owner: str, way: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, str(HERE / "work_process.py"), str(tmp_path), url, owner, way]
        processes.append(subprocess.Popen(command, env=environment))
        return processes[-1]

    yield begin
    for process in processes:
        process.kill()
        process.wait()


def test_what_a_killed_process_did_another_one_finishes(engine: Engine, start: Start) -> None:
    tasks = TaskTable(engine)
    write(engine, lambda connection: tasks.enqueue(connection, NewTask(task_id="task-1", kind="ingest", payload={})))

    def found() -> Task:
        task = tasks.get("task-1")
        assert task is not None
        return task

    first = start("first", "hang")
    eventually(lambda: found().progress, timeout_s=60)
    start("second", "finish")
    # The second is alive, and does not take what the first one has: it does something else, and meanwhile the lease is renewed twice.
    write(engine, lambda connection: tasks.enqueue(connection, NewTask(task_id="task-2", kind="ingest", payload={})))
    eventually(lambda: (other := tasks.get("task-2")) is not None and other.state is TaskState.SUCCEEDED, timeout_s=60)
    lease_end = found().lease_end
    eventually(lambda: (found().lease_end - lease_end).total_seconds() > 3)  # type: ignore[operator]
    assert (found().owner, found().fence) == ("first", 1)

    os.kill(first.pid, signal.SIGKILL)

    done = eventually(lambda: found() if found().state is TaskState.SUCCEEDED else None, timeout_s=60)
    assert (done.result, done.attempt, done.fence) == ({"owner": "second"}, 2, 2)
