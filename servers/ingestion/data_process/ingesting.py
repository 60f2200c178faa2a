"""A source becomes rows of a dataset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from servers.ingestion.data_process.describing import dataset_object
from servers.ingestion.data_process.gate import Gate
from servers.ingestion.data_process.messages import OnProgress
from servers.ingestion.data_process.progress import RowsRead
from servers.ingestion.data_process.read_options import parsed_options
from servers.ingestion.data_process.schema_sentences import sentences
from servers.ingestion.data_process.workplace import Workplace
from servers.ingestion.readers.options import ReadLimits
from servers.ingestion.readers.rows import open_rows
from servers.ingestion.tables import ContractMode, Delivery, RejectedRow, SchemaContract, WriteMode


class FirstRejected:
    """Keeps the first rejected rows of a delivery.

    Args:
        most_rows: How many.
    """

    def __init__(self, most_rows: int) -> None:
        self._most_rows = most_rows
        self._last_row = -1
        self.rows: list[dict[str, Any]] = []

    def add(self, rejected: RejectedRow) -> None:
        """Takes the next one. Where rows begin anew, because another writer changed the table meanwhile, the earlier ones are void."""
        if rejected.row <= self._last_row:
            self.rows.clear()
        self._last_row = rejected.row
        if len(self.rows) < self._most_rows:
            told = {"row": rejected.row + 1, "column": rejected.column, "value": rejected.value, "reason": rejected.reason.value}
            self.rows.append(told)


def ingest(workplace: Workplace, arguments: Mapping[str, Any], on_progress: OnProgress) -> dict[str, Any]:
    """Reads a source and writes its rows to a dataset, once for each `ingestion_id`; nothing where a gate refuses them."""
    table = workplace.tables.table(arguments["project"], arguments["dataset"])
    rejected, read = FirstRejected(workplace.most_rejected_rows), RowsRead(on_progress)
    with workplace.sources.opened(arguments["source"]) as source:
        options = parsed_options(arguments.get("read") or {}, source.name)
        with open_rows(source.path, source.name, options, ReadLimits()) as rows:
            wanted = arguments.get("gate")
            gate = None if wanted is None else Gate(rows.schema, rows, wanted, workplace.most_rejected_rows)
            if gate is not None and gate.is_refused:
                return _refused(gate, list(rows.warnings))
            written = table.write(
                read.counted(rows if gate is None else gate),
                rows.schema,
                mode=WriteMode[arguments["mode"]],
                keys=arguments.get("keys") or (),
                contract=_contract(arguments.get("contract") or {}),
                delivery=Delivery(producer=arguments["ingestion_id"], sequence=1),
                on_rejected=rejected.add,
            )
            warnings = list(rows.warnings)
    if written.was_delivered_before:
        warnings.append("the rows were written by an earlier attempt that broke off before it could count them")
    told = rejected.rows
    if gate is not None:
        told = [*gate.rejected, *({**row, "row": gate.row_of_source(row["row"] - 1) + 1} for row in told)]
    return {
        "rows_read": read.count if gate is None else gate.report["row_count"],
        "rows_written": written.rows_written,
        "rows_updated": written.rows_updated,
        "rows_rejected": written.rows_rejected + (0 if gate is None else gate.left_out_count),
        "rejected": told[: workplace.most_rejected_rows],
        "version": written.version,
        "was_delivered_before": written.was_delivered_before,
        "schema_changes": sentences(written.schema_changes),
        "warnings": warnings,
        "validation": None if gate is None else gate.report,
        "is_refused": False,
        "dataset": None if written.version is None else dataset_object(table),
    }


def _refused(gate: Gate, warnings: list[str]) -> dict[str, Any]:
    return {
        "rows_read": gate.report["row_count"],
        "rows_written": 0,
        "rows_updated": 0,
        "rows_rejected": 0,
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
