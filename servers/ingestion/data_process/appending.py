"""Batches of a stream of rows become commits of a dataset, each batch once."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as pa

from servers.ingestion.data_process.describing import dataset_object
from servers.ingestion.data_process.read_options import parsed_options
from servers.ingestion.data_process.row_batches import BatchLimits, RowBatch, joined_schema, read_batch, rows_as
from servers.ingestion.data_process.workplace import Workplace
from servers.ingestion.readers.options import Format
from servers.ingestion.streams.errors import SequenceGap
from servers.ingestion.table_errors import DeliveryOutOfTurn
from servers.ingestion.tables import ContractMode, DatasetTable, Delivery, RejectedRow, SchemaContract, Standing, WriteMode
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

    @classmethod
    def of(cls, workplace: Workplace, arguments: Mapping[str, Any]) -> _Target:
        mode, keys = WriteMode[arguments["mode"]], tuple(arguments["keys"])
        contract = SchemaContract(**{part: ContractMode[name] for part, name in arguments["contract"].items()})
        Write(mode, keys, contract, None)  # refuses keys that do not go with the mode
        return cls(
            workplace.tables.table(arguments["project"], arguments["dataset"]),
            f"stream:{arguments['producer']}",
            mode,
            keys,
            contract,
            parsed_options({"column_types": arguments["column_types"]}, "the stream").column_types,
            BatchLimits(arguments["most_rows"], workplace.limits),
            workplace.most_rejected_rows,
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

    def write(self, run: Sequence[RowBatch], schema: pa.Schema, most_rejected_rows: int) -> list[dict[str, Any]]:
        """Writes batches as one commit, and returns what each is acknowledged with."""
        rejected: list[RejectedRow] = []
        written = self.table.write(
            rows_as(schema, run),
            schema,
            mode=self.mode,
            keys=self.keys,
            contract=self.contract,
            delivery=Delivery(self.producer, run[-1].sequence, after=run[0].sequence - 1),
            on_rejected=rejected.append,
        )
        # Where another writer changed the table meanwhile, what was reported first is void.
        counted = rejected[len(rejected) - written.rows_rejected :]
        ends = list(accumulate(batch.row_count for batch in run))
        of_batch: list[list[RejectedRow]] = [[] for _ in run]
        for row in counted:
            of_batch[bisect_right(ends, row.row)].append(row)
        acknowledged = []
        for batch, end, left_out in zip(run, ends, of_batch, strict=True):
            told = left_out[: min(self.most_rejected_rows, max(0, most_rejected_rows))]
            most_rejected_rows -= len(told)
            acknowledged.append(
                {
                    "sequence": batch.sequence,
                    "version": written.version,
                    "rows_written": batch.row_count - len(left_out),
                    "rows_rejected": len(left_out),
                    "rejected": [_told(row, end - batch.row_count) for row in told],
                    "was_written_before": False,
                }
            )
        return acknowledged


def _told(rejected: RejectedRow, first_row: int) -> dict[str, Any]:
    return {
        "row": rejected.row - first_row + 1,
        "column": rejected.column,
        "value": rejected.value,
        "reason": rejected.reason.value,
    }


def _written_before(sequence: int, version: int | None) -> dict[str, Any]:
    return {
        "sequence": sequence,
        "version": version,
        "rows_written": 0,
        "rows_rejected": 0,
        "rejected": [],
        "was_written_before": True,
    }
