"""How data are read, and what they may change of a dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlops.ingestion.v1 import ingestion_pb2

from mlmesh.fields import enum_value
from mlmesh.suites import suite_message


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """How a file is read. What is left out is found out."""

    format: str = ""
    """`csv`, `json`, `ndjson`, `parquet`, `avro`, `orc`, `arrow` or `excel`; empty = by content, or else by name."""

    delimiter: str = ""
    """CSV: one character; empty = found out among `,`, `;`, tab and `|`."""

    quote: str = ""
    """CSV: one character; empty = `"`."""

    has_header: bool | None = None
    """CSV and Excel: whether the first row has the names of the columns; None = it has. Else they are `column_1`, `column_2`, …"""

    encoding: str = ""
    """CSV: `utf-8`, `utf-16`, `latin-1` or `windows-1252`; empty = `utf-8`."""

    null_values: Sequence[str] = ()
    """CSV: texts that mean null; empty = the empty text, `NULL`, `null`, `NA`, `N/A`, `NaN` and `nan`."""

    skip_rows: int = 0
    """CSV and Excel: rows to leave out at the beginning."""

    sheet: str = ""
    """Excel: the sheet; empty = the first."""

    json_path: str = ""
    """JSON: key of the top-level object that has the array; empty = the document is the array, or has one only."""

    column_types: Mapping[str, str] = field(default_factory=dict)
    """Types of columns as Arrow writes them, instead of those found out: `{"zip": "string"}`."""

    def message(self) -> ingestion_pb2.ReadOptions:
        """Returns the options as they travel.

        Raises:
            mlmesh.errors.InvalidArgument: There is no such format.
        """
        return ingestion_pb2.ReadOptions(
            format=enum_value(ingestion_pb2.FileFormat, self.format or "unspecified"),
            delimiter=self.delimiter,
            quote=self.quote,
            has_header=self.has_header,
            encoding=self.encoding,
            null_values=self.null_values,
            skip_rows=self.skip_rows,
            sheet=self.sheet,
            json_path=self.json_path,
            column_types=self.column_types,
        )


@dataclass(frozen=True, kw_only=True)
class SchemaContract:
    """What data may change of a dataset."""

    tables: str = ""
    """Whether the dataset may be made: `evolve` or `freeze`; empty = `evolve`."""

    columns: str = ""
    """Columns that the dataset does not have: `evolve`, `freeze`, `discard_row` or `discard_value`; empty = `evolve`."""

    types: str = ""
    """Values that do not fit the type of their column: as `columns`; `evolve` widens the column without loss, or the ingestion fails."""

    def message(self) -> ingestion_pb2.SchemaContract:
        """Returns the contract as it travels.

        Raises:
            mlmesh.errors.InvalidArgument: There is no such mode.
        """
        return ingestion_pb2.SchemaContract(tables=_mode(self.tables), columns=_mode(self.columns), types=_mode(self.types))


@dataclass(frozen=True, kw_only=True)
class ExpectationGate:
    """What data have to meet before they are written."""

    suite: Mapping[str, Any] | Path | str
    """A suite as Great Expectations 1.x writes it, or the path of its JSON."""

    mode: str = ""
    """Where a critical expectation is not met: `freeze` (the ingestion fails), `discard_row` (rows that break it are left out, and the
    ingestion fails where the others do not meet it either) or `evolve` (all is written, and the report says so); empty = `freeze`."""

    def message(self) -> ingestion_pb2.ExpectationGate:
        """Returns the gate as it travels.

        Raises:
            mlmesh.errors.InvalidArgument: The suite cannot be read, or there is no such mode.
        """
        return ingestion_pb2.ExpectationGate(suite=suite_message(self.suite), mode=_mode(self.mode))


def _mode(name: str) -> Any:
    return enum_value(ingestion_pb2.ContractMode, name or "unspecified")
