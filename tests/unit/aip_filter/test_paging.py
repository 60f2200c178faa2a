from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta, timezone
from operator import itemgetter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Column, Integer, MetaData, Table, create_engine, select
from sqlalchemy.pool import StaticPool

from aip_filter import (
    OrderByError,
    PageTokenError,
    decode_page_token,
    encode_page_token,
    keyset_after,
    order_columns,
    page_in_memory,
    parse_order_by,
)
from aip_filter.paging import _seal
from sql_engine import ExactString, UtcDateTime

ROWS = Table("rows", MetaData(), Column("id", Integer, primary_key=True), Column("name", ExactString(9)), Column("time", UtcDateTime()))
START = datetime(2026, 1, 1, tzinfo=UTC)
VALUES = st.lists(
    st.text(max_size=5)
    | st.integers(-(2**63), 2**63 - 1)
    | st.booleans()
    | st.floats(allow_nan=False)
    | st.datetimes(timezones=st.just(UTC)),
    max_size=4,
)


def test_an_ordering_is_read_with_directions():
    assert parse_order_by("create_time desc, name,size ASC", {"create_time", "name", "size"}) == [
        ("create_time", True),
        ("name", False),
        ("size", False),
    ]
    assert parse_order_by("  ", {"name"}) == []


@pytest.mark.parametrize(
    ("text", "position"), [("nmae", 0), ("name,", 5), ("name, name desc", 5), ("name down", 0), ("name desc now", 0), (",", 0)]
)
def test_a_wrong_ordering_says_what_is_allowed(text, position):
    with pytest.raises(OrderByError) as error:
        parse_order_by(text, {"name"})
    assert error.value.position == position
    assert error.value.allowed


@given(VALUES, st.text(), st.text(), st.text())
def test_a_token_gives_back_its_values_to_the_same_query(values, filter_, order_by, scope):
    if any(0xD800 <= ord(character) <= 0xDFFF for value in values if isinstance(value, str) for character in value):
        return
    token = encode_page_token(values, filter=filter_, order_by=order_by, scope=scope)
    assert decode_page_token(token, filter=filter_, order_by=order_by, scope=scope) == values


def test_a_token_is_refused_by_another_query():
    token = encode_page_token([1], filter="a = 1", order_by="a", scope="models")
    for query in (
        {"filter": "a = 2", "order_by": "a", "scope": "models"},
        {"filter": "a = 1", "order_by": "b", "scope": "models"},
        {"filter": "a = 1", "order_by": "a", "scope": "versions"},
        {},
    ):
        with pytest.raises(PageTokenError):
            decode_page_token(token, **query)


@given(st.text() | st.text(alphabet="abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_", min_size=1))
def test_any_other_text_is_no_token(text):
    with pytest.raises(PageTokenError):
        decode_page_token(text)


def test_a_token_whose_values_do_not_fit_the_columns_is_refused():
    for last in ([], [1], ["a", "b"], [True, 1], [1, 1], ["a", 1, 2], ["a", True]):
        with pytest.raises(PageTokenError):
            keyset_after([(ROWS.c.name, False), (ROWS.c.id, False)], last)


@pytest.mark.parametrize("value", ["a\0", "\ud800"])
def test_texts_that_no_database_takes_are_refused(value):
    with pytest.raises(PageTokenError):
        keyset_after([(ROWS.c.name, False)], [value])


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1])
def test_numbers_that_no_database_takes_are_refused(value):
    with pytest.raises(PageTokenError):
        keyset_after([(ROWS.c.id, False)], [value])


def test_a_sealed_time_without_a_zone_is_refused():
    values = '[{"t":"2026-01-01T00:00:00"}]'
    token = base64.urlsafe_b64encode(_seal(values, "", "", "") + values.encode()).decode()
    with pytest.raises(PageTokenError):
        decode_page_token(token)


def test_a_sealed_value_that_is_nested_endlessly_is_refused():
    values = "[" * 5000
    token = base64.urlsafe_b64encode(_seal(values, "", "", "") + values.encode()).decode()
    with pytest.raises(PageTokenError):
        decode_page_token(token)


@pytest.fixture(scope="module")
def engine():
    engine = create_engine("sqlite://", poolclass=StaticPool)
    ROWS.metadata.create_all(engine)
    yield engine
    engine.dispose()


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(st.tuples(st.sampled_from("aAbé"), st.integers(-2, 2)), max_size=12),
    directions=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    size=st.integers(1, 5),
)
def test_pages_in_sql_and_in_memory_are_the_whole_in_order(engine, rows, directions, size):
    zone = timezone(timedelta(hours=2))
    items = [
        {"id": number, "name": name, "time": (START + timedelta(days=day)).astimezone(zone)} for number, (name, day) in enumerate(rows)
    ]
    columns = list(zip((ROWS.c.name, ROWS.c.time, ROWS.c.id), directions, strict=True))
    getters = list(zip((itemgetter("name"), itemgetter("time"), itemgetter("id")), directions, strict=True))
    with engine.connect() as connection:
        if items:
            connection.execute(ROWS.insert(), items)
        whole = [row.id for row in connection.execute(select(ROWS).order_by(*order_columns(columns)))]
        paged, last = [], None
        while True:
            query = select(ROWS).order_by(*order_columns(columns)).limit(size)
            page = connection.execute(query if last is None else query.where(keyset_after(columns, last))).all()
            in_memory, _ = page_in_memory(items, getters, last, size)
            assert [item["id"] for item in in_memory] == [row.id for row in page]
            if not page:
                break
            paged += [row.id for row in page]
            last = decode_page_token(encode_page_token([page[-1].name, page[-1].time, page[-1].id]))
        connection.rollback()
    assert paged == whole


def test_the_last_page_in_memory_says_so():
    order = [(itemgetter("n"), False)]
    items = [{"n": number} for number in (3, 1, 2)]
    assert page_in_memory(items, order, None, 2) == ([{"n": 1}, {"n": 2}], [2])
    assert page_in_memory(items, order, [2], 2) == ([{"n": 3}], None)
