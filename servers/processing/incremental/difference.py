"""Whether an incremental run gave what a full one gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from servers.processing.engines.engine import Engine
from servers.processing.kernels.cancellation import Cancellation
from servers.processing.kernels.sql_kernel import Relation
from servers.processing.plan.binding import bind
from servers.processing.plan.errors import TypeMismatch, shown
from servers.processing.plan.limits import PlanLimits
from servers.processing.plan.nodes import Aggregate, Column, Filter, Ordering, Project, Scan, Top, Union, Window, WindowColumn
from servers.processing.plan.plan import Plan, Step
from servers.runtime.sql_names import quoted

RELATIVE_TOLERANCE = 1e-9
"""Far above what the order of additions does to a sum of doubles, and far below what anybody means."""


@dataclass(frozen=True)
class Difference:
    """How two results differ as multisets of rows; a row whose values are too far apart is both missing and surplus.

    Args:
        missing: Rows that only the full result has.
        surplus: Rows that only the incremental one has.
        missing_rows: Some of them.
        surplus_rows: Some of them.
    """

    missing: int
    surplus: int
    missing_rows: pa.Table
    surplus_rows: pa.Table

    @property
    def is_none(self) -> bool:
        """Whether the results are the same."""
        return not self.missing and not self.surplus


def difference(
    full: Relation,
    incremental: Relation,
    engine: Engine,
    cancellation: Cancellation,
    *,
    sums: Sequence[str] = (),
    relative_tolerance: float = RELATIVE_TOLERANCE,
    most_rows: int = 10,
) -> Difference:
    """Compares two results, whatever the order of their rows.

    Values are compared exactly, as SQL does: all NaNs are one value, and so are 0.0 and -0.0. In the columns named by `sums` they may
    differ: rows that agree in all other columns are paired in the order of these ones.

    Args:
        full: All rows, with the columns and types of `incremental`.
        incremental: The same.
        engine: Compares; it spills.
        cancellation: Stops it.
        sums: Columns of floats that may differ by `relative_tolerance`, since the order of additions is open.
        relative_tolerance: Of the larger one of two values.
        most_rows: That are given of each side.

    Raises:
        TypeMismatch: INVALID_ARGUMENT: columns are different, or one of the sums is no column of floats.
    """
    schema = full.schema
    if not schema.equals(incremental.schema):
        raise TypeMismatch(f"the full result has the columns {schema}, and the incremental one {incremental.schema}")
    for name in sums:
        if schema.get_field_index(name) < 0 or not pa.types.is_floating(schema.field(name).type):
            raise TypeMismatch(f"{shown(name)} is no column of floats")
    steps = _steps(schema, sums, relative_tolerance, most_rows)
    limits = PlanLimits(columns=3 * len(schema) + 4)
    plan = bind(Plan(steps, ("missing", "surplus", "missing_rows", "surplus_rows")), {"full": schema, "incremental": schema}, limits)
    with engine.run(plan, {"full": full, "incremental": incremental}, cancellation) as outputs:
        counts = [outputs[name].read_all()["rows"][0].as_py() for name in ("missing", "surplus")]
        rows = [outputs[name].read_all().rename_columns(schema.names) for name in ("missing_rows", "surplus_rows")]
    return Difference(*counts, *rows)


def _steps(schema: pa.Schema, sums: Sequence[str], tolerance: float, most_rows: int) -> tuple[Step, ...]:
    columns = [f"column_{place}" for place in range(len(schema))]
    of_sums = [column for column, name in zip(columns, schema.names, strict=True) if name in sums]
    exact = [column for column in columns if column not in of_sums]
    named = tuple(Column(column, quoted(name)) for column, name in zip(columns, schema.names, strict=True))
    steps: list[Step] = []
    for side in ("full", "incremental"):
        order = tuple(map(Ordering, of_sums))
        steps += [
            Scan(side, side),
            Project(f"{side}_side", side, (*named, Column("side", f"'{side}'"))),
            # Rows that agree so far, one by one.
            Window(f"{side}_numbered", f"{side}_side", (*exact, "side"), order, (WindowColumn("number", "row_number()"),)),
        ]
    sides = ("full", "incremental")
    there = tuple(Column(f"is_{side}", f"bool_or(side = '{side}')") for side in sides)
    values = tuple(Column(f"{each}_{side}", f"max({each}) FILTER (WHERE side = '{side}')") for each in of_sums for side in sides)
    groups = tuple(Column(column, column) for column in (*exact, "number"))
    close = "".join(f" AND {_is_close(f'{column}_full', f'{column}_incremental', tolerance)}" for column in of_sums)
    steps += [
        Union("both", ("full_numbered", "incremental_numbered")),
        Aggregate("pairs", "both", groups, (*there, *values)),
        Filter("different", "pairs", f"NOT (is_full AND is_incremental{close})"),
    ]
    for side, name in (("full", "missing"), ("incremental", "surplus")):
        shown_columns = tuple(Column(column, column if column in exact else f"{column}_{side}") for column in columns)
        steps += [
            Filter(f"{name}_pairs", "different", f"is_{side}"),
            Aggregate(name, f"{name}_pairs", (), (Column("rows", "count(*)"),)),
            Project(f"{name}_columns", f"{name}_pairs", shown_columns),
            Top(f"{name}_rows", f"{name}_columns", (), most_rows),
        ]
    return tuple(steps)


def _is_close(one: str, other: str, tolerance: float) -> str:
    # Infinity is within any share of infinity, and NaN within NaN.
    is_near = f"isfinite({one}) AND isfinite({other}) AND abs({one} - {other}) <= {tolerance!r} * greatest(abs({one}), abs({other}))"
    return f"({one} IS NOT DISTINCT FROM {other} OR coalesce({is_near}, false))"
