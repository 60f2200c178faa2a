"""Model processes in tests."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import psutil
import uvloop

from servers.runtime.errors import DomainError
from servers.serving.model_process.limits import ProcessLimits
from servers.serving.model_process.model_process import ModelFile, ModelProcess
from tests.integration.serving.scripted_child import GATE

ResultT = TypeVar("ResultT")

WITHIN_S = 60.0
"""How long a test waits for what has to come; long, because the machine may be busy."""

LOOPS: list[Callable[[Coroutine[Any, Any, None]], None]] = [uvloop.run, asyncio.run]
"""The loop that serving has, and the one of the standard library."""


async def soon(awaited: Coroutine[Any, Any, ResultT] | asyncio.Future[ResultT]) -> ResultT:
    return await asyncio.wait_for(awaited, WITHIN_S)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not condition():
            await asyncio.sleep(0.005)


def lying_at(path: Path) -> ModelFile:
    @contextlib.asynccontextmanager
    async def model_file() -> AsyncIterator[Path]:
        yield path

    return model_file


@contextlib.asynccontextmanager
async def started(path: Path, **changes: Any) -> AsyncIterator[ModelProcess]:
    """A model in its real process."""
    process = ModelProcess("`m` version 1", lying_at(path), **changes)
    await soon(process.start())
    try:
        yield process
    finally:
        await soon(process.close())


@dataclass
class Scripted:
    """A process that behaves as told, and what became of it.

    Args:
        folder: Where it counts its starts.
        behaviours: One a start; see `scripted_child`.
    """

    folder: Path
    behaviours: tuple[str, ...]
    ended: list[DomainError] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)

    def process(self, model_file: ModelFile | None = None, **limits: Any) -> ModelProcess:
        if not self.gate.exists():
            os.mkfifo(self.gate)

        async def pause(delay_s: float) -> None:
            self.pauses.append(delay_s)

        return ModelProcess(
            "`m` version 1",
            model_file or lying_at(self.folder / "model.onnx"),
            ProcessLimits(**limits),
            on_ended=self.ended.append,
            command=(sys.executable, "-P", str(Path(__file__).with_name("scripted_child.py")), str(self.folder), *self.behaviours),
            pause=pause,
        )

    @property
    def gate(self) -> Path:
        """What `waits-at-load` waits for."""
        return self.folder / GATE

    @property
    def pids(self) -> list[int]:
        """Ids of the processes that were started, in order."""
        starts = sorted(tuple(map(int, file.name.split("-")[1:])) for file in self.folder.glob("start-*"))
        return [pid for _, pid in starts]

    def none_is_left(self) -> bool:
        """Whether all of them are gone, and none is a zombie."""
        return bool(self.pids) and not any(psutil.pid_exists(pid) for pid in self.pids)
