"""What commands print: tables for people, JSON for programs, errors with what to do."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_STATE_COLOURS = {
    "healthy": "green",
    "ready": "green",
    "succeeded": "green",
    "passed": "green",
    "degraded": "yellow",
    "starting": "yellow",
    "restarting": "yellow",
    "pending": "yellow",
    "queued": "yellow",
    "running": "yellow",
    "cancelling": "yellow",
    "warning": "yellow",
    "unavailable": "red",
    "failed": "red",
    "cancelled": "red",
}


def console() -> Console:
    """Returns the console of standard output."""
    return Console(highlight=False)


def print_error(message: str, hint: str = "") -> None:
    """Prints an error, and what to do about it, to standard error."""
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    errors.print(f"[red bold]error:[/] {escape(message)}")
    if hint:
        errors.print(f"[dim]hint:[/]  {escape(hint)}")


def print_json(value: Any) -> None:
    """Prints a value as indented JSON, without colours or wrapping."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def plain(value: DataclassInstance) -> dict[str, Any]:
    """Returns a value of the client as JSON values; moments as RFC 3339 text, lengths of time in seconds."""
    return asdict(value, dict_factory=lambda items: {key: _json_value(one) for key, one in items})


def moment(value: datetime | None) -> str:
    """Returns a moment for people, in UTC; empty where there is none."""
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S") if value is not None else ""


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str = "", empty: str = "nothing") -> None:
    """Prints rows under their column names.

    Args:
        columns: Column names.
        rows: Cells; None and an empty string are printed as `-`, a `Text` in its style.
        title: Title above the table.
        empty: What to print where there are no rows.
    """
    table = Table(title=title or None, title_justify="left", box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    count = 0
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else escape(str(cell)) if cell not in (None, "") else "-" for cell in row))
        count += 1
    if count:
        console().print(table)
    else:
        console().print(f"[dim]{escape(empty)}[/]")


def state_text(state: str) -> Text:
    """Returns a state in its colour, as a cell of a table."""
    return Text.from_markup(coloured(state))


def coloured(state: str) -> str:
    """Returns a state in its colour, as markup."""
    colour = _STATE_COLOURS.get(state.lower())
    return f"[{colour}]{escape(state)}[/]" if colour else escape(state)


def human_size(size_bytes: float) -> str:
    """Returns a size with a binary unit, for example `1.5 MiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(size_bytes) < 1024:
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:.1f} TiB"


def _json_value(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value.total_seconds()
    return rfc3339(value) if isinstance(value, datetime) else value


def rfc3339(value: datetime) -> str:
    """Returns a moment as RFC 3339 text, in UTC."""
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
