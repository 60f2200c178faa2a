from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def eventually(condition: Callable[[], Any], timeout_s: float = 10.0) -> Any:
    """Waits until a condition is truthy, and gives its value."""
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, "the condition did not come true in time"
        pause.wait(0.02)


def exit_code(server: subprocess.Popen[Any], log: Path) -> int:
    """Waits for the end of a server that was asked to stop. One that hangs says what its threads are at."""
    try:
        return server.wait(30)
    except subprocess.TimeoutExpired:
        server.send_signal(signal.SIGUSR1)
        eventually(lambda: "Thread 0x" in log.read_text())
        pytest.fail(f"it does not end; its log:\n{log.read_text()}")
