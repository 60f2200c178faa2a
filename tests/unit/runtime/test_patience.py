"""How soon a server notices that what it needs is back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from servers.runtime.component import check_pause_s
from servers.runtime.peers import RECONNECT_OPTIONS

pauses = st.floats(min_value=0.001, max_value=3600)


@given(pauses)
def test_what_works_is_checked_once_an_interval(interval_s: float) -> None:
    assert check_pause_s(0, interval_s) == interval_s


@given(st.integers(min_value=1, max_value=10**9), pauses)
def test_what_is_away_is_checked_twice_a_second_at_least_and_more_often_at_first(failures: int, interval_s: float) -> None:
    assert check_pause_s(failures, interval_s) <= check_pause_s(failures + 1, interval_s) <= min(0.5, interval_s)


def test_a_peer_that_is_back_is_found_within_half_a_second() -> None:
    assert dict(RECONNECT_OPTIONS)["grpc.max_reconnect_backoff_ms"] <= 500
