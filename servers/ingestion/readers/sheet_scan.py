"""A look into a spreadsheet's XML before calamine reads it.

Two cells far apart make calamine reserve room for all between them, which can end the process; cells with an error it gives as empty.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from xml.parsers import expat

from servers.ingestion.errors import CorruptFile, ErrorCell, FileTooLarge
from servers.ingestion.readers.byte_streams import check_growth, is_of_the_machine
from servers.ingestion.readers.options import ReadLimits

MAX_CELLS = 32_000_000
"""Cells of a sheet, empty ones between others included: calamine takes some 32 bytes for each."""

_DAMAGE = (zipfile.BadZipFile, zlib.error, expat.ExpatError, OSError, EOFError, ValueError, NotImplementedError, RuntimeError, KeyError)
_REFERENCE = re.compile(r"([A-Z]{1,3})([0-9]{1,7})")
_XLSX_BOOK, _XLSX_RELATIONS, _ODS_CONTENT = "xl/workbook.xml", "xl/_rels/workbook.xml.rels", "content.xml"


def scan(path: Path, name: str, sheet: str, limits: ReadLimits) -> None:
    """Looks at all cells of a sheet.

    Args:
        path: A zip file, that is `.xlsx` or `.ods`.
        name: What the sender calls the file.
        sheet: Name of the sheet; empty means the first.
        limits: How far the file may inflate.

    Raises:
        CorruptFile: If it is no such file.
        FileTooLarge: If the file or the sheet would become too large.
        ErrorCell: If a cell has an error.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            check_growth(sum(entry.file_size for entry in entries), path.stat().st_size, name, limits)
            parts = {entry.filename for entry in entries}
            if _XLSX_BOOK in parts:
                _scan_xlsx(archive, name, sheet)
            elif _ODS_CONTENT in parts:
                _scan_ods(archive, name, sheet)
            else:
                raise CorruptFile("the zip file is neither .xlsx nor .ods. Save it as .xlsx", file=name)
    except _DAMAGE as error:
        if is_of_the_machine(error):
            raise
        raise CorruptFile("the spreadsheet is damaged or cut off. Save it again", file=name) from None


def _scan_xlsx(archive: zipfile.ZipFile, name: str, sheet: str) -> None:
    part = _part_of(archive, sheet)
    if part is None:
        return
    if part not in archive.namelist():
        raise CorruptFile("the workbook names a sheet that is not in it. Save it again", file=name)
    row = rows = columns = 0

    def on_start(tag: str, attributes: Mapping[str, str]) -> None:
        nonlocal row, rows, columns
        if tag == "row":
            row = int(attributes.get("r") or row + 1)
        elif tag == "c":
            match = _REFERENCE.fullmatch(attributes.get("r", ""))
            if match:
                row = int(match[2])
                columns = max(columns, _column_number(match[1]))
                rows = max(rows, row)
                _check_size(rows, columns, name)
            if attributes.get("t") == "e":
                raise _error_cell(name, row, match[1] if match else None)

    _parse(archive, part, on_start)


def _scan_ods(archive: zipfile.ZipFile, name: str, sheet: str) -> None:
    """All sheets are looked at, because calamine reads them all to open the file."""
    is_wanted = False
    tables = row = column = repeated_rows = columns = 0

    def on_start(tag: str, attributes: Mapping[str, str]) -> None:
        nonlocal is_wanted, tables, row, column, repeated_rows, columns
        if tag == "table":
            tables += 1
            is_wanted = attributes.get("table:name") == sheet if sheet else tables == 1
            row = repeated_rows = columns = 0
        elif tag == "table-row":
            row += repeated_rows
            repeated_rows, column = int(attributes.get("table:number-rows-repeated", 1)), 0
        elif tag in ("table-cell", "covered-table-cell"):
            column += int(attributes.get("table:number-columns-repeated", 1))
            if "office:value-type" in attributes:
                columns = max(columns, column)
                _check_size(row + repeated_rows, columns, name)
            if is_wanted and attributes.get("calcext:value-type") == "error":
                raise _error_cell(name, row + 1, None)

    _parse(archive, _ODS_CONTENT, on_start)


def _part_of(archive: zipfile.ZipFile, sheet: str) -> str | None:
    """The XML of a sheet, or None if there is no sheet of that name."""
    identifiers: dict[str, str] = {}
    targets: dict[str, str] = {}

    def on_sheet(tag: str, attributes: Mapping[str, str]) -> None:
        if tag == "sheet":
            relation = next((value for key, value in attributes.items() if key.endswith(":id")), "")
            identifiers.setdefault(attributes.get("name", ""), relation)

    def on_relation(tag: str, attributes: Mapping[str, str]) -> None:
        if tag == "Relationship":
            targets[attributes.get("Id", "")] = attributes.get("Target", "")

    _parse(archive, _XLSX_BOOK, on_sheet)
    _parse(archive, _XLSX_RELATIONS, on_relation)
    wanted = sheet or next(iter(identifiers), "")
    if wanted not in identifiers:
        return None
    target = targets.get(identifiers[wanted], "")
    return target.removeprefix("/") if target.startswith("/") else f"xl/{target}"


def _parse(archive: zipfile.ZipFile, part: str, on_start: Callable[[str, Mapping[str, str]], None]) -> None:
    parser = expat.ParserCreate()
    parser.StartElementHandler = lambda tag, attributes: on_start(tag.rsplit(":", maxsplit=1)[-1], attributes)
    with archive.open(part) as file:
        parser.ParseFile(file)


def _check_size(rows: int, columns: int, name: str) -> None:
    if rows * columns > MAX_CELLS:
        text = f"the sheet reaches over {rows} rows and {columns} columns; at most {MAX_CELLS} cells are allowed, empty ones included"
        raise FileTooLarge(f"{text}. Remove cells that are far from the table, or send CSV", file=name, line=rows)


def _error_cell(name: str, row: int, column: str | None) -> ErrorCell:
    text = "the cell has an error such as #DIV/0! or #N/A. Correct its formula, or empty it"
    return ErrorCell(text, file=name, line=row, column=column)


def _column_number(letters: str) -> int:
    number = 0
    for letter in letters:
        number = 26 * number + ord(letter) - ord("A") + 1
    return number
