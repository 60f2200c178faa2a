"""Batches of a stream of rows become commits of a dataset, each batch once."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from servers.ingestion.data_process.describing import dataset_object
from servers.ingestion.data_process.quarantine.folder import QuarantineFolder
from servers.ingestion.data_process.quarantine.left_out import LeftOutRows
from servers.ingestion.data_process.quarantine.operations import quarantine_of
from servers.ingestion.data_process.quarantine.origin import of_producer
from servers.ingestion.data_process.quarantine.staging import Numbered, Staging
from servers.ingestion.data_process.read_options import parsed_options
from servers.ingestion.data_process.row_batches import BatchLimits, RowBatch, joined_schema, read_batch, rows_as
from servers.ingestion.data_process.workplace import Workplace
from servers.ingestion.readers.options import Format
from servers.ingestion.streams.errors import SequenceGap
from servers.ingestion.table_errors import DeliveryOutOfTurn
from servers.ingestion.tables import ContractMode, DatasetTable, Delivery, SchemaContract, Standing, WriteMode
from servers.ingestion.tables.column_fence import ColumnFence
from servers.ingestion.tables.writing import Write
from servers.runtime.data_process.messages import OnProgress, facts_of
from servers.runtime.errors import Aborted, DomainError, ResourceExhausted, Unavailable

_PASSING = (Unavailable, Aborted, ResourceExhausted)
"""Errors that are no fault of a single batch."""

_MOST_REJECTED_ROWS = 1000
"""Rejected rows that one operation tells of: what it answers has to fit into a message."""


def position(workplace: Workplace, arguments: Mapping[str, Any], _on_progress: OnProgress) -> dict[str, Any]:
    """Says which batch of a producer is the last one in a dataset, and describes that. Refuses a target that cannot be written to."""
    target = _Target.of(workplace, arguments)
    standing = target.table.standing(target.producer)
    is_there = standing.schema is not None
    return {"last_sequence": standing.last_sequence, "dataset": dataset_object(target.table) if is_there else None}


def append(workplace: Workplace, arguments: Mapping[str, Any], _on_progress: OnProgress) -> dict[str, Any]:
    """Writes batches, as many in one commit as go together, up to the first one that cannot be written."""
    target = _Target.of(workplace, arguments)
    waiting = list(arguments["batches"])
    acknowledged: list[dict[str, Any]] = []
    failed = None
    has_written, alone = False, 0
    while waiting and failed is None:
        run: Sequence[RowBatch] = ()
        try:
            standing = target.table.standing(target.producer)
            while waiting and waiting[0]["sequence"] <= standing.last_sequence:
                acknowledged.append(_written_before(waiting.pop(0)["sequence"], standing.version))
            run, schema = target.readable(waiting[:1] if alone else waiting, standing)
            if run:
                acknowledged += target.write(run, schema, _MOST_REJECTED_ROWS - sum(len(each["rejected"]) for each in acknowledged))
                has_written = True
        except DeliveryOutOfTurn:
            continue
        except DomainError as error:
            if len(run) > 1 and not isinstance(error, _PASSING):
                # One of them is to blame, and those before it are to be written.
                alone = len(run)
                continue
            failed = {"sequence": waiting[0]["sequence"], "error": facts_of(error)}
        del waiting[: len(run)]
        alone = max(0, alone - len(run))
    return {"acknowledged": acknowledged, "failed": failed, "dataset": dataset_object(target.table) if has_written else None}


@dataclass(frozen=True, slots=True)
class _Target:
    """Where the batches of a producer go, and how."""

    table: DatasetTable
    producer: str
    """As the table calls it: no ingestion and no other source can have that name."""
    mode: WriteMode
    keys: Sequence[str]
    contract: SchemaContract
    column_types: Mapping[str, pa.DataType]
    limits: BatchLimits
    most_rejected_rows: int
    """Rejected rows of a batch that are told of."""
    quarantine: QuarantineFolder
    fence: ColumnFence

    @classmethod
    def of(cls, workplace: Workplace, arguments: Mapping[str, Any]) -> _Target:
        mode, keys = WriteMode[arguments["mode"]], tuple(arguments["keys"])
        contract = SchemaContract(**{part: ContractMode[name] for part, name in arguments["contract"].items()})
        Write(mode, keys, contract, None)  # refuses keys that do not go with the mode
        table = workplace.tables.table(arguments["project"], arguments["dataset"])
        return cls(
            table,
            of_producer(arguments["producer"]),
            mode,
            keys,
            contract,
            parsed_options({"column_types": arguments["column_types"]}, "the stream").column_types,
            BatchLimits(arguments["most_rows"], workplace.limits),
            workplace.most_rejected_rows,
            quarantine_of(workplace, arguments),
            table.fence(arguments.get("seen_version")),
        )

    def readable(self, waiting: Sequence[Mapping[str, Any]], standing: Standing) -> tuple[Sequence[RowBatch], pa.Schema]:
        """Reads the batches that are to be written next: those that follow on each other and go together."""
        run: list[RowBatch] = []
        schema = pa.schema([])
        needed = None if self.contract.columns is ContractMode.FREEZE else self.keys
        for sequence, given in enumerate(waiting, start=standing.last_sequence + 1):
            if given["sequence"] != sequence:
                if run:
                    break
                raise SequenceGap(self.producer.partition(":")[2], given["sequence"], sequence)
            try:
                batch = self._read(given, standing)
            except DomainError:
                if run:
                    break  # its turn comes when those before it are written
                raise
            together = joined_schema(schema, batch.schema, needed=needed) if run else batch.schema
            if together is None:
                break
            run.append(batch)
            schema = together
        return run, schema

    def _read(self, given: Mapping[str, Any], standing: Standing) -> RowBatch:
        path, kind = Path(given["path"]), Format[given["format"]]
        discards = self.contract.types in (ContractMode.DISCARD_ROW, ContractMode.DISCARD_VALUE)
        return read_batch(given["sequence"], path, kind, self.column_types, standing.schema, discards=discards, limits=self.limits)

    def write(self, run: Sequence[RowBatch], schema: pa.Schema, most_told: int) -> list[dict[str, Any]]:
        """Writes batches as one commit, and returns what each is acknowledged with. Rows that are left out go into quarantine with it."""
        ends = list(accumulate(batch.row_count for batch in run))
        with LeftOutRows(self.quarantine.spool_folder) as left_out:
            staging = Staging(
                self.quarantine,
                self.producer,
                schema,
                lambda: (Numbered(rows, None) for rows in rows_as(schema, run)),
                left_out,
                place_of=lambda row: _place_of(row, run, ends),
            )
            written = self.table.write(
                rows_as(schema, run),
                schema,
                mode=self.mode,
                keys=self.keys,
                contract=self.contract,
                delivery=Delivery(self.producer, run[-1].sequence, after=run[0].sequence - 1),
                on_rejected=lambda row: left_out.add(row.row, row.column, row.value, row.reason.value),
                on_judged=staging.marks,
                fence=self.fence,
            )
            # Where another writer changed the table meanwhile, what was reported first is void.
            counts, told = _by_batch(left_out.batches(written.rows_rejected), ends, self.most_rejected_rows, most_told)
        return [
            {
                "sequence": batch.sequence,
                "version": written.version,
                "rows_written": batch.row_count - rejected,
                "rows_rejected": rejected,
                "rejected": rows,
                "was_written_before": False,
            }
            for batch, rejected, rows in zip(run, counts, told, strict=True)
        ]


def _by_batch(
    left_out: Iterator[pa.RecordBatch], ends: Sequence[int], most_of_batch: int, most: int
) -> tuple[list[int], list[list[dict[str, Any]]]]:
    """Counts the rows of each batch that are left out, and tells of the first ones, as the batch numbers them from 1."""
    counts = np.zeros(len(ends), np.int64)
    told: list[list[dict[str, Any]]] = [[] for _ in ends]
    for rows in left_out:
        numbers = rows.column("row").to_numpy()
        batches = np.searchsorted(ends, numbers, side="right")
        counts += np.bincount(batches, minlength=len(ends))
        for batch in np.unique(batches).tolist():
            first_row = ends[batch - 1] if batch else 0
            room = max(0, min(most_of_batch - len(told[batch]), most))
            found = rows.slice(int(np.searchsorted(batches, batch)), room).to_pylist()
            found = [{**row, "row": row["row"] - first_row + 1} for row in found if row["row"] < ends[batch]]
            told[batch] += found
            most -= len(found)
    return counts.tolist(), told


def _place_of(row: int, run: Sequence[RowBatch], ends: Sequence[int]) -> str:
    place = bisect_right(ends, row)
    return f"batch {run[place].sequence}, row {row - (ends[place] - run[place].row_count) + 1}"


def _written_before(sequence: int, version: int | None) -> dict[str, Any]:
    return {
        "sequence": sequence,
        "version": version,
        "rows_written": 0,
        "rows_rejected": 0,
        "rejected": [],
        "was_written_before": True,
    }
