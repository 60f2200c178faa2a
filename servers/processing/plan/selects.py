"""The SELECT that each node is, over the relations of its inputs."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from servers.processing.plan.errors import DuplicateColumn, InvalidPlan, InvalidStep, PlanTooLarge, TypeMismatch, shown
from servers.processing.plan.expressions import Names, aggregate, scalar, window
from servers.processing.plan.limits import PlanLimits
from servers.processing.plan.names import listed
from servers.processing.plan.nodes import (
    Aggregate,
    AsOfJoin,
    CrossJoin,
    Deduplicate,
    Filter,
    Join,
    JoinKind,
    Node,
    Ordering,
    Project,
    PythonFunction,
    Scan,
    Top,
    TypedColumn,
    Union,
    Window,
)
from servers.processing.plan.types import common_type, is_number, is_time, is_whole_number
from servers.runtime.sql_names import folded, is_column_name, quoted

KEY_NUMBER = "key number\x1f"
"""Column that the SELECT of a Python function with `partition_by` has besides its input's."""

Columns = tuple[TypedColumn, ...]


@dataclass(frozen=True)
class Template:
    """A SELECT with places for relations: a number is the place of that input."""

    parts: tuple[str | int, ...]

    def over(self, *relations: str) -> str:
        """The SELECT over relations, given as SQL."""
        return "".join(part if isinstance(part, str) else relations[part] for part in self.parts)

    def reads(self, place: int) -> int:
        """How often it reads an input."""
        return sum(part == place for part in self.parts)


@dataclass(frozen=True)
class Select:
    """What a node is.

    Args:
        template: The SELECT.
        names: Of the columns of its result.
        kept: For each input, which of its columns are in the result, and under which name.
    """

    template: Template
    names: tuple[str, ...]
    kept: tuple[Mapping[str, str], ...]


@dataclass(frozen=True)
class TypedKey:
    """Columns of both sides that have to be equal, and the type in which they are compared."""

    left: str
    right: str
    type: str


def select_of(node: Node, inputs: Sequence[Columns], limits: PlanLimits, unique: Collection[str] = ()) -> Select:
    """Returns the SELECT of a node whose inputs have these columns.

    Args:
        node: The node.
        inputs: Columns of each input.
        limits: Of expressions and names.
        unique: Columns of the last input that no two of its rows have alike; empty where that is not known.

    Raises:
        InvalidPlan: INVALID_ARGUMENT: an expression, name or key is wrong.
    """
    select = _of(node, inputs, limits, unique)
    _check_names(select.names, limits, is_lowered="." in node.name)
    return select


def key_types(node: Join | AsOfJoin, left: Columns, right: Columns) -> tuple[TypedKey, ...]:
    """Returns the keys of a join with the types in which they are compared.

    Raises:
        InvalidPlan: INVALID_ARGUMENT: a column is not there, or the types cannot be compared.
    """
    left_names, right_names = names_of(left), names_of(right)
    left_types, right_types = types_of(left), types_of(right)
    typed = []
    for key in node.keys:
        left_column, right_column = left_names.column(key.left, "the left key"), right_names.column(key.right, "the right key")
        try:
            type_name = common_type(left_types[left_column], right_types[right_column])
        except TypeMismatch as error:
            raise TypeMismatch(f"keys {shown(left_column)} and {shown(right_column)}: {error.bare_message}") from None
        typed.append(TypedKey(left_column, right_column, type_name))
    return tuple(typed)


def names_of(columns: Columns) -> Names:
    """The columns' names."""
    return Names.of(column.name for column in columns)


def types_of(columns: Columns) -> dict[str, str]:
    """The columns' types by name."""
    return {column.name: column.type for column in columns}


def joined_names(left: Names, right: Names, suffix: str) -> dict[str, str]:
    """What the right side's columns are named beside the left side's."""
    return {name: name if left.found(name) is None else f"{name}{suffix}" for name in right.names}


def _of(node: Node, inputs: Sequence[Columns], limits: PlanLimits, unique: Collection[str]) -> Select:
    match node:
        case Join() | CrossJoin():
            return _join(node, inputs[0], inputs[1], limits)
        case AsOfJoin():
            return _as_of_join(node, inputs[0], inputs[1], unique)
        case Union():
            return _union(node, inputs)
        case _:
            return _of_one(node, names_of(inputs[0]), limits)


