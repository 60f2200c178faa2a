"""Plans of data processing: what a job computes, step by step.

```python
from mlmesh import plan

flights = plan.scan("flights")
late = flights.filter("arrival_delay > 15").aggregate(by="carrier", mean_delay="avg(arrival_delay)")
mesh.processing.run(inputs={"flights": "flights"}, outputs={"late_by_carrier": late})
```

Expressions are SQL over the columns of the step before, as DuckDB reads it. Nothing is sent and nothing computed here; what is wrong
whatever the columns are is refused at once.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from google.protobuf.message import Message
from mlops.processing.v1 import plan_pb2

from mlmesh.fields import enum_value
from mlmesh.function_sources import source_of
from mlmesh.plan_arguments import (
    Names,
    Order,
    Ordering,
    column_itself,
    column_names,
    computed_columns,
    invalid_step,
    is_number,
    join_keys,
    orderings_of,
    share_of_rows,
    some_columns,
    some_text,
    text_or_none,
    whole_number,
)

_STEP_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}", re.ASCII)
_SHARES_DIFFER_BY = 1e-9


def scan(source: str, columns: Names = ()) -> Relation:
    """Returns the rows of an input of the job.

    Args:
        source: Name of the input.
        columns: Columns that are read, in this order; empty = all.

    Raises:
        mlmesh.errors.InvalidArgument: An argument is wrong.
    """
    return Relation("scan", plan_pb2.Scan(source=some_text(source, "source"), columns=column_names(columns, "columns")))


def asc(column: str, *, nulls_first: bool = False) -> Ordering:
    """Orders by a column, the least first.

    Args:
        column: The column.
        nulls_first: Whether nulls come first.
    """
    return Ordering(column, nulls_first=nulls_first)


def desc(column: str, *, nulls_first: bool = False) -> Ordering:
    """Orders by a column, the greatest first.

    Args:
        column: The column.
        nulls_first: Whether nulls come first.
    """
    return Ordering(column, descending=True, nulls_first=nulls_first)


@dataclass(frozen=True, eq=False, repr=False)
class Relation:
    """Rows, as a step makes them of other rows. It never changes: every method returns a new one, so a relation may be used many times.

    Every method raises `mlmesh.errors.InvalidArgument` where an argument is wrong whatever the columns are; the rest is checked by the mesh
    before a job is taken.

    Args:
        kind: What the step does, by its field of the contract: `filter`.
        message: How, without the names of the steps that it reads.
        inputs: What it reads.
        name: Its name; empty = one is made.
    """

    kind: str
    message: Message
    inputs: tuple[Relation, ...] = ()
    name: str = ""

    def __repr__(self) -> str:
        """Returns the same in every process: Airflow takes a DAG with another text for another DAG."""
        return f"<{self.kind} {self.name or getattr(self.message, 'source', '')}".rstrip() + ">"

    def named(self, name: str) -> Relation:
        """Returns the same rows from a step that has a name, for errors, logs and explanations.

        Args:
            name: A letter, then letters, digits and `_`, at most 63 characters.
        """
        if not isinstance(name, str) or not _STEP_NAME.fullmatch(name):
            raise invalid_step(f"{name!r} is no name of a step: a letter, then letters, digits and _, at most 63 characters")
        return replace(self, name=name)

    def filter(self, condition: str) -> Relation:
        """Returns the rows for which a condition is true, neither false nor null.

        Args:
            condition: A boolean expression: `delay > 15 AND carrier IS NOT NULL`.
        """
        return self._then("filter", plan_pb2.Filter(condition=some_text(condition, "condition")))

    def select(self, *columns: str | Mapping[str, str], **computed: str) -> Relation:
        """Returns these columns alone, in this order.

        Args:
            columns: Names of columns that stay as they are; or mappings of names to expressions, for names that are no Python.
            computed: Expressions by the name of the column.
        """
        chosen: list[plan_pb2.ComputedColumn] = []
        for column in columns:
            chosen += computed_columns(column, {}) if isinstance(column, Mapping) else [column_itself(some_text(column, "a column"))]
        chosen += computed_columns({}, computed)
        if not chosen:
            raise invalid_step("select needs columns")
        return self._then("project", plan_pb2.Project(columns=chosen))

    def with_columns(self, columns: Mapping[str, str] | None = None, /, **computed: str) -> Relation:
        """Returns all columns and computed ones, which take the place of those of their name, or come after the others.

        Args:
            columns: Expressions by name, for names that are no Python.
            computed: Expressions by the name of the column.
        """
        made = computed_columns(columns or {}, computed)
        if not made:
            raise invalid_step("with_columns needs columns, such as hour='hour(departure_time)'")
        return self._then("project", plan_pb2.Project(columns=made, keeps_others=True))

    def join(
        self,
        other: Relation,
        on: Names = (),
        *,
        how: str = "inner",
        left_on: Names = (),
        right_on: Names = (),
        condition: str = "",
        suffix: str = "_right",
    ) -> Relation:
        """Returns pairs of rows whose keys are equal and for which the condition holds; null equals nothing.

        The result has all columns of this side, then all of the other one.

        Args:
            other: The right side.
            on: Keys that have the same name on both sides.
            how: `inner`, `left`, `right`, `full`, `semi` (rows of this side that have a partner) or `anti` (those that have none).
            left_on: Keys of this side, for names that differ.
            right_on: Those of the other side, in the same order.
            condition: What else has to hold, over the columns of the result. Without keys every pair is looked at.
            suffix: What columns of the other side get behind their name where this side has that name.
        """
        keys = join_keys(on, left_on, right_on, "on")
        if not keys and not condition:
            raise invalid_step("join needs on, left_on and right_on, or a condition; for every pair of rows there is cross_join")
        message = plan_pb2.Join(
            keys=keys,
            kind=enum_value(plan_pb2.JoinKind, some_text(how, "how")),
            condition=text_or_none(condition, "condition"),
            right_suffix=some_text(suffix, "suffix"),
        )
        return self._then("join", message, other)

    def cross_join(self, other: Relation, *, suffix: str = "_right") -> Relation:
        """Returns every pair of rows.

        Args:
            other: The right side, which has to be small.
            suffix: As in `join`.
        """
        return self._then("cross_join", plan_pb2.CrossJoin(right_suffix=some_text(suffix, "suffix")), other)

    def as_of_join(
        self,
        other: Relation,
        *,
        time: str,
        right_time: str = "",
        by: Names = (),
        left_by: Names = (),
        right_by: Names = (),
        tolerance: timedelta | float | None = None,
        allow_exact_matches: bool = True,
        how: str = "left",
        suffix: str = "_right",
    ) -> Relation:
        """Returns each row with the newest row of the other side that has its keys and is not newer than it.

        Args:
            other: The right side.
            time: Column of this side: a timestamp, date or number. Null matches nothing.
            right_time: Column of the other side, of the same kind; empty = `time`.
            by: Keys that have the same name on both sides; may be empty.
            left_by: Keys of this side, for names that differ.
            right_by: Those of the other side, in the same order.
            tolerance: Greatest difference: a `timedelta`, or seconds, or for numbers in their unit; None = any. What is older does not
                match.
            allow_exact_matches: Whether a row of the same time matches, too.
            how: `left`, or `inner` for rows with a match alone.
            suffix: As in `join`.
        """
        if how not in {"left", "inner"}:
            raise invalid_step(f"how is {how!r}; an as-of join is left or inner")
        greatest = tolerance.total_seconds() if isinstance(tolerance, timedelta) else tolerance
        if greatest is not None and not (is_number(greatest) and 0 <= greatest < math.inf):
            raise invalid_step(f"tolerance is {tolerance!r}; it has to be a timedelta or a number, 0 or more")
        message = plan_pb2.AsOfJoin(
            keys=join_keys(by, left_by, right_by, "by"),
            left_time=some_text(time, "time"),
            right_time=some_text(right_time or time, "right_time"),
            tolerance=greatest,
            is_strict=not allow_exact_matches,
            kind=enum_value(plan_pb2.JoinKind, how),
            right_suffix=some_text(suffix, "suffix"),
        )
        return self._then("as_of_join", message, other)

    def aggregate(
        self, aggregations: Mapping[str, str] | None = None, /, *, by: Names | Mapping[str, str] = (), **computed: str
    ) -> Relation:
        """Returns one row a key; without keys one row, also over no rows.

        Args:
            aggregations: Expressions with aggregate functions by name, for names that are no Python, or `by`.
            by: Columns that rows are grouped by, or expressions by name: `{"hour": "hour(departure_time)"}`.
            computed: Expressions with aggregate functions by the name of their column: `mean_delay="avg(delay)"`.
        """
        keys = computed_columns(by, {}) if isinstance(by, Mapping) else [column_itself(name) for name in column_names(by, "by")]
        made = computed_columns(aggregations or {}, computed)
        if not keys and not made:
            raise invalid_step("aggregate needs by, or aggregations such as flights='count(*)'")
        return self._then("aggregate", plan_pb2.Aggregate(keys=keys, aggregations=made))

    def window(
        self,
        calls: Mapping[str, str] | None = None,
        /,
        *,
        partition_by: Names = (),
        order_by: Order = (),
        frame: str = "",
        **computed: str,
    ) -> Relation:
        """Returns all columns and others that are computed over the rows of the same partition.

        Args:
            calls: Calls by name, for names that are no Python.
            partition_by: Columns of which rows with equal values make a partition; empty = all rows.
            order_by: Order within a partition. Rows that it does not tell apart are ordered by all columns where that counts.
            frame: Such as `ROWS BETWEEN 6 PRECEDING AND CURRENT ROW`; empty = SQL's default.
            computed: One call of an aggregate or window function by the name of its column: `previous="lag(price, 1)"`.
        """
        extent = text_or_none(frame, "frame")
        made = [plan_pb2.WindowColumn(name=one.name, call=one.expression, frame=extent) for one in computed_columns(calls or {}, computed)]
        if not made:
            raise invalid_step("window needs columns, such as previous='lag(price, 1)'")
        message = plan_pb2.Window(partition_by=column_names(partition_by, "partition_by"), order_by=orderings_of(order_by), columns=made)
        return self._then("window", message)

    def deduplicate(self, subset: Names, *, order_by: Order = ()) -> Relation:
        """Returns the first row of each key; null is a key like others.

        Args:
            subset: The key.
            order_by: Which row is the first. Ties are broken by all columns.
        """
        keys = column_names(subset, "subset")
        if not keys:
            raise invalid_step("deduplicate needs columns")
        return self._then("deduplicate", plan_pb2.Deduplicate(keys=keys, order_by=orderings_of(order_by)))

    def top(self, limit: int | None = None, *, order_by: Order = (), offset: int = 0, columns: Names = ()) -> Relation:
        """Returns the first rows. An output that is made so comes in its order.

        Args:
            limit: Most rows; None = all.
            order_by: Which rows are the first; empty = all columns decide. Ties are broken by all columns.
            offset: How many rows are left out before.
            columns: Columns of the result; empty = all.
        """
        message = plan_pb2.Top(
            order_by=orderings_of(order_by),
            limit=None if limit is None else whole_number(limit, "limit", 0),
            offset=whole_number(offset, "offset", 0),
            columns=column_names(columns, "columns"),
        )
        return self._then("top", message)

    def sort(self, *by: str | Ordering) -> Relation:
        """Returns all rows in an order, which an output keeps.

        Args:
            by: Columns, the least first, or what `asc` and `desc` make of them.
        """
        return self.top(order_by=by)

    def union(self, *others: Relation, distinct: bool = False) -> Relation:
        """Returns the rows of this and of others, which have the same columns in the same order.

        Args:
            others: The others. Types become those that hold all.
            distinct: Whether equal rows count once.
        """
        return self._then("union", plan_pb2.Union(is_distinct=distinct), *others)

    def map_batches(self, function: Callable[[Any], Any], *, schema: Mapping[str, str], by: Names = ()) -> Relation:
        """Returns what a Python function makes of the rows, on a mesh that allows it.

        The source of the function is sent, and nothing else: what it uses it has to import and define itself.

        Args:
            function: Takes a `pyarrow.RecordBatch` and returns one, or a `pyarrow.Table`. Where batches begin and end is left open. With
                `by` it takes a `pyarrow.Table`.
            schema: Types of the columns that it returns, as DuckDB writes them: `{"id": "BIGINT", "tags": "VARCHAR[]"}`.
            by: With these it is called once for all rows of a key, ordered by all columns.

        Raises:
            mlmesh.errors.InvalidArgument: The function cannot be sent: its source is not to be had, or it uses what is defined outside of
                it.
        """
        name, source = source_of(function)
        if not schema:
            raise invalid_step("map_batches needs the schema of what the function returns")
        columns = [
            plan_pb2.TypedColumn(name=some_text(column, "a column of schema"), type=some_text(kind, f"the type of {column!r}"))
            for column, kind in schema.items()
        ]
        return self._then(
            "python_function", plan_pb2.PythonFunction(source=source, function=name, schema=columns, partition_by=column_names(by, "by"))
        )

    def sample(self, fraction: float, *, seed: int = 0, keys: Names = ()) -> Relation:
        """Returns a share of the rows, chosen by a hash of the seed and the keys: the same on every day and engine.

        Args:
            fraction: Above 0 and at most 1.
            seed: Another one gives other rows.
            keys: Rows with equal keys are taken or left together; empty = all columns.
        """
        return self._then(
            "sample",
            plan_pb2.Sample(fraction=share_of_rows(fraction, "fraction"), seed=whole_number(seed, "seed"), keys=column_names(keys, "keys")),
        )

    def split(self, parts: Mapping[str, float], *, column: str = "split", seed: int = 0, keys: Names = ()) -> Relation:
        """Returns all rows with the name of each row's part in a new column, chosen as by `sample`.

        Args:
            parts: Share of each part, which add up to 1: `{"train": 0.8, "test": 0.2}`.
            column: The new column.
            seed: Another one gives other rows.
            keys: Rows with equal keys are in the same part; empty = all columns.
        """
        made = [
            plan_pb2.SplitPart(name=some_text(name, "a part"), share=share_of_rows(share, f"part {name!r}"))
            for name, share in parts.items()
        ]
        total = math.fsum(part.share for part in made)
        if abs(total - 1) > _SHARES_DIFFER_BY:
            raise invalid_step(f"the shares of a split have to add up to 1; these are {total:.12g}")
        message = plan_pb2.Split(
            parts=made, column=some_text(column, "column"), seed=whole_number(seed, "seed"), keys=column_names(keys, "keys")
        )
        return self._then("split", message)

    def impute(self, columns: Names, *, strategy: str, constant: str = "", fit_condition: str = "") -> Relation:
        """Returns all rows with missing values filled: null, and NaN in columns of floats.

        Args:
            columns: Which are filled.
            strategy: `mean`, `median`, `most_frequent` or `constant`.
            constant: Expression, for `constant`.
            fit_condition: On which rows the value is computed, such as `split = 'train'`; empty = all.
        """
        message = plan_pb2.Impute(
            columns=some_columns(columns, "impute"),
            strategy=enum_value(plan_pb2.ImputeStrategy, some_text(strategy, "strategy")),
            constant=text_or_none(constant, "constant"),
            fit_condition=text_or_none(fit_condition, "fit_condition"),
        )
        if (message.strategy == plan_pb2.IMPUTE_STRATEGY_CONSTANT) != bool(constant):
            raise invalid_step("impute takes a constant with strategy='constant', and with no other")
        return self._then("impute", message)

    def scale(self, columns: Names, *, kind: str = "standard", fit_condition: str = "") -> Relation:
        """Returns all rows with numbers of a common scale, as DOUBLE; a column without spread becomes 0.

        Args:
            columns: Which are scaled.
            kind: `standard`: (x - mean) / deviation; `min_max`: (x - least) / range; `robust`: (x - median) / interquartile range.
            fit_condition: On which rows it is fitted; empty = all.
        """
        message = plan_pb2.Scale(
            columns=some_columns(columns, "scale"),
            kind=enum_value(plan_pb2.ScaleKind, some_text(kind, "kind")),
            fit_condition=text_or_none(fit_condition, "fit_condition"),
        )
        return self._then("scale", message)

    def encode(
        self, columns: Names | Mapping[str, Sequence[str]], *, kind: str, unknown: str = "error", fit_condition: str = ""
    ) -> Relation:
        """Returns all rows with categories as numbers.

        Args:
            columns: Which are encoded; or the categories of each, as texts in their order. Without them they are the values that occur,
                sorted.
            kind: `one_hot`: a TINYINT column a category, `<column>_<category>`, which needs the categories; `ordinal`: the category's
                place, from 0.
            unknown: What becomes of other values: `error`, the job fails; `null`; `other`, a place or column of its own.
            fit_condition: On which rows categories are looked for; empty = all.
        """
        if isinstance(columns, Mapping):
            listed = {name: column_names(categories, f"the categories of {name!r}") for name, categories in columns.items()}
        else:
            listed = dict.fromkeys(column_names(columns, "columns"), ())
        message = plan_pb2.Encode(
            columns=[plan_pb2.EncodedColumn(name=some_text(name, "a column"), categories=texts) for name, texts in listed.items()],
            kind=enum_value(plan_pb2.EncodeKind, some_text(kind, "kind")),
            unknown=enum_value(plan_pb2.UnknownCategory, some_text(unknown, "unknown")),
            fit_condition=text_or_none(fit_condition, "fit_condition"),
        )
        if not listed:
            raise invalid_step("encode needs columns")
        without = [name for name, texts in listed.items() if not texts]
        if message.kind == plan_pb2.ENCODE_KIND_ONE_HOT and without:
            raise invalid_step(f"one_hot needs the categories of {without[0]!r}: columns are known before anything runs")
        return self._then("encode", message)

    def _then(self, kind: str, message: Message, *others: Relation) -> Relation:
        for other in others:
            if not isinstance(other, Relation):
                raise invalid_step(f"{kind} takes a relation, as scan and its methods return, not {other!r}")
        return Relation(kind, message, (self, *others))
