"""The leak report beside counts by hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from servers.features.offline.leaks import FeatureLeaks, ViewLeaks, leak_plan, leak_report
from servers.features.offline.specification import Feature, FeatureView, Spine, TrainingSet, ViewKey
from tests.integration.features.offline.running import bound, local, partitioned, results

START = datetime(2026, 1, 1, tzinfo=UTC)
TIME = pa.timestamp("us", "UTC")
VIEW = FeatureView(
    "spending",
    "history",
    (ViewKey("customer", "id"),),
    "event",
    (Feature("amount"), Feature("word")),
    write_time="written",
    max_age=timedelta(hours=10),
)
PLAIN = replace(VIEW, name="plain", write_time="", prefix="plain_")
TRAINING_SET = TrainingSet(Spine("labels", "label_time", ("customer",)), (VIEW, PLAIN))
SPINE = pa.schema({"customer": pa.int64(), "label_time": TIME}.items())
HISTORY = pa.schema({"id": pa.int64(), "event": TIME, "written": TIME, "amount": pa.int64(), "word": pa.string()}.items())


def at(*hours: int | None) -> pa.Array:
    return pa.array([None if hour is None else START + timedelta(hours=hour) for hour in hours], TIME)


def report_on(spine: pa.Table, history: pa.Table, engine: Any) -> tuple[ViewLeaks, ...]:
    plan = leak_plan(TRAINING_SET)
    tables = {"labels": spine, "history": history}
    found = results(engine, bound(plan.plan, {name: table.schema for name, table in tables.items()}), tables)
    rows = {name: table.to_pylist() for name, table in found.items()}
    assert all(len(each) == 1 for each in rows.values())
    return leak_report(plan, {name: each[0] for name, each in rows.items()})


def test_what_would_have_leaked_is_counted() -> None:
    spine = pa.table([[1, 1, 1, 2, 1, None], at(0, 2, 5, 5, 30, 5)], schema=SPINE)
    history = pa.table(
        [[1, 1, 1, 2], at(1, 4, 20, 40), at(1, 8, 21, None), [1, 1, 3, 9], ["first", "corrected", "late", "never written"]], schema=HISTORY
    )
    bitemporal = ViewLeaks(
        view="spending",
        rows=6,
        not_found_rows=3,
        outside_max_age_rows=0,
        before_first_rows=1,
        after_newest_rows=0,
        # At hour 5 the correction of hour 4, which was written at 8, is not known yet.
        changed_rows=1,
        view_rows=4,
        late_view_rows=2,
        write_delay_s={0.5: 3600.0, 0.9: 4 * 3600.0, 0.99: 4 * 3600.0, 1.0: 4 * 3600.0},
        features=(FeatureLeaks("amount", 0, 3), FeatureLeaks("word", 1, 3)),
    )

    for engine in (local(), partitioned(3)):
        found, plain = report_on(spine, history, engine)

        assert found == bitemporal
        assert (plain.changed_rows, plain.late_view_rows, plain.write_delay_s) == (0, 0, {})
        assert plain.features == (FeatureLeaks("plain_amount", 0, 3), FeatureLeaks("plain_word", 0, 3))


def test_an_empty_spine_and_an_empty_history_have_reports() -> None:
    some = pa.table([[1], at(20)], schema=SPINE)

    without_spine, _ = report_on(SPINE.empty_table(), HISTORY.empty_table(), local())
    without_history, _ = report_on(some, HISTORY.empty_table(), local())

    assert (without_spine.rows, without_spine.view_rows, without_spine.write_delay_s) == (0, 0, {})
    assert (without_history.rows, without_history.not_found_rows, without_history.before_first_rows) == (1, 1, 0)


def test_rows_after_the_newest_event_and_values_that_are_too_old_are_counted() -> None:
    spine = pa.table([[1, 1], at(12, 50)], schema=SPINE)
    history = pa.table([[1], at(11), at(11), [1], ["a"]], schema=HISTORY)

    found, _ = report_on(spine, history, local())

    assert (found.after_newest_rows, found.outside_max_age_rows, found.features[0].null_rows) == (2, 1, 1)
