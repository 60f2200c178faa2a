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
from servers.runtime.supervisor import ProcessState, Supervisor

SMALL_SERVER = Path(__file__).with_name("small_server.py")
PATIENCE_S = 20.0


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
            limits=SupervisionLimits(**{"stop_grace_s": 5.0, "start_timeout_s": PATIENCE_S, **limits}),
        )
        try:
            if start:
                await supervisor.start()
            yield supervisor
        finally:
            await supervisor.stop()

    def events(self) -> list[str]:
        return self.journal.read_text().splitlines() if self.journal.exists() else []


def all_healthy(supervisor: Supervisor) -> bool:
    return all(status.state is ProcessState.HEALTHY for status in supervisor.statuses)
