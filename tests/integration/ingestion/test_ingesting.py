"""What becomes of an ingestion whose data process fails, by how it fails."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from servers.ingestion.data_process import DataProcessDied, DataProcessUnavailable
from servers.ingestion.ingesting import KIND, Ingesting
from servers.ingestion.inputs import Input
from servers.ingestion.records import Ingestion, NewIngestion
from servers.ingestion.settings import IngestionSettings
from servers.ingestion.store import Datasets, Ingestions, Uploads, open_store
from servers.ingestion.waiting import WaitingCalls
from servers.runtime.work import TaskTable, Workers, WorkSettings
from servers.runtime.work.job_state import JobState

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

    def run(self, _operation: str, arguments: Any, **_options: Any) -> dict[str, Any]:
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
    engine = open_store(IngestionSettings(data_dir=tmp_path / "data"))
    ingestions = Ingestions(engine)
    tasks = TaskTable(engine, on_end=ingestions.end)
    subject = Ingesting(engine, tasks, ingestions, Datasets(engine), processes, Uploads(engine), WaitingCalls(1))  # type: ignore[arg-type]
    workers = Workers(tasks, owner="life", settings=WorkSettings(first_retry_s=0.01, poll_interval_s=0.02))
    workers.register(KIND, subject.work)
    workers.start()
    yield subject
    workers.stop()
    engine.dispose()


def ended(ingesting: Ingesting, ingestion_id: str = "one") -> Ingestion:
    request = {"source": {"kind": "given", "name": "a.csv"}}
    new = NewIngestion(ingestion_id, "default", "flights", "a.csv", "APPEND", request, "ada", datetime.now(UTC))
    ingesting.start(new, Input(b"id", "a.csv"))
    return ingesting.wait("default", ingestion_id, 30, lambda: False)


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


def test_what_may_pass_is_tried_again_with_the_same_data(ingesting: Ingesting, processes: Processes) -> None:
    processes.failures = [DataProcessUnavailable("it cannot be started (no memory)")]

    ingestion = ended(ingesting)

    assert (ingestion.state, ingestion.outcome["rows_written"]) == (JobState.SUCCEEDED, 1)
    assert processes.seen == [b"id", b"id"]
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
