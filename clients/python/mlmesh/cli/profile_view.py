"""A profile as a table in the terminal."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from mlmesh.cli.output import console, print_table
from mlmesh.profiles import ColumnProfile, DatasetProfile, Histogram

_BLOCKS = "▁▂▃▄▅▆▇█"
_BARS = 15
_LONGEST_CELL = 24


def print_profile(profile: DatasetProfile) -> None:
    """Prints a profile, a line a column."""
    console().print(f"{profile.dataset} version {profile.version}: {profile.row_count:,} rows", soft_wrap=True)
    console().print()
    rows = (
        (
            *(column.name, column.type, _share(column.null_count, profile.row_count), _different(column)),
            *(_cell(column.minimum), _middle(column), _cell(column.maximum), _distribution(column)),
        )
        for column in profile.columns
    )
    columns = ("COLUMN", "TYPE", "MISSING", "DIFFERENT", "LEAST", "MEDIAN", "GREATEST", "DISTRIBUTION")
    print_table(columns, rows, empty="no columns")


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if part and whole else ""


def _different(column: ColumnProfile) -> str:
    return f"{round(column.distinct_count):,}" if column.distinct_count else ""


def _middle(column: ColumnProfile) -> str:
    if column.median is None:
        return ""
    if not column.type.startswith(("date", "timestamp")):
        return f"{column.median:.6g}"
    try:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=column.median)
    except OverflowError:
        return ""
    return moment.strftime("%Y-%m-%d" if column.type.startswith("date") else "%Y-%m-%d %H:%M")


def _distribution(column: ColumnProfile) -> str:
    if column.histogram is not None:
        return _bars(column.histogram)
    return ", ".join(f"{_cell(one.value)} ({one.count:,})" for one in column.frequent_values[:3])


def _bars(histogram: Histogram) -> str:
    """Draws a histogram in one line; neighbouring ranges are joined where there are many."""
    joined = -(-len(histogram.counts) // _BARS)
    counts = [sum(histogram.counts[place : place + joined]) for place in range(0, len(histogram.counts), joined)]
    most = max(counts) or 1
    return "".join(_BLOCKS[min(int(len(_BLOCKS) * count / most), len(_BLOCKS) - 1)] if count > 0 else " " for count in counts)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    text = f"{value:.6g}" if isinstance(value, float) else str(value).replace("\n", " ")
    return text if len(text) <= _LONGEST_CELL else text[: _LONGEST_CELL - 1] + "…"
