"""Datasets with a history: ingestion's tables, written to and then read at their versions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
from deltalake import DeltaTable

from servers.ingestion.column_changes import ColumnChanges
from servers.ingestion.tables import DatasetTable, Tables, WriteMode
from servers.processing.engines.local import LocalEngine
from servers.processing.incremental.keys import Keys
from servers.processing.incremental.results import IncrementalResult, Writing
from servers.processing.incremental.running import InputVersions, OutputVersion, incremental_results
from servers.processing.kernels.cancellation import Cancellation
from servers.processing.plan.binding import bind
from servers.processing.plan.plan import Plan
from servers.runtime.tables.dataset import Dataset, open_dataset
from servers.runtime.tables.storage import TableStorage
from tests.integration.processing.relations import LIMITS

STORAGE = TableStorage()
ENGINE = LocalEngine(LIMITS)


class History:
    """A dataset in a folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self.table: DatasetTable = Tables(folder.as_uri()).table("project", name)
        self.uri = f"{folder.as_uri()}/project/{name}"
        self._path = folder / "project" / name

    @property
    def version(self) -> int:
        return DeltaTable(self._path).version()

    def write(self, rows: pa.Table, mode: WriteMode = WriteMode.APPEND, keys: tuple[str, ...] = ()) -> None:
        self.table.write(iter(rows.to_batches()), rows.schema, mode=mode, keys=keys)

    def delete(self, predicate: str) -> None:
        """As other programs delete rows: files are written anew without them."""
        DeltaTable(self._path).delete(predicate)

    def change_columns(self, renamed: Mapping[str, str] | None = None, dropped: tuple[str, ...] = ()) -> None:
        self.table.change_columns(ColumnChanges(renamed=dict(renamed or {}), dropped=dropped))

    def at(self, version: int | None = None) -> Dataset:
        return open_dataset(self.uri, self.version if version is None else version, STORAGE)

    def rows(self) -> pa.Table:
        return self.at().reader().read_all()


class Pipeline:
    """A plan with keys over some inputs, whose outputs are kept as a pipeline would."""

    def __init__(self, folder: Path, plan: Plan, keys: Keys | None, inputs: Mapping[str, History]) -> None:
        self.plan, self.keys, self.inputs = plan, keys, inputs
        self.outputs = {name: History(folder, f"output_{place}") for place, name in enumerate(plan.outputs)}
        self.processed: dict[str, int] = {}

    def full(self) -> dict[str, pa.Table]:
        """What a full run gives now."""
        datasets = {name: history.at() for name, history in self.inputs.items()}
        bound = bind(self.plan, {name: each.schema for name, each in datasets.items()})
        with ENGINE.run(bound, {name: each.reader() for name, each in datasets.items()}, Cancellation()) as readers:
            return {name: reader.read_all() for name, reader in readers.items()}

    def run_in_full(self) -> None:
        for name, rows in self.full().items():
            self.outputs[name].write(rows, WriteMode.OVERWRITE)
        self.processed = {name: history.version for name, history in self.inputs.items()}

    def run(self, **options: int) -> dict[str, IncrementalResult]:
        """Runs incrementally and writes as ingestion would."""
        newest = {name: history.version for name, history in self.inputs.items()}
        inputs = {name: InputVersions(each.uri, self.processed[name], newest[name]) for name, each in self.inputs.items()}
        outputs = {name: OutputVersion(each.uri, each.version) for name, each in self.outputs.items()}
        with incremental_results(self.plan, self.keys, inputs, outputs, STORAGE, ENGINE, Cancellation(), **options) as results:
            # All rows are there before the first output changes.
            rows = {name: result.rows.read_all() for name, result in results.items()}
        for name, result in results.items():
            if result.writing is not Writing.NOTHING:
                self.outputs[name].write(rows[name], WriteMode[result.writing.value], result.keys)
        self.processed = newest
        return dict(results)
