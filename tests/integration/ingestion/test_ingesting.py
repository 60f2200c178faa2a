"""What becomes of an ingestion whose data process fails, by how it fails."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from servers.ingestion.data_process import DataProcessDied, DataProcesses, DataProcessSettings, DataProcessUnavailable
from servers.ingestion.errors import TooManyIngestions
from servers.ingestion.ingesting import KIND, Ingesting
from servers.ingestion.inputs import Input
from servers.ingestion.records import Ingestion, NewIngestion
from servers.ingestion.settings import IngestionSettings
from servers.ingestion.store import Datasets, Ingestions, Uploads, open_store
from servers.ingestion.waiting import WaitingCalls
from servers.runtime.work import Cancelled, TaskTable, Workers, WorkSettings
from servers.runtime.work.job_state import JobState

GIVEN = b"id\n1\n"
DONE = {
    **{"rows_read": 1, "rows_written": 1, "rows_updated": 0, "rows_rejected": 0, "version": 1, "is_refused": False, "validation": None},
    "dataset": {"version": 1, "columns": [["id", "int64"]], "row_count": 1, "size_bytes": 9, "update_time": "2026-11-27T12:00:00+00:00"},
}


class Processes:
    """Fails as it is told, once, and then does what is asked."""

    def __init__(self, folder: Path) -> None:
        self.scratch_folder = folder
        self.failures: list[Exception] = []
        self.seen: list[bytes] = []
        self.seen_versions: list[int | None] = []
        self.delivered: dict[str, Any] | None = None
        self.says_nothing = False

    def run(self, operation: str, arguments: Any, check: Callable[[], None], **_options: Any) -> dict[str, Any] | None:
        if operation == "delivered":
            while self.says_nothing:
                check()
            return self.delivered
        self.seen.append(Path(arguments["source"]["path"]).read_bytes())
        self.seen_versions.append(arguments["seen_version"])
        if self.failures:
            raise self.failures.pop()
        return dict(DONE)


@pytest.fixture
def processes(tmp_path: Path) -> Processes:
    return Processes(tmp_path)


@pytest.fixture
def ingesting(tmp_path: Path, processes: Processes) -> Iterator[Ingesting]:
    with working(tmp_path, processes) as subject:
        yield subject


@contextmanager
def working(tmp_path: Path, processes: Any, most_unended: int = 1000) -> Iterator[Ingesting]:
    engine = open_store(IngestionSettings(data_dir=tmp_path / "data"))
    ingestions = Ingestions(engine)
    tasks = TaskTable(engine, on_end=ingestions.end)
    subject = Ingesting(engine, tasks, ingestions, Datasets(engine), processes, Uploads(engine), WaitingCalls(1), most_unended)
    workers = Workers(tasks, owner="life", settings=WorkSettings(first_retry_s=0.01, poll_interval_s=0.02))
    workers.register(KIND, subject.work)
    workers.start()
    yield subject
    workers.stop()
    engine.dispose()


def ended(ingesting: Ingesting, ingestion_id: str = "one") -> Ingestion:
    request = {"source": {"kind": "given", "name": "a.csv"}, "mode": "APPEND"}
    new = NewIngestion(ingestion_id, "default", "flights", "a.csv", "APPEND", request, "ada", datetime.now(UTC))
    ingesting.start(new, Input(GIVEN, "a.csv"))
    return ingesting.wait("default", ingestion_id, 120, lambda: False)


def test_of_many_calls_that_wait_those_beyond_the_limit_are_answered_at_once(ingesting: Ingesting, processes: Processes) -> None:
    processes.failures = [DataProcessUnavailable("none")] * 1_000_000
    waits, may_end = threading.Event(), threading.Event()

    def is_over() -> bool:
        waits.set()
        return may_end.is_set()

    request = {"source": {"kind": "given", "name": "a.csv"}}
    ingesting.start(NewIngestion("one", "default", "flights", "a.csv", "APPEND", request, "ada", datetime.now(UTC)), Input(b"id", "a.csv"))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(ingesting.wait, "default", "one", 600, is_over)
        assert waits.wait(60)
        # Nobody says that it is over, and it has not ended.
        assert not ingesting.wait("default", "one", 600, lambda: False).state.is_final
        assert not first.done()
        may_end.set()
        assert not first.result().state.is_final
    # The place is free again.
    assert ingesting.cancel("default", "one")
    processes.failures = []
    assert ingesting.wait("default", "one", 60, lambda: False).state.is_final


def test_a_project_has_no_more_ingestions_that_wait_than_it_may(tmp_path: Path, processes: Processes) -> None:
    processes.failures = [DataProcessUnavailable("none")] * 1_000_000
    with working(tmp_path, processes, most_unended=2) as ingesting:

        def start(ingestion_id: str, project: str = "default") -> None:
            request = {"source": {"kind": "given", "name": "a.csv"}}
            new = NewIngestion(ingestion_id, project, "flights", "a.csv", "APPEND", request, "ada", datetime.now(UTC))
            ingesting.start(new, Input(GIVEN, "a.csv"))

        start("one")
        start("two")
        with pytest.raises(TooManyIngestions, match="2 ingestions of project 'default' have not ended"):
            start("three")
        start("four", "another")
        processes.failures = []
        assert ingesting.wait("default", "one", 60, lambda: False).state is JobState.SUCCEEDED
        start("three")
        assert ingesting.wait("default", "three", 60, lambda: False).state is JobState.SUCCEEDED


def test_what_may_pass_is_tried_again_with_the_same_data(ingesting: Ingesting, processes: Processes) -> None:
    processes.failures = [DataProcessUnavailable("it cannot be started (no memory)")]

    ingestion = ended(ingesting)

    assert (ingestion.state, ingestion.outcome["rows_written"]) == (JobState.SUCCEEDED, 1)
    assert processes.seen == [GIVEN, GIVEN]
    assert processes.seen_versions == [None, None]


def test_an_ingestion_sees_the_columns_as_they_are_when_it_is_asked_for(ingesting: Ingesting, processes: Processes) -> None:
    ended(ingesting)
    ended(ingesting, "two")
    assert processes.seen_versions == [None, 1]


def test_what_does_not_pass_ends_it_with_its_code(ingesting: Ingesting, processes: Processes) -> None:
    processes.failures = [DataProcessDied("died")]

    ingestion = ended(ingesting)

    assert (ingestion.state, ingestion.error_reason, ingestion.outcome["error_code"]) == (JobState.FAILED, "DATA_PROCESS_DIED", 13)
    assert len(processes.seen) == 1


@pytest.mark.parametrize("ending", [DataProcessDied("died"), Cancelled("somebody asked for its end")])
def test_what_ended_after_its_commit_has_succeeded(ingesting: Ingesting, processes: Processes, ending: Exception) -> None:
    processes.failures, processes.delivered = [ending], dict(DONE) | {"rows_written": 7}

    ingestion = ended(ingesting)

    assert (ingestion.state, ingestion.outcome["rows_written"]) == (JobState.SUCCEEDED, 7)
    assert len(processes.seen) == 1


@pytest.mark.parametrize(
    ("ending", "state", "attempts"),
    [(Cancelled("somebody asked for its end"), JobState.CANCELLED, 1), (DataProcessDied("died"), JobState.SUCCEEDED, 2)],
)
def test_nobody_waits_for_storage_that_does_not_say_what_was_written(
    ingesting: Ingesting, processes: Processes, monkeypatch: pytest.MonkeyPatch, ending: Exception, state: JobState, attempts: int
) -> None:
    """What was cancelled stays so, and what died is tried again, which writes once."""
    monkeypatch.setattr("servers.ingestion.ingesting._LOOK_PATIENCE_S", 0.05)
    processes.failures, processes.says_nothing = [ending], True

    ingestion = ended(ingesting)

    assert (ingestion.state, ingestion.error_reason, len(processes.seen)) == (state, "", attempts)


# A data process that the kernel kills once its rows are written, and before it can say so.
KILLED_AFTER_COMMIT = """
import os, runpy, signal
from servers.ingestion.tables import DatasetTable

def kill(*_arguments, **_named):
    os.kill(os.getpid(), signal.SIGKILL)

write = DatasetTable.write
DatasetTable.write = lambda *arguments, **named: kill(write(*arguments, **named))
runpy.run_module("servers.ingestion.data_process", run_name="__main__")
"""


def test_the_kernel_may_kill_a_process_that_has_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("servers.ingestion.data_process.processes.PROGRAM", (sys.executable, "-P", "-c", KILLED_AFTER_COMMIT))
    data = DataProcesses(DataProcessSettings(tables_url=(tmp_path / "tables").as_uri(), scratch_folder=tmp_path / "scratch"))
    with working(tmp_path, data) as ingesting:
        ingestion = ended(ingesting)
        described = data.run("describe", {"project": "default", "dataset": "flights"})
    data.close()

    assert (ingestion.state, ingestion.outcome["rows_read"], ingestion.outcome["rows_written"]) == (JobState.SUCCEEDED, 1, 1)
    assert (described["row_count"], described["version"]) == (1, ingestion.outcome["version"])
