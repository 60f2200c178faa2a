"""Types are known before anything runs, and what is wrong is said with the step's name."""

from __future__ import annotations

import pyarrow as pa
import pytest

from servers.processing.plan.binding import bind
from servers.processing.plan.errors import (
    AmbiguousColumn,
    DuplicateColumn,
    DuplicateStep,
    InvalidExpression,
    InvalidPlan,
    InvalidSql,
    InvalidStep,
    PlanCycle,
    PlanTooLarge,
    TypeMismatch,
    UnknownColumn,
    UnknownInput,
    UnknownStep,
    UnsupportedSql,
    UnsupportedType,
    VolatileFunction,
)
from servers.processing.plan.limits import PlanLimits
from servers.processing.plan.nodes import (
    Aggregate,
    AsOfJoin,
    Column,
    CrossJoin,
    Deduplicate,
    Filter,
    Join,
    JoinKey,
    JoinKind,
    Ordering,
    Project,
    PythonFunction,
    Scan,
    Top,
    TypedColumn,
    Union,
    Window,
    WindowColumn,
)
from servers.processing.plan.plan import Plan, Step
from servers.processing.plan.sql import plan_of_sql
from servers.processing.plan.steps import (
    Encode,
    EncodedColumn,
    EncodeKind,
    Impute,
    ImputeStrategy,
    Part,
    Sample,
    Scale,
    Split,
)
from tests.integration.processing.plans import SCHEMAS

EVENTS, FACTS = Scan("e", "events"), Scan("f", "facts")


def schema_of(*steps: Step) -> pa.Schema:
    return bind(Plan(steps, (steps[-1].name,)), SCHEMAS).schema(steps[-1].name)


def test_every_type_is_exact() -> None:
    columns = (
        Column("sum", "sum(big)"),
        Column("amounts", "sum(amount)"),
        Column("mean", "avg(amount)"),
        Column("last", "max(moment)"),
        Column("count", "count(*)"),
        Column("list", "list(word ORDER BY moment)"),
        Column("any", "bool_or(flag)"),
    )

    assert schema_of(EVENTS, Aggregate("a", "e", (Column("key", "key"),), columns)) == pa.schema(
        [
            ("key", pa.int32()),
            ("sum", pa.decimal128(38, 0)),
            ("amounts", pa.decimal128(38, 2)),
            ("mean", pa.float64()),
            ("last", pa.timestamp("us", "UTC")),
            ("count", pa.int64()),
            ("list", pa.list_(pa.field("list", pa.string()))),
            ("any", pa.bool_()),
        ]
    )


def test_a_join_has_the_columns_of_both_sides() -> None:
    joined = schema_of(EVENTS, FACTS, Join("j", "e", "f", (JoinKey("key", "key"),)))

    assert joined.names == ["key", "word", "moment", "value", "amount", "big", "flag", "key_right", "word_right", "moment_right", "score"]
    assert joined.field("key").type == pa.int32()
    assert joined.field("key_right").type == pa.int64()


def test_the_types_of_a_union_hold_both() -> None:
    part = Project("p", "f", (Column("key", "key"),))

    assert schema_of(EVENTS, FACTS, Project("q", "e", (Column("KEY", "key"),)), part, Union("u", ("q", "p"))) == pa.schema(
        [("KEY", pa.int64())]
    )


