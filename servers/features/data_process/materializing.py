"""Rows of a dataset on their way into the online store, batch by batch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pyarrow as pa

from servers.features.data_process.errors import ViewColumnMissing
from servers.features.data_process.online_rows import ViewColumns, online_batch
from servers.features.data_process.workplace import Workplace
from servers.runtime.data_process.messages import OnProgress
from servers.runtime.tables.changes import changes
from servers.runtime.tables.dataset import Dataset, open_dataset
from servers.runtime.tables.errors import FullRecomputationNeeded

_TOLD_EVERY_S = 0.5


def compare(workplace: Workplace, arguments: Mapping[str, Any], _on_progress: OnProgress) -> dict[str, Any]:
    """Says what of a dataset has changed since it was materialised.

    Args:
        workplace: Where it is.
        arguments: `uri`, `version`; `old_version` and `table_id` of what was materialised, where something was.

    Returns:
        `table_id`; how many files were `added` and `removed`; `full_reason`: why nobody can say that, empty otherwise.
    """
    uri, version, old_version = arguments["uri"], arguments["version"], arguments["old_version"]
    if old_version is not None:
        try:
            found = changes(uri, old_version, version, workplace.storage, table_id=arguments["table_id"])
        except FullRecomputationNeeded as error:
            return _compared(open_dataset(uri, version, workplace.storage), full_reason=error.because)
        return _compared(found.new, len(found.added), len(found.removed))
    dataset = open_dataset(uri, version, workplace.storage)
    return _compared(dataset, added=len(dataset.files()))


def materialize(workplace: Workplace, arguments: Mapping[str, Any], on_progress: OnProgress) -> dict[str, Any]:
    """Brings rows of a dataset into the online store. Doing it twice changes nothing.

    Args:
        workplace: Where both are.
        arguments: `uri`, `version`; `old_version` where only files that were added since are read; `online_name`; and as `ViewColumns.of`.
        on_progress: Told of the counts, at most twice a second.

    Returns:
        Counts of rows: `read`, `written`, `kept_newer`, `incomplete`, `future`; and `newest_event_time_us`, None where no row was taken.

    Raises:
        FullRecomputationNeeded: FAILED_PRECONDITION: files that were added are gone.
        DomainError: A row cannot be written, or the dataset or the store cannot be reached.
    """
    columns, store, name = ViewColumns.of(arguments), workplace.online, arguments["online_name"]
    tally = _Tally(on_progress)
    for batch in _batches(workplace, arguments, columns):
        found = online_batch(columns, batch)
        written = store.write(name, found.rows)
        tally.add(
            found.newest_event_time_us,
            read=batch.num_rows,
            written=written.written,
            kept_newer=written.kept_newer,
            incomplete=found.incomplete_rows,
            future=found.future_rows,
        )
    return {**tally.counts, "newest_event_time_us": tally.newest_us}


def drop(workplace: Workplace, arguments: Mapping[str, Any], _on_progress: OnProgress) -> None:
    """Takes generations of views out of the online store, which nobody reads any more."""
    for name in arguments["online_names"]:
        workplace.online.drop(name)


def _batches(workplace: Workplace, arguments: Mapping[str, Any], columns: ViewColumns) -> Iterator[pa.RecordBatch]:
    uri, version, old_version = arguments["uri"], arguments["version"], arguments["old_version"]
    if old_version is None:
        dataset = open_dataset(uri, version, workplace.storage)
        _check_columns(dataset, columns)
        yield from dataset.reader(columns.names)
        return
    found = changes(uri, old_version, version, workplace.storage, table_id=arguments["table_id"])
    _check_columns(found.new, columns)
    yield from found.reader(found.added, pa.schema([found.new.schema.field(name) for name in columns.names]))


def _check_columns(dataset: Dataset, columns: ViewColumns) -> None:
    missing = [name for name in columns.names if name not in dataset.schema.names]
    if missing:
        raise ViewColumnMissing(missing, dataset.version, dataset.schema.names)


def _compared(dataset: Dataset, added: int = 0, removed: int = 0, full_reason: str = "") -> dict[str, Any]:
    return {"table_id": dataset.table_id, "added": added, "removed": removed, "full_reason": full_reason}


class _Tally:
    """Counts rows and tells of them."""

    def __init__(self, on_progress: OnProgress, clock: Callable[[], float] = time.monotonic) -> None:
        self.counts = dict.fromkeys(("read", "written", "kept_newer", "incomplete", "future"), 0)
        self.newest_us: int | None = None
        self._on_progress = on_progress
        self._clock = clock
        self._next = clock()

    def add(self, newest_us: int | None, **rows: int) -> None:
        """Counts a batch."""
        for name, count in rows.items():
            self.counts[name] += count
        if newest_us is not None:
            self.newest_us = newest_us if self.newest_us is None else max(self.newest_us, newest_us)
        if (now := self._clock()) >= self._next:
            self._next = now + _TOLD_EVERY_S
            self._on_progress(dict(self.counts))
