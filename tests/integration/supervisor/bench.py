from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from servers.runtime.processes import HttpProbe, Process
from servers.runtime.supervision_limits import SupervisionLimits
from servers.runtime.supervisor import ProcessState, StartFailed, Supervisor

SMALL_SERVER = Path(__file__).with_name("small_server.py")
PATIENCE_S = 60.0

_NO_ANSWER = ("not asked yet", "does not exist yet", "UNAVAILABLE", "DEADLINE_EXCEEDED", "refused", "TimeoutError")
"""What a supervisor says of a process that has not answered."""


async def until(is_true: Callable[[], bool], what: str) -> None:
    """Waits for a condition; a test that waits in vain says for what."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not is_true():
                await asyncio.sleep(0.02)
    except TimeoutError:
        pytest.fail(f"waited {PATIENCE_S:g} s in vain: {what}")


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Bench:
    """Makes tables of small servers and runs a supervisor over them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.journal = folder / "journal"

    def server(self, name: str, *options: str, **fields: Any) -> Process:
        socket = self.folder / f"{name}.sock"
        command = (sys.executable, str(SMALL_SERVER), str(socket), "--journal", str(self.journal), *options)
        return Process(name, command, probes=(HttpProbe(socket, "/ready"),), **fields)

    @asynccontextmanager
    async def supervise(self, *processes: Process, start: bool = True, **limits: float) -> AsyncIterator[Supervisor]:
        supervisor = Supervisor(
            processes,
            environment=dict(os.environ),
            working_dir=self.folder,
            log_dir=self.folder,
            limits=SupervisionLimits(**{"stop_grace_s": 30.0, "start_timeout_s": PATIENCE_S, **limits}),
        )
        try:
            if start:
                await supervisor.start()
            yield supervisor
        finally:
            await supervisor.stop()

    async def why_not_started(self, process: Process) -> str:
        """Starts a process that never becomes healthy, and says what the start failed for: an answer of the process itself."""
        # On a busy machine a process may not even listen when its time is over; then it gets more.
        for start_timeout_s in (1.5, 6.0, PATIENCE_S):
            async with self.supervise(process, start=False, start_timeout_s=start_timeout_s) as supervisor:
                with pytest.raises(StartFailed, match=rf"{process.name} was not healthy {start_timeout_s:g} s after its start") as failure:
                    await supervisor.start()
            if not any(nothing in str(failure.value) for nothing in _NO_ANSWER):
                break
        return str(failure.value)

    def events(self) -> list[str]:
        return self.journal.read_text().splitlines() if self.journal.exists() else []


def all_healthy(supervisor: Supervisor) -> bool:
    return all(status.state is ProcessState.HEALTHY for status in supervisor.statuses)