KEY = (JoinKey("key", "key"),)
ONE = (Column("x", "1"),)
WRONG: list[tuple[type[InvalidPlan], str, list[Step]]] = [
    (UnknownColumn, "step 'x': .*'vlaue' is not there; did you mean 'value'", [EVENTS, Filter("x", "e", "vlaue > 1")]),
    (
        UnknownColumn,
        "column 'y': .*'nothing' is not there; there are 'key', 'word'",
        [EVENTS, Project("x", "e", (Column("y", "nothing"),))],
    ),
    (UnknownColumn, "the right key 'value'", [EVENTS, FACTS, Join("x", "e", "f", (JoinKey("key", "value"),))]),
    (UnknownColumn, "order_by: the column 'z'", [EVENTS, Top("x", "e", (Ordering("z"),))]),
    (UnknownColumn, "left_time 'when'", [EVENTS, FACTS, AsOfJoin("x", "e", "f", KEY, "when", "moment")]),
    (UnknownColumn, "keys: the column 'z'", [EVENTS, Deduplicate("x", "e", ("z",))]),
    (UnknownColumn, "'input_0' is not there", [EVENTS, Filter("x", "e", "input_0.key = 1")]),
    (UnknownColumn, "'rowid' is not there", [EVENTS, Filter("x", "e", "rowid = 1")]),
    (TypeMismatch, r"\+\(VARCHAR, INTEGER", [EVENTS, Project("x", "e", (Column("y", "word + 1"),))]),
    (
        TypeMismatch,
        "keys 'key' and 'word': INTEGER and VARCHAR cannot be compared",
        [EVENTS, FACTS, Join("x", "e", "f", (JoinKey("key", "word"),))],
    ),
    (TypeMismatch, "the time 'word' is VARCHAR", [EVENTS, FACTS, AsOfJoin("x", "e", "f", KEY, "word", "moment")]),
    (TypeMismatch, "the times 'moment' and 'key'", [EVENTS, FACTS, AsOfJoin("x", "e", "f", KEY, "moment", "key")]),
    (TypeMismatch, "nothing but NULL", [EVENTS, Project("x", "e", (Column("y", "NULL"),))]),
    (TypeMismatch, "'word' is VARCHAR; it has to be a number", [EVENTS, Scale("x", "e", ("word",))]),
    (UnknownInput, "the input 'evnts', which the job has not; did you mean 'events'", [Scan("x", "evnts")]),
    (UnknownStep, "reads step 'y', which the plan has not", [EVENTS, Filter("x", "y", "true")]),
    (PlanCycle, "it needs its own rows: .*←", [Filter("x", "y", "true"), Filter("y", "x", "true")]),
    (PlanCycle, "it needs its own rows", [Filter("x", "x", "true")]),
    (DuplicateStep, "another step is named 'e'", [EVENTS, Scan("E", "facts"), Union("x", ("e",))]),
    (InvalidPlan, "no output needs it", [EVENTS, FACTS, Filter("x", "e", "true")]),
    (DuplicateColumn, "two columns", [EVENTS, Project("x", "e", (Column("a", "1"), Column("A", "2")))]),
    (DuplicateColumn, "two columns are named", [EVENTS, Aggregate("x", "e", (Column("a", "key"),), (Column("a", "count(*)"),))]),
    (DuplicateColumn, "two columns are named 'key'", [EVENTS, FACTS, Join("x", "e", "f", KEY, right_suffix="")]),
    (DuplicateColumn, "names a column twice", [Scan("x", "events", ("key", "KEY"))]),
    (VolatileFunction, "random depends on more than its arguments", [EVENTS, Filter("x", "e", "random() < 0.5")]),
    (VolatileFunction, "now depends", [EVENTS, Project("x", "e", (Column("y", "now()"),))]),
    (VolatileFunction, "current_date changes from run to run", [EVENTS, Project("x", "e", (Column("y", "current_date"),))]),
    (VolatileFunction, "uuid depends", [EVENTS, Project("x", "e", (Column("y", "list_transform([1], lambda z: uuid())"),))]),
    (VolatileFunction, "nextval", [EVENTS, Project("x", "e", (Column("y", "nextval('s')"),))]),
    (VolatileFunction, "age of one argument", [EVENTS, Project("x", "e", (Column("y", "age(moment)"),))]),
    (VolatileFunction, "current_setting", [EVENTS, Project("x", "e", (Column("y", "current_setting('threads')"),))]),
    (VolatileFunction, "sleep_ms", [EVENTS, Project("x", "e", (Column("y", "sleep_ms(1000)"),))]),
    (VolatileFunction, "write_log", [EVENTS, Project("x", "e", (Column("y", "write_log('x')"),))]),
    (InvalidExpression, "hash cannot be used", [EVENTS, Project("x", "e", (Column("y", "hash(key)"),))]),
    (InvalidExpression, "is not one expression: Only SELECT", [EVENTS, Filter("x", "e", "1; DROP TABLE x")]),
    (InvalidExpression, "is not one expression: syntax error", [EVENTS, Filter("x", "e", "true) OR (true")]),
    (InvalidExpression, "is not one expression; aliases, commas", [EVENTS, Project("x", "e", (Column("y", "1, 2"),))]),
    (InvalidExpression, "is not one expression; aliases", [EVENTS, Project("x", "e", (Column("y", "1 FROM facts"),))]),
    (InvalidExpression, "is not one expression; aliases", [EVENTS, Project("x", "e", (Column("y", "DISTINCT key"),))]),
    (InvalidExpression, "is not one expression", [EVENTS, Project("x", "e", (Column("y", ""),))]),
    (InvalidExpression, "NUL character", [EVENTS, Project("x", "e", (Column("y", "'\0'"),))]),
    (InvalidExpression, "cannot have a subquery", [EVENTS, Filter("x", "e", "key IN (SELECT 1)")]),
    (InvalidExpression, "cannot have a subquery", [EVENTS, Filter("x", "e", "EXISTS (FROM read_csv('/etc/passwd'))")]),
    (InvalidExpression, "cannot have an OVER clause", [EVENTS, Filter("x", "e", "row_number() OVER () = 1")]),
    (InvalidExpression, "cannot have a `[*]`", [EVENTS, Project("x", "e", (Column("y", "COLUMNS(*)"),))]),
    (InvalidExpression, "cannot have a parameter", [EVENTS, Filter("x", "e", "key = $1")]),
    (InvalidExpression, "there is no function 'read_text'", [EVENTS, Filter("x", "e", "read_text('/etc/passwd') = ''")]),
    (InvalidExpression, "there is no function 'getenv'", [EVENTS, Filter("x", "e", "getenv('HOME') = ''")]),
    (InvalidExpression, "a call with dots", [EVENTS, Filter("x", "e", "system.main.abs(key) = 1")]),
    (InvalidExpression, "sum is an aggregate function", [EVENTS, Filter("x", "e", "sum(key) > 1")]),
    (InvalidExpression, "has no aggregate function", [EVENTS, Aggregate("x", "e", (), (Column("y", "key"),))]),
    (InvalidExpression, "depends on the order of rows", [EVENTS, Aggregate("x", "e", (), (Column("y", "list(key)"),))]),
    (InvalidExpression, "approx_quantile cannot be used", [EVENTS, Aggregate("x", "e", (), (Column("y", "approx_quantile(key, 0.5)"),))]),
    (
        InvalidExpression,
        "reservoir_quantile cannot",
        [EVENTS, Project("x", "e", (Column("y", "list_aggregate([key], 'reservoir_quantile', 0.5)"),))],
    ),
    (InvalidExpression, "unnest cannot be used", [EVENTS, Project("x", "e", (Column("y", "unnest([1, 2])"),))]),
    (InvalidExpression, "is not one call", [EVENTS, Window("x", "e", (), (), (WindowColumn("y", "sum(key)", ") + sum(key) OVER ("),))]),
    (
        InvalidExpression,
        "EXCLUDE TIES",
        [EVENTS, Window("x", "e", (), (Ordering("moment"),), (WindowColumn("y", "sum(key)", "ROWS 1 PRECEDING EXCLUDE TIES"),))],
    ),
    (UnsupportedType, "ENUM", [EVENTS, Project("x", "e", (Column("y", "'a'::ENUM('a', 'b')"),))]),
    (UnsupportedType, "HUGEINT", [EVENTS, Project("x", "e", (Column("y", "[key::HUGEINT]"),))]),
    (UnsupportedType, "TIME WITH TIME ZONE", [EVENTS, Project("x", "e", (Column("y", "'10:00:00+01'::TIMETZ"),))]),
    (UnsupportedType, "is no type", [EVENTS, PythonFunction("x", "e", "", "f", (TypedColumn("y", "WHATEVER"),))]),
    (UnsupportedType, "a Python function returns DECIMAL", [EVENTS, PythonFunction("x", "e", "", "f", (TypedColumn("y", "HUGEINT"),))]),
    (InvalidStep, "a projection computes at least one column", [EVENTS, Project("x", "e", ())]),
    (InvalidStep, "keys, aggregations or both", [EVENTS, Aggregate("x", "e", (), ())]),
    (InvalidStep, "keys, a condition or both", [EVENTS, FACTS, Join("x", "e", "f", ())]),
    (InvalidStep, "INNER or LEFT, not FULL", [EVENTS, FACTS, AsOfJoin("x", "e", "f", KEY, "moment", "moment", kind=JoinKind.FULL)]),
    (InvalidStep, "a tolerance is a number", [EVENTS, FACTS, AsOfJoin("x", "e", "f", KEY, "moment", "moment", float("nan"))]),
    (InvalidStep, "whole numbers from 0 on", [EVENTS, Top("x", "e", (), -1)]),
    (InvalidStep, "different columns: 'e' has .*, 'f' has", [EVENTS, FACTS, Union("x", ("e", "f"))]),
    (InvalidStep, "at least one input", [Union("x", ())]),
    (InvalidStep, "is no column's name", [EVENTS, Project("x", "e", (Column("", "1"),))]),
    (InvalidStep, "is no column's name", [EVENTS, Project("x", "e", (Column("a" * 256, "1"),))]),
    (InvalidStep, "a letter first", [Scan("1x", "events")]),
    (InvalidStep, "above 0 and at most 1", [EVENTS, Sample("x", "e", 1.5)]),
    (InvalidStep, "add up to 1", [EVENTS, Split("x", "e", (Part("a", 0.5), Part("b", 0.6)))]),
    (InvalidStep, "ONE_HOT needs them", [EVENTS, Encode("x", "e", (EncodedColumn("word"),), EncodeKind.ONE_HOT)]),
    (InvalidStep, "CONSTANT needs a constant", [EVENTS, Impute("x", "e", ("word",), ImputeStrategy.CONSTANT)]),
    (DuplicateColumn, "two columns are named", [EVENTS, FACTS, CrossJoin("x", "e", "f", "")]),
]


