"""As-of joins beside a search by hand: ties, nulls, tolerances, strictness, several types of time."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from servers.processing.engines.local import LocalEngine
from servers.processing.plan.nodes import Aggregate, AsOfJoin, Column, JoinKey, JoinKind, Scan
from tests.integration.processing.relations import LIMITS, bound, local, partitioned, results, rows_of

START = datetime(2026, 3, 29, tzinfo=UTC)
TIMES: dict[str, tuple[pa.DataType, Any]] = {
    "moments": (pa.timestamp("us", "UTC"), lambda second: START + timedelta(seconds=second)),
    "nanoseconds": (pa.timestamp("ns"), lambda second: second * 1_000_000_000),
    "milliseconds": (pa.timestamp("ms"), lambda second: second * 1_000),
    "whole numbers": (pa.int64(), lambda second: second),
    "numbers": (pa.float64(), float),
    "days": (pa.date32(), lambda second: date(2026, 1, 1) + timedelta(days=second)),
}
SECONDS_IN = {"days": 86_400}

rows = st.lists(
    st.tuples(st.none() | st.integers(0, 2), st.none() | st.integers(0, 6), st.integers(0, 2), st.sampled_from(["a", "b"])), max_size=12
)


def by_hand(
    left: list[Any], right: list[Any], tolerance: float | None, is_strict: bool, keeps_left: bool, has_keys: bool
) -> list[tuple[Any, ...]]:
    """The rows of an as-of join, each right row looked at for each left row."""
    found: list[tuple[Any, ...]] = []
    for key, time, number, word in left:
        matching = [
            each
            for each in right
            if time is not None
            and each[1] is not None
            and (not has_keys or (key is not None and key == each[0]))
            and (each[1] < time if is_strict else each[1] <= time)
            and (tolerance is None or time - each[1] <= tolerance)
        ]
        newest = max((each[1] for each in matching), default=None)
        # Ties: the first by all columns, nulls last.
        ties = sorted((each for each in matching if each[1] == newest), key=lambda each: [(value is None, value) for value in each])
        if ties or keeps_left:
            found.append((key, time, number, word, *(ties[0] if ties else (None,) * 4)))
    return found


@pytest.mark.parametrize("kind", TIMES)
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    left=rows,
    right=rows,
    tolerance=st.sampled_from([None, 0, 1, 2.5]),
    is_strict=st.booleans(),
    keeps_left=st.booleans(),
    has_keys=st.booleans(),
    is_cut=st.booleans(),
)
def test_the_newest_row_that_is_not_newer_is_found(
    kind: str, left: Any, right: Any, tolerance: float | None, is_strict: bool, keeps_left: bool, has_keys: bool, is_cut: bool
) -> None:
    time_type, time_of = TIMES[kind]

    def table(given_rows: list[Any]) -> pa.Table:
        values = [
            [None if row[1] is None and place == 1 else time_of(row[1]) if place == 1 else row[place] for row in given_rows]
            for place in range(4)
        ]
        types = (pa.int32(), time_type, pa.int64(), pa.string())
        return pa.table(
            {
                name: pa.array(each, each_type)
                for name, each, each_type in zip(("key", "time", "number", "word"), values, types, strict=True)
            }
        )

    inputs = {"left": table(left), "right": table(right)}
    in_seconds = None if tolerance is None else tolerance * SECONDS_IN.get(kind, 1)
    join_kind = JoinKind.LEFT if keeps_left else JoinKind.INNER
    keys = (JoinKey("key", "key"),) if has_keys else ()
    steps = (
        Scan("left", "left"),
        Scan("right", "right"),
        AsOfJoin("found", "left", "right", keys, "time", "time", in_seconds, is_strict, join_kind),
    )

    found = results(partitioned(3) if is_cut else LocalEngine(LIMITS), bound(inputs, *steps), inputs)["found"]

    wanted = by_hand(left, right, tolerance, is_strict, keeps_left, has_keys)
    assert rows_of(found) == rows_of(_wanted(wanted, found.schema, time_of))


def _wanted(wanted: list[tuple[Any, ...]], schema: pa.Schema, time_of: Any) -> pa.Table:
    columns = [[time_of(row[place]) if place in (1, 5) and row[place] is not None else row[place] for row in wanted] for place in range(8)]
    return pa.table([pa.array(each, field.type) for each, field in zip(columns, schema, strict=True)], schema=schema)


@pytest.mark.parametrize("kind", TIMES)
@settings(max_examples=25)
@given(left=rows, right=rows, is_strict=st.booleans(), keeps_left=st.booleans(), has_keys=st.booleans(), is_cut=st.booleans())
def test_rows_that_are_known_to_be_unique_are_found_like_others(
    kind: str, left: Any, right: Any, is_strict: bool, keeps_left: bool, has_keys: bool, is_cut: bool
) -> None:
    time_type, time_of = TIMES[kind]

    def table(given_rows: list[Any]) -> pa.Table:
        times = [None if row[1] is None else time_of(row[1]) for row in given_rows]
        return pa.table({"key": pa.array([row[0] for row in given_rows], pa.int32()), "time": pa.array(times, time_type)})

    inputs = {"left": table(left), "right": table(right)}
    keys = ("key",) if has_keys else ()
    groups = Aggregate("groups", "right", tuple(Column(name, name) for name in (*keys, "time")), (Column("rows", "count(*)"),))
    given_keys = tuple(JoinKey(name, name) for name in keys)
    kind_of_join = JoinKind.LEFT if keeps_left else JoinKind.INNER
    join = AsOfJoin("found", "left", "groups", given_keys, "time", "time", None, is_strict, kind_of_join)
    engine = partitioned(3) if is_cut else LocalEngine(LIMITS)
    scans = (Scan("left", "left"), Scan("right", "right"))
    kept = {"left": inputs["left"], "groups": local(inputs, scans[1], groups)}

    found = results(engine, bound(inputs, *scans, groups, join), inputs)["found"]

    assert rows_of(found) == rows_of(local(kept, Scan("left", "left"), Scan("groups", "groups"), join))
    assert "payload" not in bound(inputs, *scans, groups, join).nodes["found"].select.template.over("l", "r")


def test_a_tolerance_holds_for_times_that_are_far_apart() -> None:
    far = pa.table({"time": pa.array([-(2**62), 2**62], pa.timestamp("us"))})
    steps = (Scan("left", "far"), Scan("right", "far"), AsOfJoin("found", "left", "right", (), "time", "time", 1, is_strict=True))

    assert local({"far": far}, *steps)["time_right"].to_pylist() == [None, None]


def test_columns_named_as_the_join_names_its_own_are_kept_apart() -> None:
    names = pa.table({"matched_time": [1, 2], "matched_key_0": [1, 1], "matched": [5, 6], "payload": [7, 8]})
    join = AsOfJoin("found", "left", "right", (JoinKey("matched_key_0", "matched_key_0"),), "matched_time", "matched_time")

    found = local({"names": names}, Scan("left", "names"), Scan("right", "names"), join)

    assert rows_of(found) == rows_of(pa.table([*names.columns, *names.columns], names=found.schema.names))
