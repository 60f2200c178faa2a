"""Computes on-demand features: the code that serves, which also checks training sets. Imports DuckDB and pyarrow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from mlops.features.v1 import feature_view_pb2 as pb

from servers.features.definitions.records import Wanted
from servers.features.on_demand_expressions import sql_type, steps_of, words_of
from servers.features.online import Column, Feature, feature_type
from servers.features.online.arrow_columns import arrow_type, column_of
from servers.features.online.errors import InvalidFeatureValue
from servers.features.serving.arrow_arrays import arrow_array
from servers.features.serving.errors import InvalidOnDemandFeature, OnDemandFeatureFailed
from servers.features.serving.expressions import check_expression
from servers.runtime.duckdb_session import thread_session
from servers.runtime.sql_names import folded, quoted

__all__ = ["check_on_demand", "evaluate", "on_demand_columns"]

_ROWS = "served rows"
_NUMBER = "row number"
"""Of a row. No expression can mean it: names of features and inputs have no blanks, and other columns are left out."""


def evaluate(
    on_demand: Sequence[pb.OnDemandFeature],
    request_inputs: Sequence[pb.RequestInput],
    table: pa.Table,
    feature_types: Mapping[str, str] | None = None,
) -> pa.Table:
    """Computes on-demand features. Large tables are given in parts: everything stays in memory.

    Args:
        on_demand: What is computed; it has passed `check_on_demand`.
        request_inputs: Their types.
        table: The features and inputs by the names that the expressions have; other columns do no harm.
        feature_types: Types of features by these names; needed where the table does not have them, as a dataset has no unsigned integers.

    Returns:
        A column for each on-demand feature, and the rows in the same order.

    Raises:
        OnDemandFeatureFailed: FAILED_PRECONDITION: an expression cannot be computed of some values.
    """
    types = {**(feature_types or {}), **{each.name: each.type for each in request_inputs}}
    try:
        return _computed(on_demand, types, table)
    except duckdb.Error as error:
        raise OnDemandFeatureFailed(_first_line(error)) from None


def on_demand_columns(
    on_demand: Sequence[pb.OnDemandFeature],
    request_inputs: Sequence[pb.RequestInput],
    features: Mapping[str, Column],
    inputs: Mapping[str, Any],
) -> list[Column]:
    """Computes on-demand features of what is served.

    Args:
        on_demand: What is computed.
        request_inputs: Types of the inputs.
        features: The features by the caller's names.
        inputs: Values of the request inputs, as `given_rows` reads them.

    Raises:
        OnDemandFeatureFailed: FAILED_PRECONDITION: an expression cannot be computed of these values.
    """
    words = words_of(each.expression for each in on_demand)
    arrays = {name: arrow_array(column) for name, column in features.items() if folded(name) in words}
    arrays |= {each.name: _input_array(each.type, inputs[each.name]) for each in request_inputs}
    rows = len(next(iter(features.values())))
    table = pa.table(arrays) if arrays else pa.table({_NUMBER: pa.nulls(rows)})
    found = evaluate(on_demand, request_inputs, table)
    try:
        return [column_of(Feature(each.name, feature_type(each.type)), found.column(each.name).combine_chunks()) for each in on_demand]
    except InvalidFeatureValue as error:
        raise OnDemandFeatureFailed(error.message) from None


def check_on_demand(wanted: Wanted) -> None:
    """Lets pass on-demand features that can be computed, online and offline alike, of the features and inputs that they are with.

    Raises:
        InvalidOnDemandFeature: INVALID_ARGUMENT: two names are the same but for case, or an expression is no scalar one with the same value
            each time, names what is not there, does not go with its types, or fails where everything is null, as of an unknown entity.
        InvalidFeatureSchema: INVALID_ARGUMENT: a type is none of a feature.
    """
    types = {
        selection.prefix + name: feature.type
        for selection in wanted.selections
        for feature in selection.view.spec.features
        for name in selection.features
        if name == feature.name
    }
    types |= {each.name: each.type for each in wanted.request_inputs}
    names: set[str] = set()
    for name in [*types, *(each.name for each in wanted.on_demand)]:
        if folded(name) in names:
            raise InvalidOnDemandFeature(
                name, "another feature or request input has this name, and case does not count; rename one of them"
            )
        names.add(folded(name))
    known = {folded(name) for name in types}
    for feature in wanted.on_demand:
        check_expression(feature.name, feature.expression, known)
        known.add(folded(feature.name))
    nothing = pa.table({name: pa.nulls(1, arrow_type(feature_type(type_name))) for name, type_name in types.items()})
    if _error(wanted.on_demand, nothing) is None:
        return
    # One by one, to know whose the error is.
    for count, feature in enumerate(wanted.on_demand, start=1):
        error = _error(wanted.on_demand[:count], nothing)
        if error is not None:
            raise InvalidOnDemandFeature(feature.name, error)


def _error(on_demand: Sequence[pb.OnDemandFeature], table: pa.Table) -> str | None:
    try:
        _computed(on_demand, {}, table)
    except duckdb.Error as error:
        return _first_line(error)
    return None


def _computed(on_demand: Sequence[pb.OnDemandFeature], types: Mapping[str, str], table: pa.Table) -> pa.Table:
    words = words_of(each.expression for each in on_demand)
    used = [name for name in table.column_names if folded(name) in words]
    rows = table.select(used).append_column(_NUMBER, pa.array(np.arange(table.num_rows)))
    columns = [f"CAST({quoted(name)} AS {sql_type(types[name])}) AS {quoted(name)}" if name in types else quoted(name) for name in used]
    names = [each.name for each in on_demand]
    sql = f"SELECT {', '.join([quoted(_NUMBER), *columns])} FROM {quoted(_ROWS)}"  # noqa: S608 - names are quoted
    for step in steps_of(on_demand):
        computed = ", ".join(f"{expression} AS {quoted(name)}" for name, expression in step.items())
        sql = f"SELECT *, {computed} FROM ({sql})"  # noqa: S608 - every expression was checked, and is one
    connection = thread_session()
    connection.register(_ROWS, rows)
    try:
        found = connection.sql(f"SELECT {', '.join(map(quoted, [_NUMBER, *names]))} FROM ({sql})").to_arrow_table()  # noqa: S608 - likewise
    finally:
        connection.unregister(_ROWS)
    numbers = found.column(_NUMBER).to_numpy()
    # DuckDB promises no order.
    if (numbers[1:] < numbers[:-1]).any():
        found = found.take(pa.array(np.argsort(numbers)))
    return found.select(names)


def _first_line(error: duckdb.Error) -> str:
    return str(error).splitlines()[0][:500]


def _input_array(type_name: str, values: Any) -> pa.Array:
    wanted = arrow_type(feature_type(type_name))
    if isinstance(values, np.ndarray) and type_name in ("date", "timestamp"):
        return pa.array(values).cast(wanted)
    return pa.array(values, wanted)
