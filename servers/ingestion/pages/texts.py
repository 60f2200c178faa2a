"""Values as people read them on a page."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from typing import Any

_LONGEST = 300


def number(value: float | None) -> str:
    """A number with thousands apart, and six digits where it has a fraction."""
    if value is None:
        return "–"
    if isinstance(value, int) or (math.isfinite(value) and value == int(value) and abs(value) < 10**15):
        return f"{int(value):,}"
    if not math.isfinite(value) or not 1e-4 <= abs(value) < 1e15:
        return f"{value:.4g}"
    return f"{value:,.1f}" if abs(value) >= 10_000 else f"{value:,.6g}"


def about(value: float) -> str:
    """An estimate: whole, with thousands apart."""
    return f"{round(value):,}"


def share(part: float, whole: float) -> str:
    """A share in percent."""
    if not whole:
        return "–"
    percent = 100 * part / whole
    return f"{percent:.0f} %" if percent in (0, 100) else "< 0.1 %" if percent < 0.1 else f"{percent:.1f} %"


def value(found: Any) -> str:
    """A value of a table: text as it is, all else as JSON, both cut."""
    if found is None:
        return "–"
    text = found if isinstance(found, str) else number(found) if _is_number(found) else json.dumps(found, ensure_ascii=False)
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"


def on_axis(told: float | str, column_type: str) -> str:
    """A quantile or a limit of a range; of times, which are seconds since 1970, the date, and the time where there is one."""
    found = float(told)
    if not column_type.startswith(("date", "timestamp")):
        return number(found)
    try:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=found)
    except (OverflowError, ValueError):
        return number(found)
    return moment.strftime("%Y-%m-%d" if column_type.startswith("date") else "%Y-%m-%d %H:%M")


def _is_number(found: Any) -> bool:
    return isinstance(found, int | float) and not isinstance(found, bool)