@pytest.mark.parametrize(("error", "message", "steps"), WRONG)
def test_what_is_wrong_is_said_with_the_name_of_the_step(error: type[InvalidPlan], message: str, steps: list[Step]) -> None:
    with pytest.raises(error, match=message) as raised:
        schema_of(*steps)

    assert type(raised.value) is error
    assert raised.value.code.name == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    ("field", "error", "message"),
    [
        (pa.field("a", pa.decimal256(50, 2)), UnsupportedType, "'a' of input 'i' is decimal256"),
        (pa.field("a", pa.float16()), UnsupportedType, "which DuckDB cannot read"),
        (pa.field("a", pa.null()), UnsupportedType, "no type of values"),
        (pa.field("A ", pa.int8()), None, ""),
        (pa.field("B", pa.int8()), DuplicateColumn, "twice; case does not count"),
        (pa.field("", pa.int8()), InvalidStep, "1 to 255 characters"),
        (pa.field("c\0d", pa.int8()), InvalidStep, "1 to 255 characters"),
    ],
)
def test_inputs_that_duckdb_cannot_read_as_they_are_are_refused(field: pa.Field, error: type[InvalidPlan] | None, message: str) -> None:
    sources = {"i": pa.schema([pa.field("b", pa.int8()), field])}
    if error is None:
        assert bind(Plan((Scan("s", "i"),), ("s",)), sources).schema("s").names == ["b", "A "]
        return
    with pytest.raises(error, match=message):
        bind(Plan((Scan("s", "i"),), ("s",)), sources)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (PlanLimits(steps=1), "2 steps; at most 1"),
        (PlanLimits(columns=6), "7 columns; at most 6"),
        (PlanLimits(expression_characters=4), "has 7 characters; at most 4"),
    ],
)
def test_what_is_too_large_is_refused(limits: PlanLimits, message: str) -> None:
    with pytest.raises(PlanTooLarge, match=message):
        bind(Plan((EVENTS, Filter("x", "e", "key > 1")), ("x",)), SCHEMAS, limits)


