from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servers.serving.batch_cost import RunCost

RUNS = st.lists(st.tuples(st.integers(0, 10_000), st.floats(0, 10)), max_size=60)


def learnt(runs: list[tuple[int, float]]) -> RunCost:
    cost = RunCost()
    for rows, run_s in runs:
        cost.learn(rows, run_s)
    return cost


def test_nothing_is_predicted_before_the_first_run():
    assert RunCost().predict(100) == 0


@given(slope=st.floats(1e-7, 1e-2), base=st.floats(1e-6, 1e-2), rows=st.lists(st.integers(1, 500), min_size=2, max_size=50, unique=True))
def test_a_line_is_found(slope, base, rows):
    cost = learnt([(n, slope * n + base) for n in rows])

    if max(rows) > 1.5 * min(rows):
        assert cost.predict(250) == pytest.approx(slope * 250 + base, rel=1e-3)


@given(RUNS)
def test_more_rows_are_never_predicted_to_take_less_time_nor_any_less_than_none(runs):
    cost = learnt(runs)

    predicted = [cost.predict(rows) for rows in (0, 1, 10, 1000)]

    assert predicted == sorted(predicted)
    assert predicted[0] >= 0


def test_runs_of_one_size_say_that_twice_the_rows_take_twice_the_time():
    assert learnt([(8, 0.002)] * 20).predict(16) == pytest.approx(0.004)


def test_a_hiccup_is_hardly_seen():
    cost = learnt([(rows, 0.001 + rows * 1e-5) for rows in range(1, 40)])
    before = cost.predict(20)

    cost.learn(20, 5.0)

    assert cost.predict(20) < 1.15 * before


def test_a_lasting_change_is_learnt():
    cost = learnt([(rows, 0.001 + rows * 1e-5) for rows in range(1, 40)])

    for rows in range(1, 300):
        cost.learn(rows % 40, 0.01 + (rows % 40) * 1e-4)

    assert cost.predict(20) == pytest.approx(0.012, rel=0.1)
