"""Which of DuckDB's functions a plan may call, and which of them depend on the order of rows."""

from __future__ import annotations

from enum import Enum, auto
from functools import cache

from servers.runtime.duckdb_session import thread_session


class FunctionKind(Enum):
    """What a plan may do with a function."""

    SCALAR = auto()
    AGGREGATE = auto()
    WINDOW = auto()
    VOLATILE = auto()
    REFUSED = auto()


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# DuckDB calls the first group stable within a query only because time zones may be set, and here they are fixed.
_STABLE_IN_UTC = _words(
    "+ - century date_diff date_part date_sub date_trunc datediff datepart datesub datetrunc day dayname dayofmonth dayofweek dayofyear "
    "decade era generate_series hour isodow isoyear julian last_day make_timestamptz microsecond millennium millisecond minute month "
    "monthname quarter range second strftime time_bucket timezone timezone_hour timezone_minute week weekday weekofyear year yearweek age"
)
_STABLE_MACROS = _words(
    "array_append array_pop_back array_pop_front array_prepend array_push_back array_push_front array_reverse array_to_string "
    "array_to_string_comma_default date_add days_in_month fdiv if json list_any_value list_append list_approx_count_distinct list_avg "
    "list_bit_and list_bit_or list_bit_xor list_bool_and list_bool_or list_count list_entropy list_first list_histogram list_kurtosis "
    "list_kurtosis_pop list_last list_mad list_max list_median list_min list_mode list_prepend list_product list_reverse list_sem "
    "list_skewness list_stddev_pop list_stddev_samp list_string_agg list_sum list_var_pop list_var_samp map_contains_entry "
    "map_contains_value md5_number_lower md5_number_upper nullif split_part"
)
_AGGREGATE_MACROS = frozenset(["geomean", "geometric_mean", "wavg", "weighted_avg"])
# Syntax that the parser turns into calls of functions which the catalogue has not.
_SYNTAX = frozenset(["->", "->>"])
_ALLOWED_ALTHOUGH_VOLATILE = frozenset(("error",))

REFUSED = {
    "hash": "its values change with DuckDB's version; use md5_number_lower",
    "approx_quantile": "its value depends on the order of rows; use quantile_cont",
    "approx_top_k": "its value depends on the order of rows; count with an Aggregate and take its Top",
    "reservoir_quantile": "it takes a random sample; use quantile_cont",
    "lttb": "its value depends on the order of rows",
    "combine_aggr": "states of aggregates cannot travel",
    "combine": "states of aggregates cannot travel",
    "finalize": "states of aggregates cannot travel",
    "sum_no_overflow": "it is not checked for overflow; use sum",
    "json_group_array": "its value depends on the order of rows; use to_json(list(x ORDER BY …))",
    "json_group_object": "its value depends on the order of rows; use to_json(list(x ORDER BY …))",
    "json_group_structure": "its value depends on the order of rows",
    "variant_group_array": "its value depends on the order of rows; use list(x ORDER BY …)",
    "variant_group_object": "its value depends on the order of rows; use list(x ORDER BY …)",
    "unnest": "it makes several rows of one; use a Python function step",
    "unpivot_list": "it makes several rows of one; use a Python function step",
    "generate_subscripts": "it makes several rows of one; use a Python function step",
    "regexp_split_to_table": "it makes several rows of one; use regexp_split_to_array",
    "alias": "it tells names of the query, not of the rows",
    "version": "it tells the engine's version, which is not of the rows",
    "index_key": "it reads an index, and rows have none",
    "grouping": "grouping sets are not known; use several Aggregates and a Union",
    "grouping_id": "grouping sets are not known; use several Aggregates and a Union",
}
"""Functions that are not volatile and refused, and why."""

NEEDS_ORDER = frozenset(("first", "last", "list", "array_agg", "string_agg", "group_concat", "listagg"))
"""Aggregates that have no meaning without an order of rows."""

TIES_COUNT = NEEDS_ORDER | frozenset(
    (
        "any_value", "arbitrary", "mode", "arg_max", "argmax", "max_by", "arg_max_null", "arg_max_nulls_last",
        "arg_min", "argmin", "min_by", "arg_min_null", "arg_min_nulls_last",
    )
)  # fmt: skip
"""Aggregates whose value may depend on the order of rows that they hold for equal."""

PEER_FUNCTIONS = frozenset(("rank", "dense_rank", "rank_dense", "percent_rank", "cume_dist"))
"""Window functions that give rows of the same order the same value."""

POSITION_FUNCTIONS = frozenset(("row_number", "ntile", "lag", "lead", "fill"))
"""Window functions that take no notice of the frame, and count rows one by one."""

FRAME_VALUE_FUNCTIONS = frozenset(("first_value", "last_value", "nth_value"))
"""Window functions that pick a row of the frame."""

LAMBDA_FUNCTIONS = _words(
    "list_transform apply array_reduce array_transform list_reduce list_filter list_apply reduce array_apply array_filter filter invoke"
)
"""Functions that take a function."""

AGGREGATES_OF_LISTS = frozenset(["list_aggregate", "list_aggr", "array_aggregate", "array_aggr", "aggregate"])
"""Functions that are given the name of an aggregate."""

VOLATILE_NAMES = _words(
    "current_date current_time current_timestamp localtime localtimestamp current_user session_user user current_role current_schema "
    "current_catalog current_database current_localtime current_localtimestamp"
)
"""Names that SQL reads as calls if there is no such column."""


def kind_of(name: str) -> FunctionKind | None:
    """What a plan may do with a function; None if there is no function of the name.

    Args:
        name: In lower case.
    """
    if name in REFUSED:
        return FunctionKind.REFUSED
    return catalogue().get(name)


@cache
def catalogue() -> dict[str, FunctionKind]:
    """Every function of DuckDB that is called in expressions, in lower case. What is not known to be stable is volatile."""
    query = (
        "SELECT lower(function_name), function_type, list(DISTINCT stability) FROM duckdb_functions() "
        "WHERE function_type IN ('scalar', 'aggregate', 'window', 'macro') GROUP BY ALL ORDER BY ALL"
    )
    rows = thread_session().execute(query).fetchall()
    kinds = dict.fromkeys(_SYNTAX, FunctionKind.SCALAR)
    for name, function_type, stabilities in rows:
        kind = _kind(name, function_type, stabilities)
        # `first_value` and others are aggregates, too; the more general kind counts.
        if name not in kinds or kind is not FunctionKind.WINDOW:
            kinds[name] = kind
    return kinds


def _kind(name: str, function_type: str, stabilities: list[str]) -> FunctionKind:
    if function_type == "macro":
        return FunctionKind.AGGREGATE if name in _AGGREGATE_MACROS else _scalar_if(name in _STABLE_MACROS)
    if function_type == "scalar":
        is_stable = stabilities == ["CONSISTENT"] or name in _ALLOWED_ALTHOUGH_VOLATILE
        return _scalar_if(is_stable or (name in _STABLE_IN_UTC and "VOLATILE" not in stabilities))
    return FunctionKind.AGGREGATE if function_type == "aggregate" else FunctionKind.WINDOW


def _scalar_if(is_stable: bool) -> FunctionKind:
    return FunctionKind.SCALAR if is_stable else FunctionKind.VOLATILE
