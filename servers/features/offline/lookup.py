"""What is read of a view, and the values behind the times that were found.

Most rows of a view have their keys and times to themselves, and are joined as they are. Of those that share them the first is found and
joined beside: sorting all rows of a view by all of its features to find those few takes as long as everything else.
"""

from __future__ import annotations

from mlops.processing.v1 import plan_pb2 as pb

from servers.features.offline.matching import SINGLE, TIED, WRITTEN, key_columns
from servers.features.offline.relations import PlacedView, Relation
from servers.features.offline.steps import SECOND, filtered, first_of_each, join, project, scan
from servers.runtime.sql_names import quoted


def history(placed: PlacedView) -> tuple[list[pb.Step], Relation]:
    """Reads keys, times and features of a view; the input is read here only, as it may be a stream."""
    view, column, read, named = placed.view, placed.column, placed.step("read"), placed.step("rows")
    columns = dict(zip(key_columns(placed), (key.view for key in view.keys), strict=True)) | {column("event"): view.event_time}
    if view.write_time:
        columns[column("write")] = view.write_time
    columns |= dict(zip(_values(placed), (feature.column for feature in view.features), strict=True))
    steps = [scan(read, view.input, columns.values()), project(named, read, {name: quoted(each) for name, each in columns.items()})]
    return steps, Relation(named, tuple(columns))


def looked_up(placed: PlacedView, left: Relation, rows: Relation, moments: Relation) -> tuple[list[pb.Step], Relation]:
    """Adds columns with the values to the rows of the spine; `values` says what they are.

    Args:
        placed: The view.
        left: Rows of the spine with what `found` says.
        rows: Of `history`.
        moments: Of `moments`.
    """
    column, step = placed.column, placed.step
    with_single, tied, sharing, first, result = map(step, ("with_single", "tied", "sharing", "first_of_ties", "with_values"))
    newest_first = (column("write"),) if placed.view.write_time and not placed.view.is_bitemporal else ()
    written = [column(WRITTEN)] if placed.view.is_bitemporal else []
    own = _moment(placed)
    again = [f"{each}{SECOND}" for each in own]
    return [
        _join(placed, with_single, (left.step, [*placed.keys, column(SINGLE), *written]), (rows.step, own), own, pb.JOIN_KIND_LEFT),
        filtered(tied, moments.step, f"{quoted(column('rows'))} > 1"),
        _join(placed, sharing, (rows.step, own), (tied, own), again, pb.JOIN_KIND_SEMI),
        first_of_each(first, sharing, own, newest_first),
        _join(placed, result, (with_single, [*placed.keys, column(TIED), *written]), (first, own), again, pb.JOIN_KIND_LEFT),
    ], Relation(result, (*left.columns, *rows.columns, *(f"{each}{SECOND}" for each in rows.columns)))


def values(placed: PlacedView) -> list[str]:
    """Expressions over the result of `looked_up`, one a feature of the view."""
    tied = quoted(placed.column(TIED))
    return [f"CASE WHEN {tied} IS NULL THEN {quoted(each)} ELSE {quoted(each + SECOND)} END" for each in _values(placed)]


def _moment(placed: PlacedView) -> list[str]:
    """Columns of the view that say which row it is."""
    return [*key_columns(placed), placed.column("event"), *([placed.column("write")] if placed.view.is_bitemporal else [])]


def _join(
    placed: PlacedView, name: str, left: tuple[str, list[str]], right: tuple[str, list[str]], named: list[str], kind: pb.JoinKind.ValueType
) -> pb.Step:
    """Joins by keys and times.

    Times are a condition, so that rows lie by the keys of the view alone and are not moved between the joins of a view.

    Args:
        placed: The view.
        name: Of the step.
        left: Step and columns on the left side.
        right: The same on the right side.
        named: What the right columns are named beside the left ones.
        kind: Which rows are kept.
    """
    pairs, count = list(zip(left[1], right[1], strict=True)), len(placed.keys)
    if not count:
        return join(name, left[0], right[0], pairs, kind)
    equal = (f"{quoted(each)} = {quoted(other)}" for each, other in zip(left[1][count:], named[count:], strict=True))
    return join(name, left[0], right[0], pairs[:count], kind, " AND ".join(equal))


def _values(placed: PlacedView) -> list[str]:
    return [placed.column("value", number) for number in range(len(placed.view.features))]
