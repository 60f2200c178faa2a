"""On-demand features: what may be computed, and that it is the same as in a job of data processing."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from mlops.features.v1 import feature_view_pb2 as pb

from servers.features.definitions.records import KeyColumn, Selection, ViewVersion, Wanted
from servers.features.on_demand_expressions import sql_type, steps_of
from servers.features.online import JoinKey, JoinKeyType
from servers.features.online.errors import InvalidFeatureSchema
from servers.features.serving.errors import InvalidOnDemandFeature, OnDemandFeatureFailed
from servers.features.serving.expressions import _stable_functions
from servers.features.serving.on_demand import check_on_demand, evaluate
from servers.processing.plan.expressions import Names, scalar
from servers.processing.plan.functions import FunctionKind, kind_of
from servers.runtime.duckdb_session import locked_down

TYPES = {
    "f": "float32",
    "d": "float64",
    "n": "int64",
    "u": "uint64",
    "s": "string",
    "b": "bool",
    "raw": "bytes",
    "t": "timestamp",
    "day": "date",
    "price": "decimal(10, 2)",
    "list_f": "list<float32>",
    "list_s": "list<string>",
}
MOMENT = datetime(2026, 2, 28, 23, 59, 59, 123456, UTC)
TABLE = pa.table(
    {
        "f": pa.array([0.1, float("nan"), None], pa.float32()),
        "d": pa.array([0.1, -1e300, None]),
        "n": [3, -7, None],
        "u": pa.array([2**64 - 1, 0, None], pa.uint64()),
        "s": ["Straße", "", None],
        "b": [True, False, None],
        "raw": [b"\0a", b"", None],
        "t": pa.array([MOMENT, datetime(1969, 12, 31, tzinfo=UTC), None], pa.timestamp("us", "UTC")),
        "day": pa.array([MOMENT.date(), datetime(1, 1, 1).date(), None]),
        "price": pa.array([Decimal("12.50"), Decimal(-1), None], pa.decimal128(10, 2)),
        "list_f": pa.array([[0.5, 0.25], [], None], pa.list_(pa.float32())),
        "list_s": pa.array([["b", "a"], [], None]),
    }
)

ALLOWED = [
    ("f / n", "float64"),
    ("f + d * n", "float32"),
    ("ln(abs(d) + 1) + sin(f)", "float64"),
    ("s || '!'", "string"),
    ("\"s\" LIKE 'Str%' AND NOT b", "bool"),
    ("CASE WHEN n > 0 THEN 'up' WHEN n < 0 THEN 'down' ELSE s END", "string"),
    ("coalesce(n, 0) IN (0, 3)", "bool"),
    ("n BETWEEN -10 AND 0", "bool"),
    ("TRY_CAST(s AS INTEGER)", "int32"),
    ("u % 10", "uint64"),
    ("price * 3", "decimal(12, 2)"),
    ("date_diff('day', day, DATE '2026-03-01')", "int64"),
    ("date_trunc('month', t) + INTERVAL 1 DAY", "timestamp"),
    ("extract(year FROM t) * 100 + month(t)", "int32"),
    ("strftime(t, '%H:%M')", "string"),
    ("list_transform(list_f, lambda x: x * n)", "list<float32>"),
    ("list_sum(list_f)", "float64"),
    ("list_sort(list_s)", "list<string>"),
    ("array_to_string(list_s, ',') -- a comment", "string"),
    ("list_f[1]", "float32"),
    ("regexp_extract(s, '[a-z]+')", "string"),
    ("octet_length(raw) + length(s)", "int64"),
    ("nullif(n, 3)", "int64"),
    ("if(b, f, d)", "float64"),
    ("S IS NULL OR (B)", "bool"),
    ("42", "int8"),
]
REFUSED = [
    ("sum(n)", "sum is no function that may be called here"),
    ("random()", "random is no function"),
    ("now()", "now is no function"),
    ("age(t)", "age is no function"),
    ("current_setting('TimeZone')", "current_setting is no function"),
    ("hash(n)", "hash is no function"),
    ("list_aggregate(list_f, 'sum')", "list_aggregate is no function"),
    ("nonsense(n)", "nonsense is no function"),
    ("current_date", "'current_date' is no feature"),
    ("absent + 1", "'absent' is no feature, request input, or on-demand feature before it; there are b, d"),
    ("it + 1", "'it' is no feature"),
    ("later + 1", "'later' is no feature"),
    ("v.n", "'v.n' is no feature"),
    ("(SELECT 1)", "a subquery has no place in it"),
    ("n IN (SELECT 1)", "a subquery"),
    ("row_number() OVER ()", "an OVER clause"),
    ("count(*)", "count_star is no function"),
    ("*", "a `*`"),
    ("COLUMNS('n')", "a `*`"),
    ("$1", "a parameter"),
    ("#1", "a column by its number"),
    ("s COLLATE nocase", "COLLATE"),
    ("n AS m", "not one expression"),
    ("n, n", "not one expression"),
    ("n FROM range(3)", "not one expression"),
    ("n) AS INT), CAST((n", "no SQL"),
    ("1; SELECT 2", "not one expression"),
    ("n +", "no SQL"),
    ("DISTINCT n", "not one expression"),
    ("", "no SQL"),
    ("list_transform(list_f, lambda n: n)", "the parameter 'n' of a lambda is also a column"),
    ("list_f + s", "Binder Error"),
    ("n + 'x'", "Conversion Error"),
    ("CAST(coalesce(s, 'unknown') AS INTEGER)", "Conversion Error"),
    ("(" * 2000 + "n" + ")" * 2000, ""),
    ("+".join("n" * 3000), "nested too deeply"),
]


def feature(name: str, expression: str, type_name: str = "float64") -> pb.OnDemandFeature:
    return pb.OnDemandFeature(name=name, expression=expression, type=type_name)


def wanted(*on_demand: pb.OnDemandFeature, types: Mapping[str, str] = TYPES, inputs: Mapping[str, str] | None = None) -> Wanted:
    spec = pb.FeatureViewSpec(features=[pb.Feature(name=name, type=type_name) for name, type_name in types.items()])
    keys = (KeyColumn(JoinKey("user_id", JoinKeyType.INT64), "user_id"),)
    view = ViewVersion("id", "view", "default", "v", 1, spec, keys, "rows", "", "me", MOMENT)
    request_inputs = tuple(pb.RequestInput(name=name, type=type_name) for name, type_name in (inputs or {}).items())
    return Wanted((Selection(view, tuple(types)),), request_inputs, on_demand)


def bits(array: Any) -> list[Any]:
    """Values such that equal ones have equal bits."""
    return [None if each is None else str(each) if isinstance(each, float) and each != each else each for each in array.to_pylist()]


@pytest.mark.parametrize(("expression", "type_name"), ALLOWED)
def test_what_is_served_is_what_a_job_of_data_processing_computes(expression: str, type_name: str) -> None:
    it = feature("it", expression, type_name)
    check_on_demand(wanted(it))
    found = evaluate([it], [], TABLE, TYPES)
    # Processing takes the same text, and writes it anew.
    [step] = steps_of([it])
    sql = scalar(step["it"], Names.of(TABLE.column_names), 20_000).sql
    connection = locked_down()
    connection.register("input", TABLE)
    computed = connection.sql(f"SELECT {sql} AS it FROM input").to_arrow_table()
    assert bits(found.column("it")) == bits(computed.column("it"))
    assert found.schema == computed.schema
    assert str(connection.sql(f"SELECT {sql} FROM input").types[0]).replace(" ", "") == sql_type(type_name).replace(" ", "")


@pytest.mark.parametrize(("expression", "message"), REFUSED)
def test_what_is_no_scalar_expression_with_one_value_is_refused(expression: str, message: str) -> None:
    with pytest.raises(InvalidOnDemandFeature) as error:
        check_on_demand(wanted(feature("it", expression), feature("later", "1")))
    assert "on-demand feature 'it'" in error.value.message
    assert message in error.value.message


def test_every_function_that_is_allowed_here_is_allowed_in_plans() -> None:
    assert {name for name in _stable_functions() if kind_of(name) is not FunctionKind.SCALAR} == set()


def test_a_feature_comes_behind_those_that_it_uses() -> None:
    chain = [feature("a", "n + 1"), feature("twice", '"A" * 2'), feature("c", "n"), feature("e", "twice + c")]
    assert [list(step) for step in steps_of(chain)] == [["a", "c"], ["twice"], ["e"]]
    check_on_demand(wanted(*chain))
    found = evaluate(chain, [], TABLE)
    assert found.to_pydict() == {"a": [4, -6, None], "twice": [8, -12, None], "c": [3, -7, None], "e": [11, -19, None]}


def test_names_differ_in_more_than_case() -> None:
    for twice in (wanted(feature("N", "1")), wanted(feature("a", "1"), feature("A", "1")), wanted(feature("a", "1"), inputs={"F": "bool"})):
        with pytest.raises(InvalidOnDemandFeature, match="case does not count"):
            check_on_demand(twice)


def test_a_type_is_one_of_a_feature() -> None:
    with pytest.raises(InvalidFeatureSchema):
        check_on_demand(wanted(feature("a", "1", "HUGEINT); DROP TABLE x; --")))


def test_columns_become_the_types_that_are_declared_whatever_a_dataset_made_of_them() -> None:
    it = feature("it", "u + x", "float32")
    table = pa.table({"u": pa.array([7]), "x": ["1"], "X y": [1]})
    found = evaluate([it], [pb.RequestInput(name="x", type="int64")], table, {"u": "uint8"})
    assert found.to_pydict() == {"it": [8.0]}


def test_rows_keep_their_order_and_errors_say_why() -> None:
    it = feature("it", "CAST(s AS BIGINT)", "int64")
    many = pa.table({"s": [str(number) for number in range(5000)]})
    assert evaluate([it], [], many).column("it").to_pylist() == list(range(5000))
    with pytest.raises(OnDemandFeatureFailed, match="Could not convert string 'x'"):
        evaluate([it], [], pa.table({"s": ["x"]}))
    assert evaluate([it], [], pa.table({"s": ["5"]})).column("it").to_pylist() == [5]


def test_an_expression_may_use_no_column_at_all() -> None:
    assert evaluate([feature("it", "1", "int8")], [], pa.table({"s": ["a", "b"]})).column("it").to_pylist() == [1, 1]