def _of_one(node: Node, names: Names, limits: PlanLimits) -> Select:
    everything = {name: name for name in names.names}
    all_names = listed(names.names)
    match node:
        case Scan():
            columns = _columns(node.columns, names, "columns") if node.columns else names.names
            return _plain(f"SELECT {listed(columns)} FROM ", "", columns, {name: name for name in columns})
        case Filter():
            condition = scalar(node.condition, names, limits.expression_characters).sql
            return _plain(f"SELECT {all_names} FROM ", f" WHERE {condition}", names.names, everything)
        case Project():
            return _project(node, names, limits)
        case Aggregate():
            return _aggregate(node, names, limits)
        case Window():
            return _window(node, names, limits)
        case Deduplicate():
            keys = _columns(node.keys, names, "keys")
            first = f" QUALIFY row_number() OVER (PARTITION BY {listed(keys)}{_ordered(_total_order(node.order_by, names, keys))}) = 1"
            return _plain(f"SELECT {all_names} FROM ", first, names.names, everything)
        case Top():
            columns = _columns(node.columns, names, "columns") if node.columns else names.names
            return _plain(f"SELECT {listed(columns)} FROM ", _top(node, names), columns, {name: name for name in columns})
        case PythonFunction():
            return _python_function(node, names)
        case _:
            raise AssertionError(f"{type(node).__name__} has more than one input")


def _plain(before: str, behind: str, names: tuple[str, ...], kept: Mapping[str, str]) -> Select:
    return Select(Template((before, 0, behind)), names, (kept,))


def _project(node: Project, names: Names, limits: PlanLimits) -> Select:
    if not node.columns:
        raise InvalidStep("a projection computes at least one column")
    computed = {folded(column.name): column for column in node.columns}
    if len(computed) < len(node.columns):
        raise DuplicateColumn("two columns of the projection have one name; case does not count")
    selected: dict[str, tuple[str, str | None]] = {}
    for name in names.names if node.keeps_others else ():
        if folded(name) not in computed:
            selected[name] = (quoted(name), name)
        else:
            selected[computed[folded(name)].name] = ("", None)
    for column in node.columns:
        with _of_column(column.name):
            expression = scalar(column.expression, names, limits.expression_characters)
        selected[column.name] = (expression.sql, expression.column)
    text = ", ".join(f"{sql} AS {quoted(name)}" for name, (sql, _) in selected.items())
    kept = {column: name for name, (_, column) in reversed(selected.items()) if column is not None}
    return _plain(f"SELECT {text} FROM ", "", tuple(selected), kept)


def _aggregate(node: Aggregate, names: Names, limits: PlanLimits) -> Select:
    if not node.keys and not node.aggregations:
        raise InvalidStep("an aggregation has keys, aggregations or both")
    size = limits.expression_characters
    keys, values = [], []
    for key in node.keys:
        with _of_column(key.name):
            keys.append(scalar(key.expression, names, size))
    for value in node.aggregations:
        with _of_column(value.name):
            values.append(aggregate(value.expression, names, size))
    columns = (*node.keys, *node.aggregations)
    texts = [*(key.sql for key in keys), *values]
    text = ", ".join(f"{sql} AS {quoted(column.name)}" for sql, column in zip(texts, columns, strict=True))
    group = f" GROUP BY {', '.join(str(place + 1) for place in range(len(keys)))}" if keys else ""
    kept = {key.column: column.name for key, column in zip(keys, node.keys, strict=True) if key.column is not None}
    return _plain(f"SELECT {text} FROM ", group, tuple(column.name for column in columns), kept)


def _python_function(node: PythonFunction, names: Names) -> Select:
    result = tuple(column.name for column in node.schema)
    if not node.partition_by:
        return _plain(f"SELECT {listed(names.names)} FROM ", "", result, {})
    partition = _columns(node.partition_by, names, "partition_by")
    # DuckDB numbers the keys, so that null, NaN and nested values are equal here where they are elsewhere.
    number = f"dense_rank() OVER ({_ordered(tuple(map(Ordering, partition)))[1:]}) AS {quoted(KEY_NUMBER)}"
    order = f" ORDER BY {quoted(KEY_NUMBER)}{''.join(f', {_order_text(each)}' for each in _total_order((), names, partition))}"
    return _plain(f"SELECT {listed(names.names)}, {number} FROM ", order, result, {})


