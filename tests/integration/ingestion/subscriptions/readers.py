"""Readers of topics as the server starts them: the operation `consume` in a data process."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from demo.real_servers.kafka import Kafka
from servers.ingestion.data_process import DataProcesses, DataProcessSettings
from servers.ingestion.quarantine.filtering import order
from servers.ingestion.tables import Tables
from servers.runtime.errors import DomainError
from tests.integration.ingestion.tables.deliveries import rows_of
from tests.integration.runtime.waiting import eventually

PATIENCE_S = 60.0
PROJECT, DATASET = "p", "d"


@contextmanager
def processes_in(folder: Path) -> Iterator[DataProcesses]:
    """A pool of data processes whose tables are in a folder."""
    pool = DataProcesses(DataProcessSettings(tables_url=(folder / "tables").as_uri(), scratch_folder=folder / "scratch", most_processes=4))
    try:
        yield pool
    finally:
        pool.close()


class Reader:
    """A subscription at work, without a server.

    Args:
        processes: Where it works.
        kafka: What it reads.
        arguments: Of `consume`, other than the usual ones.
    """

    def __init__(self, processes: DataProcesses, kafka: Kafka, **arguments: Any) -> None:
        self._processes = processes
        self._stop_file = processes.scratch_folder / f"stop-{uuid.uuid4().hex}"
        self._is_killed = False
        self.error: DomainError | None = None
        self.told: list[Mapping[str, Any]] = []
        self.arguments: dict[str, Any] = {
            "project": PROJECT,
            "dataset": DATASET,
            "subscription": "s",
            "cluster": "main",
            "properties": {**kafka.properties, "topic.metadata.refresh.interval.ms": "500"},
            "topics": ["t"],
            "group": "g",
            "payload": {"format": "JSON"},
            "mode": "APPEND",
            "keys": [],
            "contract": {},
            "unreadable": "DISCARD_ROW",
            "start": "EARLIEST",
            "commit_interval_s": 0.1,
            "known": [],
            "is_started": False,
            "accepts_loss": False,
            "most_rows": 50_000,
            "most_bytes": 32 << 20,
            "commits_between_compactions": 100,
            "patience_s": 3.0,
            "stop_file": str(self._stop_file),
            **arguments,
        }
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._processes.run("consume", self.arguments, check=self._check, on_progress=self.told.append)
        except _Killed:
            pass
        except DomainError as error:
            self.error = error
            print(f"a reader ended: {error.reason}: {error.message}")

    def _check(self) -> None:
        if self._is_killed:
            raise _Killed

    def stop(self) -> None:
        """Ask it to end, and wait until it has."""
        self._stop_file.touch()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()

    def kill(self) -> None:
        """Kill its process."""
        self._is_killed = True
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()

    def wait_for_end(self) -> DomainError:
        """Wait until it ends by itself, and return its error."""
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        assert self.error is not None
        return self.error

    def positions(self) -> dict[tuple[str, int], list[int]]:
        """What was last told of each partition: next offset, what the dataset has, end."""
        return {(entry[0], entry[1]): entry[2:] for told in self.told for entry in told["partitions"]}

    def known(self) -> list[list[Any]]:
        """The positions as the next reader is told of them."""
        return [[*partition, *position[:2]] for partition, position in self.positions().items()]

    def count(self, what: str) -> int:
        """Rows that were told of as written, or rejected."""
        return sum(told[what] for told in self.told)

    def rejected(self) -> list[Mapping[str, Any]]:
        """What was told of rejected messages."""
        return [each for told in self.told for each in told["rejected"]]

    def has_partitions(self) -> bool:
        """Whether it was given partitions."""
        return bool(self.partition_counts())

    def partition_counts(self) -> set[int]:
        """How many partitions it was told to have had at a time."""
        return {len(told["assigned"]) for told in self.told if told.get("assigned")}


class _Killed(Exception):
    pass


@contextmanager
def reading(processes: DataProcesses, kafka: Kafka, **arguments: Any) -> Iterator[Reader]:
    """A reader that is stopped at the end."""
    reader = Reader(processes, kafka, **arguments)
    try:
        yield reader
    finally:
        reader.stop()


def quarantined(processes: DataProcesses, filter: str = "") -> list[Mapping[str, Any]]:
    """The rows in quarantine, in the order in which they were left out."""
    wanted = {"filter": filter, "order": order("quarantine_time"), "after": None, "limit": 1000}
    found: list[Mapping[str, Any]] = processes.run("list_quarantined", {"project": PROJECT, "dataset": DATASET, **wanted})["rows"]
    return found


def rows_in(folder: Path) -> list[dict[str, Any]]:
    """Rows of the dataset; none where there is no table."""
    table = Tables((folder / "tables").as_uri()).table(PROJECT, DATASET)
    return rows_of(table) if table.exists() else []


def until_rows(folder: Path, count: int) -> None:
    """Wait until the dataset has so many rows, or more."""
    eventually(lambda: len(rows_in(folder)) >= count, PATIENCE_S)
