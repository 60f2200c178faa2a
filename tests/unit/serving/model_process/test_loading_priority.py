from __future__ import annotations

import os
import sys

import pytest

from servers.serving.model_process.loading_priority import LOADING_NICENESS, at_low_priority


def niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="only on Linux a thread has a priority of its own")
def test_only_what_is_asked_for_has_a_low_priority():
    before = niceness()

    during = at_low_priority(niceness)

    assert (during, niceness()) == (max(before, LOADING_NICENESS), before)


def test_an_error_comes_through():
    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        at_low_priority(fail)
