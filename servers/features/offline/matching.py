"""Which row of a view counts for each row of the spine; only keys and times are read for that.

A row of a bitemporal view is available from the later of its event and write time on. Ordered by that, a row that comes after one with a
newer event is never the answer, and of rows that become available together only the best one is. Without those, the newest of the
available rows is the answer, which is an as-of join on one time.
"""

from __future__ import annotations

from datetime import timedelta

from mlops.processing.v1 import plan_pb2 as pb

from servers.features.offline.relations import PlacedView, Relation
from servers.features.offline.steps import aggregate, as_of_join, extended, filtered, window
from servers.runtime.sql_names import quoted

FOUND = "found"
"""Column with the event time of the row that was found, also of one that is too old."""
SINGLE = "single"
"""Column with the event time of the row that counts, if no other row has its keys and times."""
TIED = "tied"
"""The same, if others have."""
WRITTEN = "written"
"""Column with the write time of the row that was found."""

_ZONES = (("DATE", "TIMESTAMP"), ("DATE", "TIMESTAMP WITH TIME ZONE"))


def moments(placed: PlacedView, rows: Relation) -> tuple[list[pb.Step], Relation]:
    """Finds the moments from which on a row counts.

    Args:
        placed: The view.
        rows: Of `history`.

    Returns:
        Steps; the last one has keys, `event` and the number of `rows` that share them, and of a bitemporal view `write` and `available`.
    """
    keys, column, moment = key_columns(placed), placed.column, placed.step("moments")
    event, written, available = column("event"), column("write"), column("available")
    counted = [*keys, event, *([written] if placed.view.is_bitemporal else [])]
    steps = [aggregate(moment, rows.step, counted, {column("rows"): "count(*)"})]
    known = Relation(moment, (*counted, column("rows")))
    if not placed.view.is_bitemporal:
        return steps, known
    newest, following = column("newest"), column("following")
    looked_at = [
        pb.WindowColumn(name=newest, call=f"max({quoted(event)})", frame="ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW"),
        pb.WindowColumn(name=following, call=f"lead({quoted(available)})"),
    ]
    is_answer = f"{quoted(event)} = {quoted(newest)} AND {quoted(available)} IS DISTINCT FROM {quoted(following)}"
    dated, ordered, answers = map(placed.step, ("available", "ordered", "answers"))
    return [
        *steps,
        extended(dated, moment, {available: _available(placed)}),
        window(ordered, dated, keys, (available, event, written), looked_at),
        filtered(answers, ordered, f"{quoted(available)} IS NOT NULL AND {is_answer}"),
    ], Relation(answers, (*known.columns, available, newest, following))


def _available(placed: PlacedView) -> str:
    """An expression for the moment from which on a row may be used; null if it never may."""
    event, written = quoted(placed.column("event")), quoted(placed.column("write"))
    # Strictly before is at least a microsecond before, which is the unit of all times.
    usable = f"TRY({event} + to_microseconds(1))" if placed.view.is_strict else event
    # Nulls are looked for, since `greatest` takes no notice of them.
    is_known = f"{of_one_kind(event, written)} AND {usable} IS NOT NULL AND {written} IS NOT NULL"
    return f"CASE WHEN {is_known} THEN greatest({usable}, {written}) END"


def as_of(placed: PlacedView, left: Relation, known: Relation) -> tuple[list[pb.Step], Relation]:
    """Joins the moment that counts to the rows of the spine.

    Args:
        placed: The view.
        left: Rows of the spine.
        known: Of `moments`.
    """
    view, joined = placed.view, placed.step("as_of")
    keys = tuple(zip(placed.keys, key_columns(placed), strict=True))
    times = (placed.label_time, placed.column("available" if view.is_bitemporal else "event"))
    step = as_of_join(joined, left.step, known.step, keys, times, is_strict=view.is_strict and not view.is_bitemporal)
    return [step], Relation(joined, (*left.columns, *known.columns))


def found(placed: PlacedView) -> dict[str, str]:
    """Expressions over the result of `as_of` for `found`, `single`, `tied` and, of a bitemporal view, `written`."""
    view, column = placed.view, placed.column
    event, rows, label = quoted(column("event")), quoted(column("rows")), quoted(placed.label_time)
    counts = "true" if view.max_age is None else _is_within(label, event, view.max_age)
    expressions = {
        column(FOUND): f"CASE WHEN {of_one_kind(label, event)} THEN {event} END",
        column(SINGLE): f"CASE WHEN {rows} = 1 AND {counts} THEN {event} END",
        column(TIED): f"CASE WHEN {rows} > 1 AND {counts} THEN {event} END",
    }
    return expressions | ({column(WRITTEN): quoted(column("write"))} if view.is_bitemporal else {})


def key_columns(placed: PlacedView) -> tuple[str, ...]:
    """Names of the columns with the keys of a view."""
    return tuple(placed.column("key", number) for number in range(len(placed.keys)))


def of_one_kind(first: str, second: str) -> str:
    """An expression that is true, and that no plan can be bound with if the times are of different kinds, or no times.

    The binder knows `typeof`, and names both what it found and what there is.
    """
    pairs = dict.fromkeys(f"{one} beside {other}" for kinds in _ZONES for one in kinds for other in kinds)
    allowed = ", ".join(f"'{pair}': true" for pair in pairs)
    return f"struct_extract({{{allowed}}}, typeof({first}) || ' beside ' || typeof({second}))"


def _is_within(label: str, event: str, max_age: timedelta) -> str:
    # In 128 bits, since the difference of two 64-bit times may not fit.
    age = " - ".join(f"CAST(epoch_us({time}) AS HUGEINT)" for time in (label, event))
    return f"{age} <= {max_age // timedelta(microseconds=1)}"
