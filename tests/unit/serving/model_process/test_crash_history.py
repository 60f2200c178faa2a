from __future__ import annotations

import pytest

from servers.serving.model_process.crash_history import CrashHistory
from servers.serving.model_process.limits import ProcessLimits


def history() -> CrashHistory:
    return CrashHistory(
        ProcessLimits(max_crashes=5, run_attempts=2, crash_window_s=60, second_restart_delay_s=0.5, longest_restart_delay_s=1.5)
    )


def test_the_first_restart_is_immediate_and_the_next_ones_wait_twice_as_long_each_up_to_a_limit():
    crashes = history()
    delays = []

    for second in range(4):
        crashes.began_to_run(second)
        crashes.failed(second)
        delays.append(crashes.restart_delay_s)

    assert delays == [0, 0.5, 1.0, 1.5]


def test_a_model_is_given_up_after_so_many_crashes():
    crashes = history()

    for second in range(4):
        crashes.began_to_run(second)
        crashes.failed(second)
        assert not crashes.is_exhausted
    crashes.began_to_run(4)
    crashes.failed(4)

    assert crashes.is_exhausted


def test_a_crash_after_a_long_run_is_like_the_first_one():
    crashes = history()
    for second in range(4):
        crashes.began_to_run(second)
        crashes.failed(second)

    crashes.began_to_run(10)
    crashes.failed(70)

    assert crashes.failures == 1
    assert crashes.restart_delay_s == 0


def test_failures_of_restarts_do_not_age_however_long_each_takes():
    crashes = history()
    crashes.began_to_run(0)
    crashes.failed(1)

    for minutes in range(1, 5):
        crashes.failed(minutes * 600)

    assert crashes.is_exhausted


def test_one_bad_input_cannot_be_allowed_to_take_the_model_away():
    with pytest.raises(ValueError, match="run_attempts is 5; it has to be at least 1 and less than max_crashes, 5"):
        ProcessLimits(run_attempts=5, max_crashes=5)
