"""The options by which commands say how a file is read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer

from mlmesh.ingestion_options import ReadOptions

Format = Annotated[str, typer.Option(help="csv, json, ndjson, parquet, avro, orc, arrow or excel; default: found out.")]
Delimiter = Annotated[str, typer.Option(help="CSV: delimiter; default: found out.")]
Encoding = Annotated[str, typer.Option(help="CSV: utf-8, utf-16, latin-1 or windows-1252; default: utf-8.")]
Header = Annotated[
    bool | None, typer.Option("--header/--no-header", help="CSV and Excel: whether the first row has the names.", show_default="header")
]
SkipRows = Annotated[int, typer.Option(help="CSV and Excel: rows to leave out at the beginning.", min=0)]
Sheet = Annotated[str, typer.Option(help="Excel: the sheet; default: the first.")]
JsonPath = Annotated[str, typer.Option(help="JSON: key of the top-level object that has the array.")]
ColumnTypes = Annotated[list[str] | None, typer.Option("--column-type", help="Type of a column, NAME=TYPE; may be repeated.")]


def read_options(
    format: str,
    delimiter: str,
    encoding: str,
    has_header: bool | None,
    skip_rows: int,
    sheet: str,
    json_path: str,
    column_types: Iterable[str] | None,
) -> ReadOptions:
    """Returns what the options say.

    Raises:
        typer.BadParameter: A type is not NAME=TYPE.
    """
    return ReadOptions(
        format=format,
        # A shell makes it hard to type the character itself.
        delimiter="\t" if delimiter == "\\t" else delimiter,
        encoding=encoding,
        has_header=has_header,
        skip_rows=skip_rows,
        sheet=sheet,
        json_path=json_path,
        column_types=types_of(column_types),
    )


def types_of(column_types: Iterable[str] | None) -> dict[str, str]:
    """Returns types by column.

    Raises:
        typer.BadParameter: One is not NAME=TYPE.
    """
    return dict(map(_named_type, column_types or ()))


def _named_type(text: str) -> tuple[str, str]:
    # A type may have a `=`, too: `timestamp[us, tz=UTC]`.
    name, separator, kind = text.partition("=")
    if not name or not separator or not kind:
        raise typer.BadParameter(f"{text!r} is not NAME=TYPE", param_hint="--column-type")
    return name, kind
