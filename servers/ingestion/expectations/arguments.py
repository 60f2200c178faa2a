"""The kinds of arguments that expectations have: what is accepted, and the JSON that it becomes.

A kind takes what a caller or a JSON file says and returns plain JSON, or raises `ValueError` with what would be right. So an expectation is
the same whether it was written in Python (dates, sets, tuples) or read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from itertools import pairwise

from servers.ingestion.expectations import limits

Kind = Callable[[object], object]


@dataclass(frozen=True)
class Argument:
    """One argument of an expectation.

    Args:
        kind: Accepts and normalises its value.
        is_required: Whether it must be there.
        default: What counts where it is not.
    """

    kind: Kind
    is_required: bool = False
    default: object = None


def required(kind: Kind) -> Argument:
    """Return an argument that must be there."""
    return Argument(kind, is_required=True)


def optional(kind: Kind, default: object = None) -> Argument:
    """Return an argument that may be left out or null."""
    return Argument(kind, default=default)


def text(value: object) -> str:
    """Accept a text, for example a column's name."""
    if not isinstance(value, str) or not value:
        raise ValueError("a text that is not empty")
    if len(value) > limits.MAX_TEXT_CHARACTERS:
        raise ValueError(f"a text of at most {limits.MAX_TEXT_CHARACTERS} characters")
    return value


def truth(value: object) -> bool:
    """Accept true or false."""
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def number(value: object) -> int | float:
    """Accept a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("a number")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a finite number (leave a bound out where there is none)")
    # The engine's whole numbers end here.
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 64:
        raise ValueError("a whole number from -2^63 to 2^64 - 1")
    return value


def positive(value: object) -> int | float:
    """Accept a finite number that is not negative."""
    if (accepted := number(value)) < 0:
        raise ValueError("a number from 0 on")
    return accepted


def share(value: object) -> int | float:
    """Accept a share from 0 to 1."""
    if not 0 <= (accepted := number(value)) <= 1:
        raise ValueError("a share from 0 to 1")
    return accepted


def count(value: object) -> int:
    """Accept a whole number from 0 on; GX's JSON has some of them as 3.0."""
    accepted = positive(value)
    if accepted != int(accepted):
        raise ValueError("a whole number from 0 on")
    return int(accepted)


def scalar(value: object) -> object:
    """Accept a number, a text, true or false, or a date, which becomes ISO 8601 text."""
    if isinstance(value, date | datetime):
        return value.isoformat()
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return value if not value else text(value)
    try:
        return number(value)
    except ValueError as error:
        raise ValueError(f"{error}, a text, true or false, or a date") from None


def bound(value: object) -> object:
    """Accept a number, a text or a date."""
    if isinstance(value, bool):
        raise ValueError("a number, a text or a date")
    return scalar(value)


def listed(kind: Kind, most: int, *, least: int = 0, distinct: bool = False) -> Kind:
    """Return the kind of a list of `kind`, of `least` to `most` entries."""

    def accept(value: object) -> list[object]:
        if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
            raise ValueError("a list")
        entries = list(value)
        if not least <= len(entries) <= most:
            raise ValueError(f"a list of {least} to {most} entries")
        accepted = [kind(entry) for entry in entries]
        # A set has no order of its own, and the JSON of a suite should not depend on a hash.
        if isinstance(value, set | frozenset):
            accepted.sort(key=lambda entry: (type(entry).__name__, entry))
        if distinct and len(set(accepted)) != len(accepted):
            raise ValueError("a list without repetition")
        return accepted

    return accept


def _scalar_or_null(value: object) -> object:
    return None if value is None else scalar(value)


value_set = listed(_scalar_or_null, limits.MAX_SET_VALUES)
record_columns = listed(text, limits.MAX_RECORD_COLUMNS, least=1, distinct=True)
table_columns = listed(text, limits.MAX_TABLE_COLUMNS)


def _pair(value: object) -> list[object]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError("a list of pairs")
    return [_scalar_or_null(entry) for entry in value]


pairs = listed(_pair, limits.MAX_SET_VALUES)


def choice(*names: str) -> Kind:
    """Return the kind of one of these words."""

    def accept(value: object) -> str:
        if not isinstance(value, str) or value not in names:
            raise ValueError(f"one of {', '.join(names)}")
        return value

    return accept


def quantile_ranges(value: object) -> dict[str, object]:
    """Accept `{"quantiles": [0.5], "value_ranges": [[1, null]]}`."""
    if not isinstance(value, Mapping) or set(value) != {"quantiles", "value_ranges"}:
        raise ValueError('an object of "quantiles" and "value_ranges"')
    quantiles = listed(share, limits.MAX_QUANTILES)(value["quantiles"])
    ranges = listed(_range, limits.MAX_QUANTILES)(value["value_ranges"])
    if not isinstance(quantiles, list) or not isinstance(ranges, list) or len(quantiles) != len(ranges):
        raise ValueError("as many value ranges as quantiles")
    if quantiles != sorted(quantiles):
        raise ValueError("quantiles in rising order")
    return {"quantiles": quantiles, "value_ranges": ranges}


def _range(value: object) -> list[object]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError("ranges of two bounds")
    low, high = (None if entry is None else bound(entry) for entry in value)
    if isinstance(low, int | float) and isinstance(high, int | float) and low > high:
        raise ValueError("ranges whose first bound is not above the second")
    return [low, high]


def interpolation(value: object) -> object:
    """Accept false (nearest) or the name of an interpolation."""
    return value if value is False else choice("linear", "lower", "higher", "midpoint", "nearest")(value)


def partition(value: object) -> dict[str, object]:
    """Accept a partition: `bins` (rising, finite) or `values`, with `weights` that add up to 1, and `tail_weights` of bins."""
    if not isinstance(value, Mapping) or not {"weights"} < set(value) <= {"bins", "values", "weights", "tail_weights"}:
        raise ValueError('an object of "bins" or "values", and "weights"')
    weights = _numbers(listed(share, limits.MAX_SET_VALUES, least=1)(value["weights"]))
    tails = _numbers(listed(share, 2, least=2)(value["tail_weights"])) if "tail_weights" in value else []
    if abs(sum(weights) + sum(tails) - 1) > 1e-6:
        raise ValueError("weights that add up to 1")
    accepted: dict[str, object] = {"weights": weights}
    if tails:
        accepted["tail_weights"] = tails
    if "values" in value:
        values = listed(scalar, limits.MAX_SET_VALUES, least=1, distinct=True)(value["values"])
        if "bins" in value or tails or not isinstance(values, list) or len(values) != len(weights):
            raise ValueError('one weight a value, and neither "bins" nor "tail_weights" beside "values"')
        return accepted | {"values": values}
    if "bins" not in value:
        raise ValueError('an object of "bins" or "values", and "weights"')
    bins = _numbers(listed(number, limits.MAX_BINS + 1, least=2)(value["bins"]))
    if len(bins) != len(weights) + 1 or any(low >= high for low, high in pairwise(bins)):
        raise ValueError("bins in rising order, one more than weights")
    return accepted | {"bins": bins}


def _numbers(values: object) -> list[float]:
    return values if isinstance(values, list) else []


def anything(value: object) -> object:
    """Accept what another part of the program checks."""
    return value
