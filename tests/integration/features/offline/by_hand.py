"""The same as a training set's plan, in plain Python: every row of a view is looked at for every row of the spine."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from servers.features.offline.specification import FeatureView, TrainingSet

Row = dict[str, Any]


def training_set_by_hand(training_set: TrainingSet, tables: dict[str, list[Row]]) -> list[tuple[Any, ...]]:
    """The rows that a training set has."""
    return [_row(training_set, row, tables) for row in tables[training_set.spine.input]]


def _row(training_set: TrainingSet, row: Row, tables: dict[str, list[Row]]) -> tuple[Any, ...]:
    result = [row[column] for column in training_set.spine.columns]
    for view in training_set.views:
        found = found_by_hand(view, row, row[training_set.spine.label_time], tables[view.input])
        is_old = found is not None and view.max_age is not None and _moment(row["label_time"]) - _moment(found["event"]) > view.max_age
        result += [None if found is None or is_old else found[feature.column] for feature in view.features]
        if training_set.has_event_times:
            result.append(None if found is None else found["event"])
        if training_set.has_statuses:
            result.append("NOT_FOUND" if found is None else "OUTSIDE_MAX_AGE" if is_old else "PRESENT")
    return tuple(result)


def found_by_hand(view: FeatureView, row: Row, label_time: Any, history: list[Row]) -> Row | None:
    """The row of a view that counts, also if it is too old."""
    found = [each for each in history if _may_count(view, row, label_time, each)]
    for better in (lambda each: _moment(each["event"]), _written(view)):
        best = max(map(better, found), default=None)
        found = [each for each in found if better(each) == best]
    return min(found, key=lambda each: [_sorted_last(each[feature.column]) for feature in view.features], default=None)


def _may_count(view: FeatureView, row: Row, label_time: Any, each: Row) -> bool:
    if any(row[key.spine] is None or row[key.spine] != each[key.view] for key in view.keys):
        return False
    if label_time is None or each["event"] is None or (view.is_bitemporal and each["written"] is None):
        return False
    label, event = _moment(label_time), _moment(each["event"])
    return (event < label if view.is_strict else event <= label) and (not view.is_bitemporal or _moment(each["written"]) <= label)


def _written(view: FeatureView) -> Any:
    """The latest is the best, and a row without a write time the worst."""
    return lambda each: (each["written"] is not None, each["written"] and _moment(each["written"])) if view.write_time else 0


def _moment(time: date | datetime) -> datetime:
    if not isinstance(time, datetime):
        return datetime(time.year, time.month, time.day, tzinfo=UTC)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _sorted_last(value: Any) -> Any:
    return (value is None, value)
