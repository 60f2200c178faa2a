"""Which expressions on-demand features may have: those whose value is the same whenever and wherever they are computed of the same row.

This is a part of what a Project step of data processing takes, which computes the same text for training sets. What is taken here has to
be taken there; only the small list of functions below has to be kept in step with `servers/processing/plan/functions.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import cache
from typing import Any

from servers.features.serving.errors import InvalidOnDemandFeature
from servers.runtime.duckdb_session import thread_session
from servers.runtime.sql_names import folded
from servers.runtime.sql_trees import NestedTooDeeply, NotParsed, Tree, single_expression

__all__ = ["check_expression"]

_ALLOWED = frozenset(("CONSTANT", "COMPARISON", "CONJUNCTION", "OPERATOR", "CASE", "CAST", "BETWEEN", "TYPE"))
_REFUSED = {
    "SUBQUERY": "a subquery",
    "STAR": "a `*` or COLUMNS(…)",
    "WINDOW": "an OVER clause",
    "PARAMETER": "a parameter",
    "DEFAULT": "DEFAULT",
    "POSITIONAL_REFERENCE": "a column by its number",
    "COLLATE": "COLLATE",
    "LAMBDA": "an arrow outside of a path of JSON, or a lambda outside of a function for lists",
}


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# DuckDB calls them stable within a query only because time zones may be set, and here they are fixed.
_STABLE_IN_UTC = _words(
    "+ - century date_diff date_part date_sub date_trunc datediff datepart datesub datetrunc day dayname dayofmonth dayofweek dayofyear "
    "decade era hour isodow isoyear julian last_day make_timestamptz microsecond millennium millisecond minute month monthname quarter "
    "second strftime time_bucket timezone timezone_hour timezone_minute week weekday weekofyear year yearweek"
)
_STABLE_MACROS = _words(
    "array_append array_prepend array_to_string date_add days_in_month fdiv if list_append list_avg list_count list_max list_median "
    "list_min list_prepend list_product list_reverse list_stddev_pop list_stddev_samp list_sum list_var_pop list_var_samp nullif split_part"
)
_SYNTAX = frozenset(("->", "->>"))
_NOT_OF_THE_ROW = frozenset(("hash", "alias", "version", "index_key", "combine", "finalize", "grouping_id", "unpivot_list"))
_LAMBDA_FUNCTIONS = _words(
    "list_transform apply array_reduce array_transform list_reduce list_filter list_apply reduce array_apply array_filter filter"
)
_AGGREGATES_BY_NAME = frozenset(("list_aggregate", "list_aggr", "array_aggregate", "array_aggr", "aggregate"))


def check_expression(feature: str, expression: str, names: Collection[str]) -> None:
    """Lets pass what is one scalar expression over known columns, and has the same value each time.

    Args:
        feature: Whose it is.
        expression: As DuckDB reads it.
        names: Of the columns, folded.

    Raises:
        InvalidOnDemandFeature: INVALID_ARGUMENT: it is something else.
    """
    try:
        _check(feature, _parsed(feature, expression), names, frozenset())
    except (NestedTooDeeply, RecursionError):
        raise InvalidOnDemandFeature(feature, _TOO_DEEP) from None


_TOO_DEEP = "the expression is nested too deeply; some 80 levels are allowed: compute a part of it in an on-demand feature before"


def _parsed(feature: str, expression: str) -> Tree:
    if "\0" in expression:
        raise InvalidOnDemandFeature(feature, "the expression has a NUL character")
    try:
        tree = single_expression(expression)
    except NotParsed as error:
        raise InvalidOnDemandFeature(feature, f"the expression is no SQL: {error.message.splitlines()[0]}") from None
    if tree is None:
        raise InvalidOnDemandFeature(
            feature, "this is not one expression; aliases, commas and clauses (FROM, WHERE, …) have no place in it"
        )
    return tree


def _check(feature: str, tree: Tree, names: Collection[str], parameters: frozenset[str]) -> None:
    kind = tree["class"]
    if kind == "COLUMN_REF":
        _check_column(feature, tree["column_names"], names, parameters)
    elif kind == "FUNCTION":
        _check_call(feature, tree, names, parameters)
    elif kind in _ALLOWED:
        for each in _children(tree):
            _check(feature, each, names, parameters)
    else:
        raise InvalidOnDemandFeature(feature, f"{_REFUSED.get(kind, kind)} has no place in it; it computes one value of each row")


def _check_column(feature: str, path: list[str], names: Collection[str], parameters: frozenset[str]) -> None:
    name = folded(path[0])
    if len(path) > 1 or (name not in names and name not in parameters):
        known = ", ".join(sorted(names)[:20])
        raise InvalidOnDemandFeature(
            feature, f"{'.'.join(path)!r} is no feature, request input, or on-demand feature before it; there are {known}"
        )


def _check_call(feature: str, tree: Tree, names: Collection[str], parameters: frozenset[str]) -> None:
    name = str(tree["function_name"]).lower()
    if len(tree["qualified_name"]["path"]) != 1 or tree["distinct"] or tree["filter"] is not None or tree["order_bys"]["orders"]:
        raise InvalidOnDemandFeature(feature, f"{name} is called with a schema, DISTINCT, FILTER or ORDER BY, which have no place in it")
    arguments = [each["expression"] for each in tree["arguments"]]
    is_today = name == "age" and len(arguments) == 1
    is_by_name = name in _AGGREGATES_BY_NAME
    if name not in _stable_functions() or is_today or is_by_name:
        raise InvalidOnDemandFeature(
            feature,
            f"{name} is no function that may be called here: those that have one value a row, which depends on their arguments alone, may",
        )
    for argument in arguments:
        if argument["class"] == "LAMBDA" and argument.get("syntax_type") == "LAMBDA_KEYWORD" and name in _LAMBDA_FUNCTIONS:
            own = frozenset(_parameters(argument["lhs"]))
            if taken := own & {*names, *parameters}:
                raise InvalidOnDemandFeature(feature, f"the parameter {min(taken)!r} of a lambda is also a column; rename it")
            _check(feature, argument["expr"], names, parameters | own)
        else:
            _check(feature, argument, names, parameters)


def _parameters(tree: Tree) -> Iterator[str]:
    if tree["class"] == "COLUMN_REF":
        yield folded(tree["column_names"][0])
    for each in tree.get("arguments", ()):
        yield from _parameters(each["expression"])


def _children(value: Any) -> Iterator[Tree]:
    for each in value.values() if isinstance(value, dict) else value:
        if isinstance(each, dict) and "class" in each:
            yield each
        elif isinstance(each, dict | list):
            yield from _children(each)


@cache
def _stable_functions() -> frozenset[str]:
    query = (
        "SELECT lower(function_name), list(DISTINCT function_type), list(DISTINCT stability) FROM duckdb_functions() "
        "WHERE function_type IN ('scalar', 'aggregate', 'macro') GROUP BY 1"
    )
    found = set(_SYNTAX)
    for name, types, stabilities in thread_session().execute(query).fetchall():
        is_stable = stabilities == ["CONSISTENT"] or (name in _STABLE_IN_UTC and "VOLATILE" not in stabilities)
        if name in _NOT_OF_THE_ROW:
            continue
        if (types == ["scalar"] and is_stable) or (types == ["macro"] and name in _STABLE_MACROS):
            found.add(name)
    return frozenset(found)
