"""An entity has one key, and no other entity has it."""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from servers.features.online.errors import InvalidEntityKey
from servers.features.online.keys import MAX_SLOT_BYTES, JoinKey, JoinKeyType, entity_keys, is_hashed, slot_of

ZONES = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45)), timezone(timedelta(hours=-12))])
VALUES: dict[JoinKeyType, st.SearchStrategy[Any]] = {
    JoinKeyType.BOOL: st.booleans(),
    JoinKeyType.INT64: st.integers(-(2**63), 2**63 - 1),
    JoinKeyType.STRING: st.text(max_size=6) | st.uuids().map(str),
    JoinKeyType.BYTES: st.binary(max_size=6),
    JoinKeyType.DATE: st.dates(),
    JoinKeyType.TIMESTAMP: st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=ZONES),
}
ENTITIES = st.lists(
    st.sampled_from(JoinKeyType).flatmap(lambda kind: VALUES[kind].map(lambda value: (kind, value))), min_size=1, max_size=4
)


def key_of(entity: list[tuple[JoinKeyType, Any]]) -> bytes:
    join_keys = [JoinKey(f"k{number}", kind) for number, (kind, _) in enumerate(entity)]
    return entity_keys(join_keys, [[value] for _, value in entity])[0]


@given(ENTITIES, ENTITIES)
def test_keys_are_equal_exactly_where_types_and_values_are(
    one: list[tuple[JoinKeyType, Any]], other: list[tuple[JoinKeyType, Any]]
) -> None:
    assert (key_of(one) == key_of(other)) == (one == other)


@given(st.text("ab\0\x03", max_size=5), st.text("ab\0\x03", max_size=5), st.text("ab\0\x03", max_size=5), st.text("ab\0\x03", max_size=5))
def test_no_value_can_look_like_two(a: str, b: str, c: str, d: str) -> None:
    string = JoinKeyType.STRING
    assert (key_of([(string, a), (string, b)]) == key_of([(string, c), (string, d)])) == ((a, b) == (c, d))


def test_the_bytes_are_these_on_every_platform_and_in_every_version() -> None:
    entity = [
        (JoinKeyType.BOOL, True),
        (JoinKeyType.INT64, -2),
        (JoinKeyType.STRING, "ü"),
        (JoinKeyType.BYTES, b"\0"),
        (JoinKeyType.DATE, date(1969, 12, 31)),
        (JoinKeyType.TIMESTAMP, datetime(1970, 1, 1, 2, tzinfo=timezone(timedelta(hours=2)))),
    ]
    assert key_of(entity).hex() == "010102fffffffffffffffe0300000002c3bc04000000010005ffffffff060000000000000000"


def test_arrays_give_the_keys_of_their_values() -> None:
    join_keys = [
        JoinKey("i", JoinKeyType.INT64),
        JoinKey("d", JoinKeyType.DATE),
        JoinKey("b", JoinKeyType.BOOL),
        JoinKey("t", JoinKeyType.TIMESTAMP),
    ]
    arrays = [np.array([1, -2], np.int16), np.array([0, -1]).astype("i4"), np.array([True, False]), np.array([0, 10**6])]
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    values = [[1, -2], [date(1970, 1, 1), date(1969, 12, 31)], [True, False], [epoch, epoch + timedelta(seconds=1)]]
    assert entity_keys(join_keys, arrays) == entity_keys(join_keys, values)


def test_the_same_moment_in_two_zones_is_one_entity() -> None:
    moment = datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert key_of([(JoinKeyType.TIMESTAMP, moment)]) == key_of([(JoinKeyType.TIMESTAMP, moment.astimezone(timezone(timedelta(hours=9))))])


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        (JoinKeyType.INT64, None, "row 1 is null"),
        (JoinKeyType.INT64, True, "row 1 is bool, and has to be int"),
        (JoinKeyType.INT64, "1", "row 1 is str"),
        (JoinKeyType.INT64, 1.0, "row 1 is float"),
        (JoinKeyType.INT64, 2**63, "64 bits"),
        (JoinKeyType.BOOL, 1, "row 1 is int"),
        (JoinKeyType.STRING, b"a", "row 1 is bytes"),
        (JoinKeyType.STRING, uuid.UUID(int=1), "row 1 is UUID"),
        (JoinKeyType.STRING, "\ud800", "surrogate"),
        (JoinKeyType.DATE, datetime(2026, 1, 1), "row 1 is datetime"),
        (JoinKeyType.TIMESTAMP, datetime(2026, 1, 1), "zone"),
        (JoinKeyType.STRING, "x" * 70_000, "at most 65,536 bytes; row 1 has 70,005"),
    ],
)
def test_other_values_are_refused_by_name(kind: JoinKeyType, value: Any, words: str) -> None:
    good: Any = {
        JoinKeyType.INT64: 1,
        JoinKeyType.BOOL: True,
        JoinKeyType.STRING: "a",
        JoinKeyType.DATE: date(2026, 1, 1),
        JoinKeyType.TIMESTAMP: datetime(2026, 1, 1, tzinfo=UTC),
    }[kind]
    with pytest.raises(InvalidEntityKey, match=words):
        entity_keys([JoinKey("user", kind)], [[good, value]])


@pytest.mark.parametrize("array", [np.array([1.0]), np.array(["1"]), np.array([2**63], np.uint64), np.array([True])])
def test_arrays_of_other_types_are_refused(array: np.ndarray[Any, Any]) -> None:
    with pytest.raises(InvalidEntityKey, match="`user` is int64; an array of"):
        entity_keys([JoinKey("user", JoinKeyType.INT64)], [array])


@pytest.mark.parametrize("columns", [[], [[1]], [[1], [1, 2]], [[1], [2], [3]]])
def test_columns_that_do_not_fit_the_entity_are_refused(columns: list[list[int]]) -> None:
    with pytest.raises(InvalidEntityKey, match="equally many"):
        entity_keys([JoinKey("a", JoinKeyType.INT64), JoinKey("b", JoinKeyType.INT64)], columns)


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_slots_are_short_and_as_different_as_keys(one: bytes, other: bytes) -> None:
    assert len(slot_of(one)) <= MAX_SLOT_BYTES
    assert (slot_of(one) == slot_of(other)) == (one == other)
    # A key that is written like the slot of a long one is another.
    assert slot_of(slot_of(one)) != slot_of(one)
    assert is_hashed(slot_of(one)) == (len(one) >= MAX_SLOT_BYTES)
