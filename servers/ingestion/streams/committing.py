"""Batches become commits of a dataset, in a data process."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Engine

from servers.ingestion.catalogue import dataset_of
from servers.ingestion.data_process import DataProcessDied, DataProcesses, DataProcessOutOfMemory, OperationFailed
from servers.ingestion.store import Datasets
from servers.ingestion.streams.errors import SequenceGap
from servers.ingestion.streams.incoming import WaitingBatch
from servers.ingestion.streams.target import Target
from servers.runtime.data_process.errors import OutOfMemory
from servers.runtime.data_process.messages import facts_of
from servers.runtime.errors import DomainError
from sql_engine import write

_LOGGER = logging.getLogger(__name__)

Check = Callable[[], None]
"""Called now and then during a commit; ends it by an exception."""

_DEATHS = frozenset({DataProcessDied.reason, DataProcessOutOfMemory.reason, OutOfMemory.reason, "INTERNAL"})
"""Reasons of errors that end a data process. Somebody may have killed it, so they are no proof against a batch."""

_ATTEMPTS = 3
"""How often a batch may end its process."""

_LOOK_S = 0.1


class Committing:
    """Writes the batches of streams.

    Args:
        engine: The component's database.
        datasets: What is known of datasets.
        processes: Where data are written.
        most_commits: How many at the same time.
        most_rows: Most rows of a batch.
        most_small_files: Small files of a dataset from which on they are joined.
    """

    def __init__(
        self, engine: Engine, datasets: Datasets, processes: DataProcesses, *, most_commits: int, most_rows: int, most_small_files: int
    ) -> None:
        self._most_small_files = most_small_files
        self._fragmented: set[tuple[str, str]] = set()
        self._lock = threading.Lock()
        self._engine = engine
        self._datasets = datasets
        self._processes = processes
        self._places = threading.Semaphore(most_commits)
        self._most_rows = most_rows

    def position(self, target: Target, check: Check) -> tuple[int, int | None]:
        """Returns the last batch of a producer that is in its dataset, 0 where there is none, and the dataset's version.

        Raises:
            OperationFailed: The target cannot be written to, or its storage does not answer.
        """
        found = self._patiently("position", target, [], check)
        self._record(target, found["dataset"])
        return int(found["last_sequence"]), None if found["dataset"] is None else int(found["dataset"]["version"])

    def acknowledged(self, target: Target, batches: Sequence[WaitingBatch], check: Check) -> Iterator[Mapping[str, Any]]:
        """Writes batches, in as few commits as they allow, and gives what each is acknowledged with.

        Args:
            target: Where to.
            batches: In their order.
            check: Called now and then.

        Raises:
            OperationFailed: A batch cannot be written; those before it are, and were given.
        """
        try:
            outcome = self._run("append", target, batches, check)
        except DomainError as error:
            if error.reason not in _DEATHS:
                raise
        else:
            yield from self._told(target, outcome)
            return
        for batch in batches:
            try:
                outcome = self._patiently("append", target, [batch], check)
            except DomainError as error:
                raise _of_batch(facts_of(error), batch.sequence) from error
            yield from self._told(target, outcome)

    def join_small_files(self, target: Target, check: Check) -> None:
        """Joins the small files of a dataset, where commits have made many. That it fails is no matter of the stream's.

        Args:
            target: The dataset.
            check: Called now and then.
        """
        place = (target.project, target.dataset)
        with self._lock:
            if place not in self._fragmented:
                return
            # Of several streams one does it.
            self._fragmented.remove(place)
        try:
            self._record(target, self._run("compact", target, [], check)["dataset"])
        except DomainError as error:
            _LOGGER.warning("the small files of dataset %s/%s are not joined: %s", *place, error.message)

    def _patiently(self, operation: str, target: Target, batches: Sequence[WaitingBatch], check: Check) -> Mapping[str, Any]:
        for _ in range(_ATTEMPTS - 1):
            try:
                return self._run(operation, target, batches, check)
            except DomainError as error:
                if error.reason not in _DEATHS:
                    raise
        return self._run(operation, target, batches, check)

    def _run(self, operation: str, target: Target, batches: Sequence[WaitingBatch], check: Check) -> Mapping[str, Any]:
        arguments = {**target.described(), "most_rows": self._most_rows, "batches": [batch.described() for batch in batches]}
        check()
        while not self._places.acquire(timeout=_LOOK_S):
            check()
        try:
            found: Mapping[str, Any] = self._processes.run(operation, arguments, check=check)
        finally:
            self._places.release()
        return found

    def _told(self, target: Target, outcome: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        self._record(target, outcome["dataset"])
        yield from outcome["acknowledged"]
        if (failed := outcome["failed"]) is not None:
            raise _of_batch(failed["error"], failed["sequence"])

    def _record(self, target: Target, described: Mapping[str, Any] | None) -> None:
        if described is not None:
            if described["small_file_count"] >= self._most_small_files:
                with self._lock:
                    self._fragmented.add((target.project, target.dataset))
            found = dataset_of(target.project, target.dataset, described)
            write(self._engine, lambda connection: self._datasets.put(connection, found))


def _of_batch(facts: Mapping[str, Any], sequence: int) -> OperationFailed:
    message = facts["message"] if facts["reason"] == SequenceGap.reason else f"batch {sequence}: {facts['message']}"
    return OperationFailed.described_by({**facts, "message": message, "metadata": {**facts["metadata"], "sequence": str(sequence)}})
