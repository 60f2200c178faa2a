"""What a data process does with rows in quarantine, beside replaying them, which is an ingestion."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any, TypeVar

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from servers.ingestion.data_process.json_values import json_rows
from servers.ingestion.data_process.quarantine.contents import Contents
from servers.ingestion.data_process.quarantine.errors import QuarantineChanged
from servers.ingestion.data_process.quarantine.filtered_columns import COLUMNS, row_filter
from servers.ingestion.data_process.quarantine.folder import QuarantineFolder, RowsFile
from servers.ingestion.data_process.quarantine.gone import Leaving, remove_empty, write_gone
from servers.ingestion.data_process.quarantine.origin import facts_of
from servers.ingestion.data_process.quarantine.rows import about_of, columns_of, origins_of
from servers.ingestion.data_process.quarantine.selection import Selection
from servers.ingestion.data_process.workplace import Workplace
from servers.runtime.data_process.messages import OnProgress

_Result = TypeVar("_Result")

_ATTEMPTS = 10
_MOST_PAGE_BYTES = 4 << 20
_MOST_SHOWN_CHARACTERS = 1000


def quarantine_of(workplace: Workplace, arguments: Mapping[str, Any]) -> QuarantineFolder:
    """Returns the quarantine of the dataset that an operation is about."""
    return QuarantineFolder(workplace.tables.quarantine(arguments["project"], arguments["dataset"]))


def contents_of(workplace: Workplace, arguments: Mapping[str, Any]) -> Contents:
    """Returns what is in quarantine now."""
    log = workplace.tables.table(arguments["project"], arguments["dataset"]).last_sequences()
    return Contents(quarantine_of(workplace, arguments), log)


def list_quarantined(workplace: Workplace, arguments: Mapping[str, Any], _on_progress: OnProgress) -> dict[str, Any]:
    """Returns a page of rows in quarantine, and where the next one begins."""
    return _undisturbed(lambda: _page(contents_of(workplace, arguments), arguments))


def unknown_quarantined(workplace: Workplace, arguments: Mapping[str, Any], _on_progress: OnProgress) -> list[str]:
    """Returns those of some ids that no row in quarantine has."""
    return _undisturbed(lambda: Selection(contents_of(workplace, arguments), arguments).unknown_ids())


def discard_quarantined(workplace: Workplace, arguments: Mapping[str, Any], _on_progress: OnProgress) -> int:
    """Removes rows from quarantine; returns how many."""
    return _undisturbed(lambda: _discard(workplace, arguments))


def left_out_by(contents: Contents, ingestion_id: str, most: int) -> tuple[int, list[dict[str, Any]]]:
    """Returns how many rows an ingestion has in quarantine, and tells of the first.

    Args:
        contents: What is there.
        ingestion_id: The ingestion.
        most: How many are told.
    """
    count = 0
    told: list[dict[str, Any]] = []
    for file in contents.files([each for each in contents.found.rows if each.origin == ingestion_id]):
        for group in contents.groups(file, ("column", "value", "reason")):
            count += group.rows.num_rows
            told += group.rows.slice(0, most - len(told)).select(["row", "column", "value", "reason"]).to_pylist()
    return count, told


def _undisturbed(look: Callable[[], _Result]) -> _Result:
    """Looks again where somebody else has removed a file meanwhile."""
    for _ in range(_ATTEMPTS - 1):
        try:
            return look()
        except QuarantineChanged:
            continue
    return look()


def _discard(workplace: Workplace, arguments: Mapping[str, Any]) -> int:
    folder, contents = quarantine_of(workplace, arguments), contents_of(workplace, arguments)
    selection, leaving, touched = Selection(contents, arguments), Leaving(), set()
    for file in selection.files():
        for group in selection.groups(file):
            touched.add(file.attempt)
            attempts, numbers = origins_of(group.rows.column("id"))
            for attempt in attempts.unique().to_pylist():
                leaving.add(attempt, numbers[pc.equal(attempts, attempt).to_numpy(zero_copy_only=False)])
    if leaving.count:
        write_gone(folder, "discarded", leaving, uuid.uuid4().hex)
        remove_empty(folder, contents_of(workplace, arguments), touched)
    return leaving.count


def _page(contents: Contents, arguments: Mapping[str, Any]) -> dict[str, Any]:
    wanted, limit, order = row_filter(arguments["filter"]), arguments["limit"], arguments["order"]
    after = arguments.get("after")
    last = None if after is None else {**after, "quarantine_time": datetime.fromisoformat(after["quarantine_time"])}
    rows: list[dict[str, Any]] = []
    size_bytes = 0
    for file in contents.files(_in_order(contents.found.rows, order)):
        seen = None if last is None else _is_seen(file, last, order)
        if seen is True or not wanted.may_match(file):
            continue
        for group in contents.groups(file, COLUMNS, after=last["row"] if last is not None and seen is None else 0):
            matching = group.filtered(wanted.mask(file, group.rows))
            for row in _shown(file, matching.whole(limit + 1 - len(rows))):
                size_bytes += len(orjson.dumps(row))
                if len(rows) == limit or (rows and size_bytes > _MOST_PAGE_BYTES):
                    return {"rows": rows, "has_more": True}
                rows.append(row)
    return {"rows": rows, "has_more": False}


def _in_order(files: Sequence[RowsFile], order: Sequence[Sequence[Any]]) -> list[RowsFile]:
    ordered = list(files)
    for name, descends in reversed(order):
        ordered.sort(key=attrgetter(name), reverse=descends)
    return ordered


def _is_seen(file: RowsFile, last: Mapping[str, Any], order: Sequence[Sequence[Any]]) -> bool | None:
    """Whether all rows of a file come before the last one seen; None for the file that has it."""
    for name, descends in order:
        value = getattr(file, name)
        if value != last[name]:
            return bool((value < last[name]) is not descends)
    return None


def _shown(file: RowsFile, rows: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    for known, data in zip(json_rows(about_of(rows)), json_rows(pa.Table.from_batches([columns_of(rows)])), strict=True):
        is_short = len(orjson.dumps(data)) <= _MOST_PAGE_BYTES
        told = {**known, **facts_of(file.origin), "place": known["place"] or "", "origin": file.origin}
        yield {**told, "data": data if is_short else {name: _shortened(value) for name, value in data.items()}}


def _shortened(value: Any) -> Any:
    """A value as long as it may be: else its beginning, as JSON where it is no text."""
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return value if len(text) <= _MOST_SHOWN_CHARACTERS else f"{text[:_MOST_SHOWN_CHARACTERS]}…"
