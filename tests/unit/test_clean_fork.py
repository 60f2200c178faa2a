"""Work in a child of a process without threads: how it ended is known, whatever the process of the tests does meanwhile."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
from functools import partial
from pathlib import Path

import psutil
import pytest

from tests.clean_fork import Forker, run_in_fork
from tests.kill_points import full_at, kill_at, points_of


def fail() -> None:
    raise LookupError("no such thing")


def die_by(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


def threads_of_this_process() -> int:
    return psutil.Process().num_threads()


def import_what_starts_a_thread() -> None:
    importlib.import_module("starts_a_thread")


def import_something() -> bool:
    is_known = "wave" in sys.modules
    import wave  # noqa: F401

    return is_known


def test_a_child_has_no_threads_however_many_the_tests_have() -> None:
    go_on = threading.Event()
    threads = [threading.Thread(target=go_on.wait) for _ in range(8)]
    for thread in threads:
        thread.start()
    try:
        assert run_in_fork(threads_of_this_process).answer == 1
    finally:
        go_on.set()
        for thread in threads:
            thread.join()


def test_what_work_raises_is_shown_with_its_traceback() -> None:
    with pytest.raises(AssertionError, match=r"(?s)raised:.*in fail.*LookupError: no such thing"):
        points_of(fail)
    with pytest.raises(AssertionError, match=r"(?s)point 1 raised:.*LookupError"):
        full_at(fail, 1, OSError)
    assert full_at(fail, 1, LookupError)


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL])
def test_a_child_that_dies_by_itself_is_no_child_that_was_killed_at_a_point(number: signal.Signals) -> None:
    for attempt in (points_of, partial(kill_at, point=1), partial(full_at, point=1, refusal=OSError)):
        with pytest.raises(AssertionError, match=f"was killed by {number.name}"):
            attempt(partial(die_by, number))


def test_what_one_child_imported_is_there_for_the_next() -> None:
    run_in_fork(import_something)
    assert run_in_fork(import_something).answer is True


def test_nothing_is_forked_once_an_import_has_started_a_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "starts_a_thread.py").write_text("import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n")
    monkeypatch.syspath_prepend(tmp_path)
    forker = Forker()
    try:
        assert forker.run(import_what_starts_a_thread).status == 0
        assert "2 threads" in str(forker.run(fail))
    finally:
        forker.close()
