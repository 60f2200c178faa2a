from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def eventually(condition: Callable[[], Any], timeout_s: float = 60.0) -> Any:
    """Waits until a condition is truthy, and gives its value. It is looked at once more after the time is over."""
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while True:
        # Before the look: this process may be the one that did not get on, and not what it waits for.
        is_last = time.monotonic() >= deadline
        value = condition()
        if value:
            return value
        assert not is_last, "the condition did not come true in time"
        pause.wait(0.02)


def exit_code(server: subprocess.Popen[Any], log: Path) -> int:
    """Waits for the end of a server that was asked to stop. One that hangs says what its threads are at."""
    try:
        return server.wait(60)
    except subprocess.TimeoutExpired:
        server.send_signal(signal.SIGUSR1)
        eventually(lambda: "Thread 0x" in log.read_text())
        pytest.fail(f"it does not end; its log:\n{log.read_text()}")
