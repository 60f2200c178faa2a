"""Expressions: what may be in them, and what DuckDB writes for them."""

from __future__ import annotations

from contextlib import suppress

import duckdb
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from servers.processing.plan.errors import InvalidPlan
from servers.processing.plan.expressions import Names, aggregate, scalar, window
from servers.processing.plan.functions import REFUSED, TIES_COUNT, FunctionKind, catalogue, kind_of
from servers.processing.plan.nodes import Ordering, WindowColumn
from servers.runtime.duckdb_session import locked_down

NAMES = Names.of(["a", "b", "word", "list", "struct", "A b", "select"])
LIMIT = 1_000
ROWS = (
    "SELECT 1 AS a, 2 AS b, 'abc' AS word, [1, 2, 3] AS list, {'x': 5} AS struct, 7 AS \"A b\", 8 AS \"select\" "
    "UNION ALL SELECT NULL, 0, NULL, NULL, NULL, NULL, NULL"
)


@pytest.mark.parametrize(
    "text",
    [
        "a + b * 2 - -1",
        "a // b",
        "a ** 2 ^ 2",
        "a % 2 = 0 AND NOT b > 1 OR a IS NULL",
        "word || 'it''s' || word",
        "a BETWEEN 1 AND 2",
        "a IN (1, 2)",
        "CASE WHEN a > 1 THEN 'x' ELSE word END",
        "CASE a WHEN 1 THEN 2 END",
        "CAST(a AS DECIMAL(10, 2))",
        "a::DOUBLE / 3",
        "TRY_CAST(word AS INTEGER)",
        "list[1] + list[-1]",
        "list[1:2]",
        "[a, b, NULL]",
        "{'x': a, 'y': word}",
        "struct.x + 1",
        "struct['x']",
        "MAP {coalesce(word, ''): a}",
        "-0.0",
        "1e3",
        "1_000",
        "list_transform(list, lambda x: x + a)",
        "[x + 1 FOR x IN list IF x > 1]",
        "word LIKE '%a_' ESCAPE '!'",
        "word ~ '^a'",
        "word SIMILAR TO 'a.*'",
        "coalesce(a, b, 0)",
        "nullif(a, 1)",
        "INTERVAL 3 DAY",
        "DATE '2026-01-01' + 1",
        "a IS DISTINCT FROM b",
        "substring(word FROM 1 FOR 2)",
        "extract(year FROM DATE '2026-01-01')",
        "TIMESTAMPTZ '2026-01-01 00:00:00+02' AT TIME ZONE 'UTC'",
        "(a, b) = (1, 2)",
        "'{\"x\": 1}'::JSON -> '$.x'",
        "'{\"x\": 1}'::JSON ->> 'x'",
        "a -- the end",
        "/* a */ b",
        '"A b" + "select"',
        "TRY(a / 0)",
        "~a & 3 | 4 << 1",
    ],
)
def test_what_is_run_means_what_was_written(text: str) -> None:
    written, run = text, scalar(text, NAMES, LIMIT).sql

    with locked_down() as connection:
        values = [connection.sql(f"SELECT ({each}\n) FROM ({ROWS})").fetchall() for each in (written, run)]

    assert sorted(map(repr, values[0])) == sorted(map(repr, values[1]))


_pieces = st.sampled_from([*"ab1'\"()[]{},;.*- \n\\/$?:=<>|é", "SELECT ", " FROM ", "--", "/*", "*/", "sum(", " OVER (", "lambda x: "])


@given(text=st.lists(_pieces, max_size=20).map("".join))
@example(text="b::a")
def test_any_text_is_an_expression_or_a_typed_error(text: str) -> None:
    try:
        sql = scalar(text, NAMES, LIMIT).sql
    except InvalidPlan:
        return
    # What comes out has no clause, comment or second statement, whatever it stands in; its types are for the binder.
    with locked_down() as connection, suppress(duckdb.BinderException, duckdb.CatalogException):
        connection.execute("CREATE TABLE t (a INTEGER, b INTEGER)")
        assert len(connection.sql(f"SELECT {sql} AS x, 1 AS y FROM t WHERE true").columns) == 2


@pytest.mark.parametrize(
    ("text", "sql"),
    [
        ("arg_max(a, b)", "arg_max(a, b ORDER BY a ASC NULLS LAST, b ASC NULLS LAST)"),
        ("list(a ORDER BY b DESC)", "list(a ORDER BY b DESC, a ASC NULLS LAST)"),
        ("string_agg(word, ',' ORDER BY b)", "string_agg(word, ',' ORDER BY b, word ASC NULLS LAST)"),
        ("sum(A) / count(*)", "(sum(a) / count_star())"),
    ],
)
def test_ties_of_aggregates_are_broken_by_their_arguments(text: str, sql: str) -> None:
    assert aggregate(text, NAMES, LIMIT) == sql


@pytest.mark.parametrize(
    ("call", "frame", "counts_rows", "order_inside"),
    [
        ("row_number()", "", True, False),
        ("lag(a)", "", True, False),
        ("sum(a)", "ROWS 1 PRECEDING", True, False),
        ("last_value(a)", "ROWS 1 PRECEDING", True, False),
        ("rank()", "", False, False),
        ("sum(a)", "", False, False),
        ("sum(a)", "RANGE BETWEEN 1 PRECEDING AND CURRENT ROW", False, False),
        ("last_value(a)", "", False, True),
        ("list(a)", "", False, True),
    ],
)
def test_ties_of_windows_are_broken_without_changing_who_is_a_peer(call: str, frame: str, counts_rows: bool, order_inside: bool) -> None:
    sql = window(WindowColumn("x", call, frame), ("word",), (Ordering("b", True),), Names.of(["a", "b", "word"]), LIMIT)

    inside, over = sql.split(" OVER (")
    assert over.startswith("PARTITION BY word ORDER BY b DESC NULLS LAST")
    assert ("a ASC" in over) == counts_rows
    assert ("ORDER BY b DESC NULLS LAST, a ASC NULLS LAST" in inside) == order_inside


def test_functions_are_those_of_the_installed_duckdb() -> None:
    kinds = catalogue()

    assert kinds["sum"] is FunctionKind.AGGREGATE
    assert kinds["upper"] is FunctionKind.SCALAR
    assert kinds["row_number"] is FunctionKind.WINDOW
    assert kind_of("unnest") is FunctionKind.REFUSED
    assert kind_of("nothing") is None


@pytest.mark.parametrize(
    "name",
    [
        "random",
        "now",
        "today",
        "uuid",
        "uuidv7",
        "gen_random_uuid",
        "nextval",
        "currval",
        "setseed",
        "current_user",
        "txid_current",
        "getvariable",
        "current_setting",
        "current_date",
        "current_query",
        "get_current_time",
        "ago",
        "sleep_ms",
        "write_log",
        "in_search_path",
        "stats",
        "vector_type",
    ],
)
def test_what_depends_on_more_than_its_arguments_is_volatile(name: str) -> None:
    assert kind_of(name) is FunctionKind.VOLATILE


def test_every_function_that_is_named_in_a_rule_exists() -> None:
    syntax = {"unnest", "grouping", "grouping_id"}

    assert {*REFUSED, *TIES_COUNT} - set(catalogue()) - syntax == set()
