"""SQL and predicate are two readings of one filter: on random rows and random filters they select the same."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Boolean, Column, ForeignKey, Integer, MetaData, Table, create_engine, func, select
from sqlalchemy.pool import StaticPool

from aip_filter import Field, FilterError, Schema, parse, side_table, to_predicate, to_sql
from sql_engine import ExactString, UtcDateTime, exact_float

METADATA = MetaData()
ROWS = Table(
    "rows",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("name", ExactString(50), nullable=False),
    Column("note", ExactString(50)),
    Column("size", Integer),
    Column("score", exact_float()),
    Column("live", Boolean),
    Column("state", ExactString(10), nullable=False),
    Column("time", UtcDateTime()),
)
TAGS = Table("tags", METADATA, Column("row_id", ForeignKey(ROWS.c.id)), Column("key", ExactString(50)), Column("value", ExactString(50)))
SCORES = Table("scores", METADATA, Column("row_id", ForeignKey(ROWS.c.id)), Column("key", ExactString(50)), Column("value", exact_float()))
STATES = {"READY": "ready", "FAILED": "failed"}
SCHEMA = Schema(
    {
        "name": Field("string", ROWS.c.name),
        "note": Field("string", ROWS.c.note),
        "size": Field("int", ROWS.c.size),
        "score": Field("float", ROWS.c.score),
        "live": Field("bool", ROWS.c.live),
        "state": Field("enum", ROWS.c.state, values=STATES),
        "time": Field("timestamp", ROWS.c.time),
        "tags": Field("map", entries=side_table(TAGS, TAGS.c.row_id == ROWS.c.id)),
        "scores": Field("map", entries=side_table(SCORES, SCORES.c.row_id == ROWS.c.id), value_kind="float"),
    }
)
START = datetime(2026, 1, 1, tzinfo=UTC)
WORDS = st.text(alphabet='aAbB*%_[?!\\"éß€ ', max_size=4)
SIZES = st.integers(-3, 3)
NUMBERS = st.sampled_from([-1.5, -1.0, 0.0, 0.25, 1.0, 2.5])
TIMES = st.integers(-2, 2).map(lambda days: START + timedelta(days=days, microseconds=days))
KEYS = st.sampled_from(["k", "team", "a.b"])


def optional(values):
    return st.none() | values


ROW = st.fixed_dictionaries(
    {
        "name": WORDS,
        "note": optional(WORDS),
        "size": optional(SIZES),
        "score": optional(NUMBERS),
        "live": optional(st.booleans()),
        "state": st.sampled_from(sorted(STATES.values())),
        "time": optional(TIMES),
        "tags": st.dictionaries(KEYS, WORDS, max_size=3),
        "scores": st.dictionaries(KEYS, NUMBERS, max_size=2),
    }
)


def quote(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("*", "\\*") + '"'


@st.composite
def string_literal(draw):
    text = quote(draw(WORDS))
    return draw(st.sampled_from([text, '"*' + text[1:], text[:-1] + '*"', '"*' + text[1:-1] + '*"']))


ORDERED = ["=", "!=", "<", "<=", ">", ">="]


@st.composite
def string_test(draw, field):
    operator = draw(st.sampled_from([*ORDERED, ":"]))
    literal = draw(string_literal()) if operator in {"=", "!="} else quote(draw(WORDS))
    return f"{field} {operator} {literal}"


def number_test(field, values):
    return st.builds(lambda operator, value: f"{field} {operator} {value}", st.sampled_from([*ORDERED, ":"]), values)


RESTRICTION = st.one_of(
    string_test("name"),
    string_test("note"),
    number_test("size", SIZES),
    number_test("score", NUMBERS),
    number_test("time", TIMES.map(lambda time: f'"{time.isoformat()}"')),
    st.builds(lambda operator, value: f"live {operator} {value}", st.sampled_from(["=", "!=", ":"]), st.sampled_from(["true", "false"])),
    st.builds(lambda operator, value: f"state {operator} {value}", st.sampled_from(["=", "!="]), st.sampled_from(["READY", "failed"])),
    KEYS.flatmap(lambda key: string_test(f"tags.{key}")),
    KEYS.flatmap(lambda key: number_test(f"scores.{key}", NUMBERS)),
    st.sampled_from(["live", "note:*", "size = *", "tags.k", "tags:team", "tags.a.b:*", 'scores:"a.b"', "time:*"]),
)
FILTER = st.recursive(
    RESTRICTION,
    lambda inner: st.one_of(
        inner.map(lambda text: f"NOT ({text})"),
        inner.map(lambda text: f"-({text})"),
        st.tuples(inner, st.sampled_from([" AND ", " OR ", " "]), inner).map(lambda parts: f"({parts[0]}){parts[1]}({parts[2]})"),
    ),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def engine():
    engine = create_engine("sqlite://", poolclass=StaticPool)
    METADATA.create_all(engine)
    yield engine
    engine.dispose()


@settings(max_examples=200, deadline=None)
@given(rows=st.lists(ROW, min_size=1, max_size=6), text=FILTER)
def test_sql_and_predicate_select_the_same_rows(engine, rows, text):
    expression = parse(text)
    with engine.connect() as connection:
        for number, row in enumerate(rows):
            connection.execute(ROWS.insert(), {"id": number, **{key: value for key, value in row.items() if key not in {"tags", "scores"}}})
            for table, name in ((TAGS, "tags"), (SCORES, "scores")):
                for key, value in row[name].items():
                    connection.execute(table.insert(), {"row_id": number, "key": key, "value": value})
        selected = connection.execute(select(ROWS.c.id).where(to_sql(expression, SCHEMA)).order_by(ROWS.c.id)).scalars().all()
        complement = connection.execute(select(func.count()).select_from(ROWS).where(~to_sql(expression, SCHEMA))).scalar_one()
        connection.rollback()
    matches = to_predicate(expression, SCHEMA)
    assert selected == [number for number, row in enumerate(rows) if matches(row)]
    assert len(selected) + complement == len(rows)


@pytest.mark.parametrize(
    ("text", "message", "allowed"),
    [
        ("nmae = 1", "there is no field 'nmae'", "name"),
        ("name.first = 1", "there is no field 'name.first'", "tags.KEY"),
        ("size = many", "is not an integer", ()),
        ("size = 99999999999999999999", "64 bits", ()),
        ("size = 1*", "a value without", ()),
        ("score = nan", "finite number", ()),
        ("score = 1e999", "finite number", ()),
        ("live = yes", "true or false", "true"),
        ("live > true", "cannot be compared with >", "="),
        ("state = GONE", "one of READY, FAILED", "READY"),
        ("time > yesterday", "RFC 3339", ()),
        ('time > "2026-01-01T00:00:00"', "RFC 3339", ()),
        ('time > "2026-13-01T00:00:00Z"', "RFC 3339", ()),
        ("tags = x", "write tags.KEY", ":"),
        ("tags:*", "write tags:KEY", ()),
        ("name", "alone says nothing", "="),
        ('name < "a*"', "wildcard only with", "="),
        ('name = "\x00"', "NUL", ()),
    ],
)
@pytest.mark.parametrize("compile_filter", [to_sql, to_predicate])
def test_a_wrong_filter_says_what_is_wrong_and_what_is_allowed(compile_filter, text, message, allowed):
    with pytest.raises(FilterError, match=message) as error:
        compile_filter(parse(text), SCHEMA)
    assert allowed == () or allowed in error.value.allowed
    assert error.value.position is not None


def test_a_missing_value_differs_from_every_value():
    matches = to_predicate(parse('tags.team != "a"'), SCHEMA)
    assert matches({"tags": {}})
    assert matches({"tags": {"team": "b"}})
    assert not matches({"tags": {"team": "a"}})


def test_a_getter_says_where_the_value_is():
    matches = to_predicate(parse("deep = 3"), Schema({"deep": Field("int", getter=lambda row: row["a"]["b"])}))
    assert matches({"a": {"b": 3}})