def _window(node: Window, names: Names, limits: PlanLimits) -> Select:
    if not node.columns:
        raise InvalidStep("a window computes at least one column")
    partition = _columns(node.partition_by, names, "partition_by") if node.partition_by else ()
    order = _orderings(node.order_by, names)
    size = limits.expression_characters
    computed = []
    for each in node.columns:
        with _of_column(each.name):
            computed.append(window(each, partition, order, names, size))
    text = ", ".join(f"{sql} AS {quoted(column.name)}" for sql, column in zip(computed, node.columns, strict=True))
    result = (*names.names, *(column.name for column in node.columns))
    return _plain(f"SELECT {listed(names.names)}, {text} FROM ", "", result, {name: name for name in names.names})


def _top(node: Top, names: Names) -> str:
    if (node.limit is not None and not 0 <= node.limit < 2**63) or not 0 <= node.offset < 2**63:
        raise InvalidStep("limit and offset are whole numbers from 0 on")
    limit = "" if node.limit is None else f" LIMIT {node.limit}"
    return f"{_ordered(_total_order(node.order_by, names))}{limit}{f' OFFSET {node.offset}' if node.offset else ''}"


def _union(node: Union, inputs: Sequence[Columns]) -> Select:
    if not inputs:
        raise InvalidStep("a union has at least one input")
    names = names_of(inputs[0]).names
    for name, columns in zip(node.inputs, inputs, strict=True):
        if [folded(column.name) for column in columns] != [folded(each) for each in names]:
            others = tuple(column.name for column in columns)
            both = f"{shown(node.inputs[0])} has {_shortened(names)}, {shown(name)} has {_shortened(others)}"
            raise InvalidStep(f"its inputs have different columns: {both}; bring them into one order with a Project before")
    parts: list[str | int] = []
    for place, columns in enumerate(inputs):
        parts += [" UNION ALL " if place else "", f"SELECT {listed(column.name for column in columns)} FROM ", place]
    if node.is_distinct:
        parts = [f"SELECT DISTINCT {listed(names)} FROM (", *parts, ")"]
    kept = tuple(dict(zip((column.name for column in columns), names, strict=True)) for columns in inputs)
    return Select(Template(tuple(parts)), names, kept)


def _join(node: Join | CrossJoin, left: Columns, right: Columns, limits: PlanLimits) -> Select:
    left_names, right_names = names_of(left), names_of(right)
    renamed = joined_names(left_names, right_names, node.right_suffix)
    both = (*left_names.names, *renamed.values())
    _check_names(both, limits, is_lowered="." in node.name)
    is_half = isinstance(node, Join) and node.kind in (JoinKind.SEMI, JoinKind.ANTI)
    result = left_names.names if is_half else both
    keep = ({name: name for name in left_names.names}, {} if is_half else renamed)
    start, middle = f"SELECT {listed(result)} FROM ", f" AS left_side {{}} (SELECT {_renaming(renamed)} FROM "
    if isinstance(node, CrossJoin):
        return Select(Template((start, 0, middle.format("CROSS JOIN"), 1, ") AS right_side")), result, keep)
    conditions = [_equal(key, renamed[key.right]) for key in key_types(node, left, right)]
    if node.condition:
        conditions.append(scalar(node.condition, Names.of(both), limits.expression_characters).sql)
    if not conditions:
        raise InvalidStep("a join has keys, a condition or both; every pair of rows is what a CrossJoin gives")
    on = f") AS right_side ON {' AND '.join(conditions)}"
    return Select(Template((start, 0, middle.format(f"{node.kind.value} JOIN"), 1, on)), result, keep)


