from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servers.runtime.processes import Process, check_table
from servers.runtime.supervision_limits import SupervisionLimits, restart_delay_s


def test_the_first_restart_is_immediate() -> None:
    assert restart_delay_s(0, SupervisionLimits()) == 0.0


@given(st.integers(min_value=1, max_value=10**9))
def test_pauses_grow_and_stay_below_the_longest(restarts: int) -> None:
    limits = SupervisionLimits()
    assert restart_delay_s(restarts, limits) <= restart_delay_s(restarts + 1, limits) <= limits.longest_restart_delay_s


def test_the_pause_doubles_with_each_restart() -> None:
    limits = SupervisionLimits(second_restart_delay_s=0.5, longest_restart_delay_s=3)
    assert [restart_delay_s(n, limits) for n in range(6)] == [0, 0.5, 1, 2, 3, 3]


def test_a_limit_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLMESH_MESH_STOP_GRACE_S", "2.5")
    assert SupervisionLimits().stop_grace_s == 2.5


def test_a_table_with_an_unknown_dependency_is_refused_and_names_it() -> None:
    with pytest.raises(ValueError, match="a depends on b, which is not in the table: a"):
        check_table([Process("a", ("true",), needs=("b",))])


def test_a_table_with_two_equal_names_is_refused() -> None:
    with pytest.raises(ValueError, match="same name"):
        check_table([Process("a", ("true",)), Process("a", ("true",))])


def test_a_circle_of_dependencies_is_refused_and_names_its_members() -> None:
    with pytest.raises(ValueError, match=r"circle: a, b$"):
        check_table([Process("a", ("true",), starts_after=("b",)), Process("b", ("true",), needs=("a",)), Process("c", ("true",))])
