"""Where the bars of a chart stand. How they look is in `templates/charts.html`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

WIDTH, HEIGHT = 420, 120
"""Of a histogram, in units of its SVG."""

_LEAST_HEIGHT = 1.0
"""Of a bar that stands for something, so that it is seen."""


@dataclass(frozen=True)
class Bar:
    """A bar of a histogram.

    Args:
        x: Its left side.
        y: Its top.
        width: Its width.
        height: Its height.
        low: Lower limit of its range.
        high: Upper limit.
        count: Values in the range.
    """

    x: float
    y: float
    width: float
    height: float
    low: float
    high: float
    count: float


@dataclass(frozen=True)
class Segment:
    """A part of a bar that shows shares of a whole.

    Args:
        name: What it is; also that of its colour.
        count: How much of it there is.
        x: Its left side, in percent.
        width: Its width, in percent.
    """

    name: str
    count: int
    x: float
    width: float


def histogram_bars(histogram: Mapping[str, Any]) -> list[Bar]:
    """Returns the bars of a histogram: `edges` and `counts`."""
    edges, counts = histogram["edges"], histogram["counts"]
    most, width = max(counts, default=0) or 1, WIDTH / max(len(counts), 1)
    bars = []
    for place, count in enumerate(counts):
        height = max(HEIGHT * count / most, _LEAST_HEIGHT) if count > 0 else 0.0
        bars.append(Bar(place * width, HEIGHT - height, width, height, edges[place], edges[place + 1], count))
    return bars


def segments(counts: Sequence[tuple[str, int]]) -> list[Segment]:
    """Returns the parts of a bar, those that there are.

    Args:
        counts: Names, and how much there is of each.
    """
    total = sum(count for _, count in counts)
    found, begin = [], 0.0
    for name, count in counts:
        if count:
            found.append(Segment(name, count, begin, 100 * count / total))
            begin += 100 * count / total
    return found