def _as_of_join(node: AsOfJoin, left: Columns, right: Columns, unique: Collection[str]) -> Select:
    if node.kind not in (JoinKind.INNER, JoinKind.LEFT):
        raise InvalidStep(f"an as-of join is INNER or LEFT, not {node.kind.value}")
    left_names, right_names = names_of(left), names_of(right)
    renamed = joined_names(left_names, right_names, node.right_suffix)
    result = (*left_names.names, *renamed.values())
    left_time, right_time = left_names.column(node.left_time, "left_time"), right_names.column(node.right_time, "right_time")
    time_type = _time_type(left_time, right_time, types_of(left), types_of(right))
    keys = key_types(node, left, right)
    kept: tuple[Mapping[str, str], ...] = ({name: name for name in left_names.names}, {})
    compared = {right_time: time_type, **{key.right: key.type for key in keys}}
    if unique and set(unique) <= compared.keys() and node.tolerance is None and compared.items() <= types_of(right).items():
        # At most one row is the newest: nothing has to be looked up, and no tie broken.
        conditions = [f"{_cast(key.left, key.type)} = {quoted(renamed[key.right])}" for key in keys]
        conditions.append(f"{_cast(left_time, time_type)} {'>' if node.is_strict else '>='} {quoted(renamed[right_time])}")
        start = f"SELECT {listed(result)} FROM (SELECT {listed(left_names.names)} FROM "
        middle = f") AS left_side ASOF {node.kind.value} JOIN (SELECT {_renaming(renamed)} FROM "
        return Select(Template((start, 0, middle, 1, f") AS right_side ON {' AND '.join(conditions)}")), result, kept)
    taken = {folded(name) for name in (*result, *right_names.names)}
    matched, *places = _fresh(("matched_time", *(f"matched_key_{place}" for place in range(len(keys)))), taken)
    key_columns = [f"{_cast(key.right, key.type)} AS {quoted(place)}" for key, place in zip(keys, places, strict=True)]
    time_column = f"{_cast(right_time, time_type)} AS {quoted(matched)}"
    keys_equal = [f"{_cast(key.left, key.type)} = {quoted(place)}" for key, place in zip(keys, places, strict=True)]
    newest = f"{_cast(left_time, time_type)} {'>' if node.is_strict else '>='} {quoted(matched)}"
    found = _within(left_time, matched, time_type, node.tolerance)
    internal = listed((*places, matched))
    others = [quoted(name) for name in right_names.names]
    # First only keys and times are joined; then the rows behind the times that were found are looked up and their ties broken.
    parts: tuple[str | int, ...] = (
        f"WITH matched AS MATERIALIZED (SELECT {listed(left_names.names)}, {found} AS {quoted(matched)}"
        f"{''.join(f', {quoted(place)}' for place in places)} FROM (SELECT {listed(left_names.names)} FROM ",
        0,
        f") AS left_side ASOF LEFT JOIN (SELECT DISTINCT {', '.join([*key_columns, time_column])} FROM ",
        1,
        f") AS times ON {' AND '.join([*keys_equal, newest])}), payload AS (SELECT {_renaming(renamed)}, {internal} FROM "
        f"(SELECT *, {', '.join([*key_columns, time_column])} FROM ",
        1,
        f") AS right_side SEMI JOIN (SELECT DISTINCT {internal} FROM matched) AS found USING ({internal}) "
        f"QUALIFY row_number() OVER (PARTITION BY {internal} ORDER BY {', '.join(others)}) = 1) "
        f"SELECT {listed(result)} FROM matched {node.kind.value} JOIN payload USING ({internal})",
    )
    return Select(Template(parts), result, kept)


def _time_type(left: str, right: str, left_types: Mapping[str, str], right_types: Mapping[str, str]) -> str:
    for name, types in ((left, left_types), (right, right_types)):
        if not is_time(types[name]) and not is_number(types[name]):
            raise TypeMismatch(f"the time {shown(name)} is {types[name]}; it has to be a timestamp, a date or a number")
    try:
        return common_type(left_types[left], right_types[right])
    except TypeMismatch as error:
        raise TypeMismatch(f"the times {shown(left)} and {shown(right)}: {error.bare_message}") from None


