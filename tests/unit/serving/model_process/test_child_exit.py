from __future__ import annotations

import signal

import pytest

from servers.serving.model_process.child_exit import ChildExit


@pytest.mark.parametrize(
    ("exited", "expected"),
    [
        (ChildExit(3), "ended with exit status 3"),
        (ChildExit(-signal.SIGSEGV), "was killed by SIGSEGV, a segmentation fault"),
        (ChildExit(-signal.SIGABRT), "was killed by SIGABRT, an abort"),
        (ChildExit(-signal.SIGKILL), "was killed by SIGKILL"),
        (ChildExit(-40), "was killed by signal 40"),
        (ChildExit(-signal.SIGKILL, is_out_of_memory=True), "was killed by the kernel because memory ran out (SIGKILL)"),
        (ChildExit(-signal.SIGKILL, "a run took longer than 5 s"), "was stopped because a run took longer than 5 s"),
    ],
)
def test_the_end_of_a_process_is_told_in_words(exited, expected):
    assert str(exited) == expected


def test_what_the_process_wrote_is_not_told_to_callers():
    assert "secret" not in str(ChildExit(1, last_lines="secret"))