def test_deep_expressions_and_long_chains_are_bound() -> None:
    chain = [
        EVENTS,
        *(Project(f"p{place}", f"p{place - 1}" if place else "e", (Column("key", "key + 1"),), keeps_others=True) for place in range(200)),
    ]

    assert schema_of(*chain).names == SCHEMAS["events"].names
    for deep in ("key" + " + key" * 300, "CASE WHEN key = 1 THEN 1 ELSE " * 400 + "0" + " END" * 400, "(" * 3_000 + "1" + ")" * 3_000):
        with pytest.raises(PlanTooLarge, match=r"step 'x': .*nested too deeply"):
            schema_of(EVENTS, Project("x", "e", (Column("y", deep),)))


WRONG_SQL = [
    (InvalidSql, "there are 2 statements", "SELECT key FROM events; SELECT key FROM events"),
    (InvalidSql, "only one SELECT", "DROP TABLE events"),
    (InvalidSql, "only one SELECT", "SELECT key FROM events; DROP TABLE events"),
    (InvalidSql, "line 2, column 6: syntax error", "SELECT key\nFROM FROM events"),
    (InvalidSql, "line 1, column 8: column 'word' is neither in GROUP BY", "SELECT word, count(*) FROM events GROUP BY key"),
    (InvalidSql, "no column 3", "SELECT key FROM events ORDER BY 3"),
    (UnknownColumn, "line 1, column 8: there is no column 'vlaue'; did you mean 'value'", "SELECT vlaue FROM events"),
    (UnknownColumn, "line 2, column 3: 'e' has no column 'nothing'", "SELECT 'é',\n  e.nothing FROM events e"),
    (UnknownColumn, "USING: the right side has no column 'value'", "SELECT key FROM events JOIN facts USING (value)"),
    (AmbiguousColumn, "'key' may be 'events.key' or 'facts.key'", "SELECT key FROM events, facts"),
    (AmbiguousColumn, "'key' is a column and the name of another expression", "SELECT sum(key) AS key FROM events HAVING key > 1"),
    (DuplicateColumn, "two columns of the select list are named 'key'", "SELECT * FROM events JOIN facts ON events.key = facts.key"),
    (UnknownInput, "there is no input 'evnts'; did you mean 'events'", "SELECT 1 FROM evnts"),
    (UnknownInput, "there is no input '/etc/passwd'", "SELECT * FROM '/etc/passwd'"),
    (UnsupportedSql, "a table function is not supported; make the rows an input", "SELECT * FROM read_csv('/etc/passwd')"),
    (UnsupportedSql, "a SELECT without FROM", "SELECT 1"),
    (UnsupportedSql, "VALUES is not supported", "SELECT * FROM (VALUES (1)) v(a)"),
    (UnsupportedSql, "INTERSECT is not supported; use a SEMI JOIN", "SELECT key FROM events INTERSECT SELECT key FROM facts"),
    (UnsupportedSql, "UNION BY NAME is not supported", "SELECT key FROM events UNION BY NAME SELECT key FROM facts"),
    (UnsupportedSql, "WITH RECURSIVE", "WITH RECURSIVE r AS (SELECT key FROM events UNION ALL SELECT key FROM r) SELECT * FROM r"),
    (UnsupportedSql, "a POSITIONAL join", "SELECT e.key FROM events e POSITIONAL JOIN facts"),
    (UnsupportedSql, "an ASOF FULL join", "SELECT e.key FROM events e ASOF FULL JOIN facts f ON e.moment >= f.moment"),
    (UnsupportedSql, "this condition of an ASOF join", "SELECT e.key FROM events e ASOF JOIN facts f ON e.moment <= f.moment"),
    (
        UnsupportedSql,
        "this condition of an ASOF join",
        "SELECT e.key FROM events e ASOF JOIN facts f ON e.moment >= f.moment AND f.score > 1",
    ),
    (UnsupportedSql, "ROLLUP", "SELECT key, count(*) FROM events GROUP BY ROLLUP (key)"),
    (UnsupportedSql, "LIMIT in percent", "SELECT key FROM events LIMIT 10%"),
    (UnsupportedSql, "an expression in LIMIT", "SELECT key FROM events LIMIT 1 + 1"),
    (UnsupportedSql, "ORDER BY without LIMIT in a subquery", "SELECT key FROM (SELECT key FROM events ORDER BY key)"),
    (UnsupportedSql, "TABLESAMPLE is not supported; use a Sample step", "SELECT key FROM events TABLESAMPLE 10%"),
    (UnsupportedSql, "USING SAMPLE", "SELECT key FROM events USING SAMPLE 10%"),
    (UnsupportedSql, "COLUMNS", "SELECT COLUMNS('k.*') FROM events"),
    (UnsupportedSql, "AT is not supported", "SELECT key FROM events AT (VERSION => 3)"),
    (UnsupportedSql, "a name with a schema", "SELECT key FROM main.events"),
    (UnsupportedSql, "DISTINCT with ORDER BY of something", "SELECT DISTINCT key FROM events ORDER BY word"),
    (InvalidExpression, "line 1, column 30: .*subquery; join it", "SELECT key FROM events WHERE (SELECT true)"),
    (InvalidExpression, "subquery", "SELECT key FROM events WHERE key IN (SELECT key FROM facts)"),
    (InvalidExpression, "sum is an aggregate function", "SELECT key FROM events WHERE sum(key) > 1"),
    (InvalidExpression, "unnest", "SELECT unnest([1, 2]) FROM events"),
    (InvalidExpression, "rename the parameter", "SELECT list_transform([1], lambda key: key + events.key) FROM events"),
    (InvalidExpression, "depends on the order of rows", "SELECT list(key) FROM events"),
    (VolatileFunction, "random", "SELECT random() FROM events"),
    (VolatileFunction, "current_timestamp", "SELECT current_timestamp FROM events"),
]


@pytest.mark.parametrize(("error", "message", "text"), WRONG_SQL)
def test_a_select_that_is_no_plan_is_refused_with_its_place(error: type[InvalidPlan], message: str, text: str) -> None:
    with pytest.raises(error, match=message) as raised:
        plan_of_sql(text, {name: schema.names for name, schema in SCHEMAS.items()})

    assert type(raised.value) is error