def _within(left_time: str, matched: str, time_type: str, tolerance: float | None) -> str:
    if tolerance is None:
        return quoted(matched)
    if not (math.isfinite(tolerance) and tolerance >= 0):
        raise InvalidStep("a tolerance is a number of seconds from 0 on")
    left, right = _cast(left_time, time_type), quoted(matched)
    if is_time(time_type):
        # In 128 bits, since the difference of two 64-bit times may not fit.
        unit, per_second = ("epoch_ns", 10**9) if time_type.endswith("_NS") else ("epoch_us", 10**6)
        as_moment = ("CAST({} AS TIMESTAMP)" if time_type == "DATE" else "{}").format
        left, right = (f"CAST({unit}({as_moment(side)}) AS HUGEINT)" for side in (left, right))
        limit = str(math.floor(tolerance * per_second))
    elif is_whole_number(time_type):
        left, right, limit = f"CAST({left} AS HUGEINT)", f"CAST({right} AS HUGEINT)", str(math.floor(tolerance))
    else:
        left, right, limit = f"CAST({left} AS DOUBLE)", f"CAST({right} AS DOUBLE)", f"CAST({tolerance!r} AS DOUBLE)"
    return f"CASE WHEN {left} - {right} <= {limit} THEN {quoted(matched)} END"


def _equal(key: TypedKey, right_name: str) -> str:
    return f"{_cast(key.left, key.type)} = {_cast(right_name, key.type)}"


def _cast(name: str, type_name: str) -> str:
    return f"CAST({quoted(name)} AS {type_name})"


def _renaming(names: Mapping[str, str]) -> str:
    return ", ".join(quoted(old) if old == new else f"{quoted(old)} AS {quoted(new)}" for old, new in names.items())


def _fresh(names: Iterable[str], taken: set[str]) -> list[str]:
    fresh = []
    for name in names:
        while name in taken:
            name += "_"
        fresh.append(name)
    return fresh


def _columns(wanted: Sequence[str], names: Names, what: str) -> tuple[str, ...]:
    if not wanted:
        raise InvalidStep(f"{what} names at least one column")
    found = tuple(names.column(name, f"{what}: the column") for name in wanted)
    if len(set(found)) < len(found):
        raise DuplicateColumn(f"{what} names a column twice")
    return found


def _orderings(order_by: Sequence[Ordering], names: Names) -> tuple[Ordering, ...]:
    found = _columns([each.column for each in order_by], names, "order_by") if order_by else ()
    return tuple(Ordering(name, each.is_descending, each.is_nulls_first) for name, each in zip(found, order_by, strict=True))


def _total_order(order_by: Sequence[Ordering], names: Names, constant: Sequence[str] = ()) -> tuple[Ordering, ...]:
    """An order that leaves no ties; columns with one value only are of no use in it."""
    wanted = _orderings(order_by, names)
    used = {*(each.column for each in wanted), *constant}
    return (*wanted, *(Ordering(name) for name in names.names if name not in used))


def _ordered(orders: Sequence[Ordering]) -> str:
    return f" ORDER BY {', '.join(map(_order_text, orders))}" if orders else ""


def _order_text(order: Ordering) -> str:
    direction = "DESC" if order.is_descending else "ASC"
    return f"{quoted(order.column)} {direction} NULLS {'FIRST' if order.is_nulls_first else 'LAST'}"


@contextmanager
def _of_column(name: str) -> Iterator[None]:
    """Names the column in an error of its expression."""
    try:
        yield
    except InvalidPlan as error:
        raise type(error)(f"column {shown(name)}: {error.bare_message}") from None


def _check_names(names: Sequence[str], limits: PlanLimits, is_lowered: bool) -> None:
    if len(names) > limits.columns:
        raise PlanTooLarge(f"it has {len(names)} columns; at most {limits.columns} are allowed")
    seen: dict[str, str] = {}
    for name in names:
        if not is_lowered and not is_column_name(name):
            raise InvalidStep(f"{shown(name)} is no column's name: it has 1 to 255 characters, none of them U+0000 or U+001F")
        if folded(name) in seen:
            raise DuplicateColumn(
                f"two columns are named {shown(seen[folded(name)])} and {shown(name)}; case does not count. Rename one of them"
            )
        seen[folded(name)] = name


def _shortened(names: tuple[str, ...]) -> str:
    shown_names = ", ".join(map(shown, names[:20]))
    return f"{shown_names} and {len(names) - 20} more" if len(names) > 20 else shown_names
