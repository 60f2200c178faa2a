"""Rows of a quarantine as the source of an ingestion."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from servers.ingestion.data_process.quarantine.contents import Contents
from servers.ingestion.data_process.quarantine.errors import QuarantineChanged
from servers.ingestion.data_process.quarantine.folder import QuarantineFolder, RowsFile
from servers.ingestion.data_process.quarantine.gone import Leaving, write_gone
from servers.ingestion.data_process.quarantine.repairs import repaired, repairs_by_id
from servers.ingestion.data_process.quarantine.rows import DATA, columns_of
from servers.ingestion.data_process.quarantine.selection import Selection
from servers.ingestion.data_process.quarantine.staging import Numbered
from servers.ingestion.tables import Delivery
from servers.ingestion.tables.column_types import common_type
from servers.ingestion.tables.lossless import fit
from servers.ingestion.tables.spool import Spool, spooled
from servers.ingestion.tables.writing import LastSequence

REPLAYS = "mlmesh.quarantine"
"""Producer that every replay marks in the log of its dataset: of two that read the same rows, only one can commit."""

_ID = "id"


@dataclass
class Replayed:
    """Rows that are replayed, and what becomes of them in quarantine."""

    folder: QuarantineFolder
    schema: pa.Schema
    spool: Spool
    """The rows, with their ids as the last column."""
    leaving: Leaving
    replays_before: int
    warnings: list[str] = field(default_factory=list)

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """Gives the rows from the first."""
        return (rows for rows, _ in self.numbered())

    def numbered(self) -> Iterator[Numbered]:
        """Gives the rows with their ids."""
        for batch in self.spool.batches():
            yield Numbered(pa.record_batch(batch.columns[:-1], schema=self.schema), batch.column(batch.num_columns - 1))

    def check(self, last_sequence: LastSequence) -> None:
        """Raises where another replay was committed meanwhile: it may have taken the same rows."""
        if (last_sequence(REPLAYS) or 0) != self.replays_before:
            raise QuarantineChanged(self.folder.dataset)

    def stage(self, attempt: str) -> None:
        """Lays down which rows are taken: all of them. What is left out again is laid down anew, under its id."""
        write_gone(self.folder, "taken", self.leaving, attempt)

    def mark(self) -> Delivery:
        """Returns what tells other replays of this one."""
        return Delivery(REPLAYS, self.replays_before + 1)


@contextmanager
def replayed(
    folder: QuarantineFolder, last_sequence: LastSequence, source: Mapping[str, Any], table: pa.Schema | None
) -> Iterator[Replayed]:
    """Gives rows of a quarantine, as long as the block runs. They lie on local disk meanwhile.

    Args:
        folder: The quarantine.
        last_sequence: The log of the dataset.
        source: `ids` or `filter`, and `repairs`.
        table: Columns of the dataset; None where it has no table.

    Raises:
        StorageFull: RESOURCE_EXHAUSTED: the disk is full.
    """
    replays_before = last_sequence(REPLAYS) or 0
    contents = Contents(folder, last_sequence)
    repairs = {
        each: {name: repaired(value, _type_in(table, name)) for name, value in values.items()}
        for each, values in repairs_by_id(source.get("repairs")).items()
    }
    selection = Selection(contents, source)
    schema = _schema(contents, selection, repairs, table)
    leaving, stay = Leaving(), _Count()
    rows = _rows(selection, repairs, schema, leaving, stay)
    with ExitStack() as stack:
        spool = stack.enter_context(spooled(rows, schema.append(pa.field(_ID, pa.string())), folder.spool_folder))
        warnings = [stay.sentence()] if stay.rows else []
        yield Replayed(folder, schema, spool, leaving, replays_before, warnings)


class _Count:
    def __init__(self) -> None:
        self.rows = 0
        self.columns: set[str] = set()

    def sentence(self) -> str:
        names = ", ".join(map(repr, sorted(self.columns)))
        return f"{self.rows} rows stay in quarantine as they are: no type holds their {names} beside those of the others; replay them alone"


def _type_in(table: pa.Schema | None, name: str) -> pa.DataType | None:
    return table.field(name).type if table is not None and name in table.names else None


def _schema(contents: Contents, selection: Selection, repairs: Mapping[str, Mapping[str, pa.Array]], table: pa.Schema | None) -> pa.Schema:
    """One type for each column of rows that may come from files of different types."""
    found: dict[str, dict[pa.DataType, None]] = {}
    for file in selection.files():
        replaced = _replaced(selection, file, repairs)
        if replaced is None:
            continue
        for each in contents.schema(file).field(DATA).type:
            kinds = found.setdefault(each.name, {})
            if each.name not in replaced:
                kinds[each.type] = None
    for values in repairs.values():
        for name, value in values.items():
            found.setdefault(name, {})[value.type] = None
    return pa.schema([(name, _one_type(list(kinds), _type_in(table, name))) for name, kinds in found.items()])


def _replaced(selection: Selection, file: RowsFile, repairs: Mapping[str, Mapping[str, pa.Array]]) -> Collection[str] | None:
    """Returns the columns in which every selected row of a file is repaired, so that their types there do not matter; None without rows."""
    replaced: set[str] | None = None
    for group in selection.groups(file):
        for each in group.rows.column("id"):
            values = repairs.get(each.as_py())
            if values is None:
                return ()
            replaced = set(values) if replaced is None else replaced & values.keys()
    return replaced


def _one_type(kinds: list[pa.DataType], table_type: pa.DataType | None) -> pa.DataType:
    typed = [kind for kind in kinds if not types.is_null(kind)]
    if len(typed) <= 1:
        return typed[0] if typed else pa.null()
    common = reduce(lambda left, right: left and common_type(left, right), typed[1:], typed[0])
    if common is not None and not (types.is_floating(common) and any(map(_is_beyond_floats, typed))):
        return common
    if all(map(_has_exact_text, typed)):
        # Text becomes a number or a time again, where it is one.
        return pa.string()
    return table_type or typed[0]


def _is_beyond_floats(kind: pa.DataType) -> bool:
    return bool(kind == pa.int64() or types.is_decimal(kind))


def _has_exact_text(kind: pa.DataType) -> bool:
    return not types.is_nested(kind) and not types.is_binary(kind)


def _rows(
    selection: Selection, repairs: Mapping[str, Mapping[str, pa.Array]], schema: pa.Schema, leaving: Leaving, stay: _Count
) -> Iterator[pa.RecordBatch]:
    for file in selection.files():
        for group in selection.groups(file):
            whole = group.whole()
            data, ids, numbers = columns_of(whole), whole.column("id"), whole.column("row").to_numpy()
            for start, end, values in _parts(ids, repairs):
                rows = data[start:end]
                columns = {name: rows.column(name) for name in rows.schema.names} | dict(values)
                fits = np.ones(end - start, np.bool_)
                fitted = []
                for each in schema:
                    given = columns.get(each.name)
                    result = fit(pa.nulls(end - start) if given is None else given, each.type)
                    fitted.append(result.values)
                    if result.misfits is not None:
                        stay.columns.add(each.name)
                        fits &= ~result.misfits.to_numpy(zero_copy_only=False)
                leaving.add(file.attempt, numbers[start:end][fits])
                stay.rows += int((~fits).sum())
                batch = pa.record_batch([*fitted, ids[start:end]], schema=schema.append(pa.field(_ID, pa.string())))
                yield batch if fits.all() else batch.filter(pa.array(fits))


def _parts(ids: pa.Array, repairs: Mapping[str, Mapping[str, pa.Array]]) -> Iterator[tuple[int, int, Mapping[str, pa.Array]]]:
    """Cuts rows so that those that are repaired stand alone, with the values that they get."""
    start = 0
    places = pc.is_in(ids, value_set=pa.array(repairs, pa.string())).to_numpy(zero_copy_only=False) if repairs else np.empty(0, np.bool_)
    for place in np.flatnonzero(places).tolist():
        if start < place:
            yield start, place, {}
        yield place, place + 1, repairs[ids[place].as_py()]
        start = place + 1
    if start < len(ids):
        yield start, len(ids), {}
