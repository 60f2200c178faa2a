from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servers.serving.batch_queue import NO_DEADLINE, Batch, CloseReason, WaitingCall
from servers.serving.statistics import DURATION_BOUNDS_S, BatchSize, Statistics, StatisticsView, together

RUNS = st.lists(
    st.tuples(
        st.integers(0, 300), st.integers(1, 4), st.sampled_from(list(CloseReason)), st.floats(0, 20), st.floats(0, 20), st.booleans()
    ),
    max_size=30,
)


def note(statistics: Statistics, rows: int, calls: int, reason: CloseReason, queue_s: float, run_s: float, is_answer: bool) -> None:
    waiting = tuple(WaitingCall({}, (0,), rows, NO_DEADLINE, 100.0, None) for _ in range(calls))  # type: ignore[arg-type]
    statistics.ran(Batch(waiting, rows * calls, reason), 100.0 + queue_s, run_s, is_answer=is_answer)


def statistics_of(runs: list[tuple[int, int, CloseReason, float, float, bool]], times: int = 1) -> StatisticsView:
    statistics = Statistics(clock=lambda: 1000.0, now_s=lambda: 5000.0)
    for _ in range(times):
        for run in runs:
            note(statistics, *run)
    return statistics.view()


@given(RUNS)
def test_what_is_told_adds_up(runs):
    view = statistics_of(runs)

    answered = [run for run in runs if run[5]]
    assert view.run_count == len(runs) == view.run_times.count == sum(view.close_reasons.values())
    assert view.run_count == sum(size.run_count for size in view.batch_sizes)
    assert view.success_count == sum(calls for _, calls, *_ in answered) == view.queue_times.count
    assert view.row_count == sum(rows * calls for rows, calls, *_ in answered)
    assert view.compute_s == pytest.approx(sum(run[4] for run in runs)) == pytest.approx(view.run_times.total_s)
    assert view.call_compute_s == pytest.approx(sum(run[4] * run[1] for run in answered))
    assert (view.last_predict_time is None) == (not answered)


@given(RUNS, st.integers(1, 60))
def test_it_does_not_matter_how_many_runs_are_noted_before_they_are_counted(runs, times):
    one, many = statistics_of(runs), statistics_of(runs, times)

    assert many.run_count == times * one.run_count
    assert many.run_times.counts == tuple(times * count for count in one.run_times.counts)
    assert {size.rows: size.run_count for size in many.batch_sizes} == {size.rows: times * size.run_count for size in one.batch_sizes}


def test_durations_are_counted_under_the_bound_they_reach():
    view = statistics_of([(1, 1, CloseReason.TURN_ENDED, bound, bound * 1.01, True) for bound in DURATION_BOUNDS_S])

    assert view.run_times.counts == (0,) + (1,) * len(DURATION_BOUNDS_S)
    assert sum(view.queue_times.counts) == len(DURATION_BOUNDS_S)


def test_sizes_above_128_are_counted_together():
    view = statistics_of([(rows, 1, CloseReason.TURN_ENDED, 0, 1.0, True) for rows in (128, 129, 200, 256, 257)])

    assert view.batch_sizes == (BatchSize(128, 1, 1.0), BatchSize(256, 3, 3.0), BatchSize(512, 1, 1.0))


def test_the_time_of_the_last_prediction_is_that_of_the_calendar():
    # The run ended at 100.5 of the monotonic clock, which shows 1000 now.
    view = statistics_of([(1, 1, CloseReason.TURN_ENDED, 0, 0.5, True)])

    assert view.last_predict_time == datetime.fromtimestamp(5000 - 899.5, UTC)


@given(RUNS, RUNS)
def test_generations_together_are_the_sum(first, second):
    both = together([statistics_of(first), statistics_of(second)])
    whole = statistics_of(first + second)

    assert (both.run_count, both.success_count, both.row_count) == (whole.run_count, whole.success_count, whole.row_count)
    assert dict(both.close_reasons) == dict(whole.close_reasons)
    assert both.queue_times.counts == whole.queue_times.counts
