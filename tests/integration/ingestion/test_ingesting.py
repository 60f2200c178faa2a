"""What becomes of an ingestion whose data process fails, by how it fails."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from servers.ingestion.data_process import DataProcessDied, DataProcessUnavailable
from servers.ingestion.ingesting import KIND, Ingesting
from servers.ingestion.inputs import Input
from servers.ingestion.records import Ingestion, NewIngestion, State
from servers.ingestion.settings import IngestionSettings
from servers.ingestion.store import Datasets, Ingestions, Uploads, open_store
from servers.runtime.work import TaskTable, Workers, WorkSettings

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

    def run(self, _operation: str, arguments: Any, **_options: Any) -> dict[str, Any]:
        self.seen.append(Path(arguments["source"]["path"]).read_bytes())
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
    subject = Ingesting(engine, tasks, ingestions, Datasets(engine), processes, Uploads(engine))  # type: ignore[arg-type]
    workers = Workers(tasks, owner="life", settings=WorkSettings(first_retry_s=0.01, poll_interval_s=0.02))
    workers.register(KIND, subject.work)
    workers.start()
    yield subject
    workers.stop()
    engine.dispose()


def ended(ingesting: Ingesting) -> Ingestion:
    request = {"source": {"kind": "given", "name": "a.csv"}}
    new = NewIngestion("one", "default", "flights", "a.csv", "APPEND", request, "ada", datetime.now(UTC))
    ingesting.start(new, Input(b"id", "a.csv"))
    return ingesting.wait("default", "one", 30, lambda: False)


def test_what_may_pass_is_tried_again_with_the_same_data(ingesting: Ingesting, processes: Processes) -> None:
    processes.failures = [DataProcessUnavailable("it cannot be started (no memory)")]

    ingestion = ended(ingesting)

    assert (ingestion.state, ingestion.outcome["rows_written"]) == (State.SUCCEEDED, 1)
    assert processes.seen == [b"id", b"id"]


def test_what_does_not_pass_ends_it_with_its_code(ingesting: Ingesting, processes: Processes) -> None:
    processes.failures = [DataProcessDied("died")]

    ingestion = ended(ingesting)

    assert (ingestion.state, ingestion.error_reason, ingestion.outcome["error_code"]) == (State.FAILED, "DATA_PROCESS_DIED", 13)
    assert len(processes.seen) == 1
