from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from servers.users.lockout import Attempts, LockoutPolicy, after_failure, lock_duration_s, login_key
from tests.users_under_test import START

POLICY = LockoutPolicy(free_attempts=4, first_lock_s=30, longest_lock_s=900, forget_after_s=3600)


def test_the_first_wrong_passwords_lock_nothing() -> None:
    assert [lock_duration_s(POLICY, failures) for failures in range(8)] == [0, 0, 0, 0, 0, 30, 60, 120]


@given(st.integers(0, 10**9))
def test_a_lock_never_gets_shorter_nor_longer_than_the_longest(failures: int) -> None:
    assert 0 <= lock_duration_s(POLICY, failures) <= lock_duration_s(POLICY, failures + 1) <= 900


def test_a_try_during_a_lock_changes_nothing() -> None:
    locked = Attempts(5, START, START + timedelta(seconds=30))

    assert after_failure(POLICY, locked, START + timedelta(seconds=29)) is locked


def test_a_failure_after_the_lock_locks_for_longer() -> None:
    now = START + timedelta(seconds=30)

    after = after_failure(POLICY, Attempts(5, START, now), now)

    assert after == Attempts(6, now, now + timedelta(seconds=60))


def test_old_failures_are_forgotten() -> None:
    now = START + timedelta(seconds=3601)

    assert after_failure(POLICY, Attempts(9, START, START + timedelta(seconds=900)), now) == Attempts(1, now, None)


@given(st.lists(st.floats(0, 600), max_size=60))
def test_whoever_guesses_without_pause_is_locked_most_of_the_time(pauses_s: list[float]) -> None:
    attempts, now, looked_at = None, START, 0
    for pause_s in pauses_s:
        now += timedelta(seconds=pause_s)
        looked_at += attempts is None or not attempts.is_locked(now)
        attempts = after_failure(POLICY, attempts, now)

    # Four for nothing, then each guess costs at least half of what the one before cost.
    assert looked_at <= 4 + 6 + sum(pauses_s) / 450 + 1


def test_a_name_is_kept_as_a_hash_and_case_does_not_matter() -> None:
    assert login_key(" Ada ") == login_key("ada")
    assert "ada" not in login_key("ada")
    assert len(login_key("x" * 10_000)) == 64
