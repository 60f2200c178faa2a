"""A source becomes rows of a dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

from servers.ingestion.data_process.describing import dataset_object
from servers.ingestion.data_process.progress import RowsRead
from servers.ingestion.data_process.quarantine.gone import remove_empty
from servers.ingestion.data_process.quarantine.left_out import LeftOutRows
from servers.ingestion.data_process.quarantine.operations import contents_of, left_out_by, quarantine_of
from servers.ingestion.data_process.quarantine.replay import replayed
from servers.ingestion.data_process.quarantine.staging import Numbered, Staging, Taking
from servers.ingestion.data_process.read_options import parsed_options
from servers.ingestion.data_process.schema_sentences import changed_columns, sentences
from servers.ingestion.data_process.workplace import Workplace
from servers.ingestion.readers.rows import open_rows
from servers.ingestion.tables import ContractMode, DatasetTable, Delivery, SchemaContract, WriteMode, Written
from servers.runtime.data_process.messages import OnProgress

if TYPE_CHECKING:
    from servers.ingestion.data_process.gate import Gate


class Source(Protocol):
    """Rows that can be read again and again."""

    schema: pa.Schema

    @property
    def warnings(self) -> Sequence[str]:
        """What a person should know about how they were read."""
        ...

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """Gives the rows from the first."""
        ...


def ingest(workplace: Workplace, arguments: Mapping[str, Any], on_progress: OnProgress) -> dict[str, Any]:
    """Reads a source and writes its rows to a dataset, once for each `ingestion_id`; nothing where a gate refuses them.

    With `validate_only` nothing is written at all.
    Rows that are left out go into quarantine with the commit of the others.
    """
    if arguments["source"]["kind"] == "quarantine":
        return _replay(workplace, arguments, on_progress)
    with workplace.sources.opened(arguments["source"]) as source:
        options = parsed_options(arguments.get("read") or {}, source.name)
        with open_rows(source.path, source.name, options, workplace.limits) as rows:
            return _ingested(workplace, arguments, on_progress, rows, lambda: (Numbered(batch, None) for batch in rows))


def delivered(workplace: Workplace, arguments: Mapping[str, Any]) -> dict[str, Any] | None:
    """Returns the outcome of an ingestion whose rows an attempt wrote that broke off before it could say so; None where none did."""
    table = workplace.tables.table(arguments["project"], arguments["dataset"])
    commit = table.delivered(arguments["ingestion_id"])
    if commit is None:
        return None
    count, told = left_out_by(contents_of(workplace, arguments), arguments["ingestion_id"], workplace.most_rejected_rows)
    written = Written(commit.version, commit.rows + count, commit.rows, commit.rows_updated, count, True, ())
    return _outcome(table, written, written.rows_received) | {
        "rows_quarantined": count,
        "rejected": told,
        "warnings": [
            "the rows were written by an earlier attempt that broke off before it could say so: they are counted by the table's log"
        ],
    }


def _replay(workplace: Workplace, arguments: Mapping[str, Any], on_progress: OnProgress) -> dict[str, Any]:
    if (before := delivered(workplace, arguments)) is not None:
        return before
    table = workplace.tables.table(arguments["project"], arguments["dataset"])
    folder, last_sequence = quarantine_of(workplace, arguments), table.last_sequences()
    schema = table.snapshot().schema if table.exists() else None
    with replayed(folder, last_sequence, arguments["source"], schema) as rows:
        if not rows.spool.row_count:
            return _outcome(table, Written(None, 0, 0, 0, 0, False, ()), 0) | {"warnings": rows.warnings}
        outcome = _ingested(workplace, arguments, on_progress, rows, rows.numbered, taking=rows)
    if not outcome["is_refused"]:
        remove_empty(folder, contents_of(workplace, arguments), rows.leaving.numbers())
    return outcome


def _ingested(
    workplace: Workplace,
    arguments: Mapping[str, Any],
    on_progress: OnProgress,
    rows: Source,
    numbered: Callable[[], Iterable[Numbered]],
    taking: Taking | None = None,
) -> dict[str, Any]:
    table, folder = workplace.tables.table(arguments["project"], arguments["dataset"]), quarantine_of(workplace, arguments)
    read, most_told, wanted = RowsRead(on_progress), workplace.most_rejected_rows, arguments.get("gate")
    with LeftOutRows(folder.spool_folder) as by_gate, LeftOutRows(folder.spool_folder) as by_contract:
        gate = None if wanted is None else _gate(rows, wanted, most_told, by_gate)
        if gate is not None and gate.is_refused:
            return _refused(gate, list(rows.warnings))
        staging = Staging(folder, arguments["ingestion_id"], rows.schema, numbered, by_contract, gate, taking)
        delivery = Delivery(producer=arguments["ingestion_id"], sequence=1)
        is_rehearsal = arguments.get("validate_only", False)
        fence = table.fence(arguments.get("seen_version"))
        write = table.rehearse if is_rehearsal else partial(table.write, delivery=delivery, on_judged=staging.marks, fence=fence)
        written = write(
            read.counted(rows if gate is None else gate),
            rows.schema,
            mode=WriteMode[arguments["mode"]],
            keys=arguments.get("keys") or (),
            contract=_contract(arguments.get("contract") or {}),
            on_rejected=lambda row: by_contract.add(row.row, row.column, row.value, row.reason.value),
        )
        told = list(islice(_told(by_contract.batches(written.rows_rejected), gate), most_told))
    outcome = _outcome(table, written, read.count) | {
        "rejected": told,
        "rows_quarantined": staging.count,
        "warnings": list(rows.warnings),
    }
    if gate is not None:
        outcome |= {
            "rows_read": gate.report["row_count"],
            "rows_rejected": written.rows_rejected + gate.left_out_count,
            "rejected": [*gate.rejected, *told][:most_told],
            "validation": gate.report,
        }
    if is_rehearsal:
        return outcome | {"version": None, "dataset": None, "changed_columns": changed_columns(written.schema_changes)}
    before = delivered(workplace, arguments) if written.was_delivered_before else None
    if before is None:
        return outcome
    read_again = {"rows_read": outcome["rows_read"], "validation": outcome["validation"]}
    return before | read_again | {"warnings": [*rows.warnings, *before["warnings"]]}


def _gate(rows: Source, wanted: Mapping[str, Any], most_told: int, left_out: LeftOutRows) -> Gate:
    # It brings Polars along, which most ingestions do without.
    from servers.ingestion.data_process.gate import Gate

    return Gate(rows.schema, rows, wanted, most_told, left_out)


def _told(left_out: Iterable[pa.RecordBatch], gate: Gate | None) -> Iterator[dict[str, Any]]:
    """Rows that the table rejected, as callers see them: counted from 1, as the source has them."""
    for batch in left_out:
        for row in batch.to_pylist():
            number = row["row"] if gate is None else gate.row_of_source(row["row"])
            yield {**row, "row": number + 1}


def _outcome(table: DatasetTable, written: Written, rows_read: int) -> dict[str, Any]:
    return {
        "rows_read": rows_read,
        "rows_written": written.rows_written,
        "rows_updated": written.rows_updated,
        "rows_rejected": written.rows_rejected,
        "rows_quarantined": 0,
        "rejected": [],
        "version": written.version,
        "was_delivered_before": written.was_delivered_before,
        "schema_changes": sentences(written.schema_changes),
        "warnings": [],
        "validation": None,
        "is_refused": False,
        "dataset": None if written.version is None else dataset_object(table),
    }


def _refused(gate: Gate, warnings: list[str]) -> dict[str, Any]:
    return {
        "rows_read": gate.report["row_count"],
        "rows_written": 0,
        "rows_updated": 0,
        "rows_rejected": 0,
        "rows_quarantined": 0,
        "rejected": [],
        "version": None,
        "was_delivered_before": False,
        "schema_changes": [],
        "warnings": warnings,
        "validation": gate.report,
        "is_refused": True,
        "dataset": None,
    }


def _contract(modes: Mapping[str, str]) -> SchemaContract:
    return SchemaContract(**{part: ContractMode[mode] for part, mode in modes.items()})
