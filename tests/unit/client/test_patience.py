from __future__ import annotations

import pytest
from mlmesh.patience import Patience


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_pauses_grow_to_two_seconds() -> None:
    patience = Patience(None)
    pauses = [patience.next_pause_s() for _ in range(10)]
    assert pauses[:3] == pytest.approx([0.1, 0.15, 0.225])
    assert pauses[-2:] == [2.0, 2.0]


def test_the_last_pause_ends_when_patience_does() -> None:
    clock = Clock()
    patience = Patience(1.0, clock=clock)
    clock.now_s += 0.95
    assert patience.next_pause_s() == pytest.approx(0.05)
    clock.now_s += 0.05
    assert patience.next_pause_s() is None


def test_a_look_has_the_time_that_is_left_but_never_too_little() -> None:
    clock = Clock()
    assert Patience(None, clock=clock).look_s(60) == 60
    patience = Patience(10, clock=clock)
    assert (patience.look_s(60), patience.look_s(5)) == (10, 5)
    clock.now_s += 9.9
    assert patience.look_s(60) == 1.0
