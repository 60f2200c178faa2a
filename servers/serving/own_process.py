"""A model's own process, as the threads see it that load and unload models; the process belongs to the event loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

from servers.runtime.errors import DomainError
from servers.runtime.lane.loop import LoopThread
from servers.serving.artifacts import ArtifactCache
from servers.serving.batch_queue import ModelQueue, Outputs
from servers.serving.batches_elsewhere import BatchesElsewhere
from servers.serving.model_process.limits import ProcessLimits
from servers.serving.model_process.model_process import ModelProcess
from servers.serving.model_source import SourceVersion
from servers.serving.signature import Signature
from servers.serving.tensors import Feeds


@dataclass(frozen=True, slots=True)
class OwnProcesses:
    """Which models get processes of their own.

    Args:
        loop: Where the processes belong.
        limits: What each may take.
        min_bytes: Models of this size or more have one.
    """

    loop: LoopThread
    limits: ProcessLimits
    min_bytes: int


class OwnProcess:
    """A model that is loaded in a process of its own when this is made.

    Args:
        version: The version.
        laid_out: Its checked ONNX file, which lies there until this is made.
        artifacts: Lays it out anew for each restart.
        processes: Where the process belongs, and what it may take.
        intra_op_threads: Threads that share one operator.

    Raises:
        servers.runtime.errors.DomainError: What `ModelProcess.start` raises.
    """

    def __init__(
        self,
        version: SourceVersion,
        laid_out: Path,
        artifacts: ArtifactCache,
        processes: OwnProcesses,
        *,
        intra_op_threads: int,
    ) -> None:
        self._version = version
        self._laid_out: Path | None = laid_out
        self._artifacts = artifacts
        self._loop = processes.loop
        self._ended: Callable[[DomainError], None] = lambda _: None
        self._process = ModelProcess(
            f"`{version.name}` version {version.version}",
            self._file,
            processes.limits,
            intra_op_threads=intra_op_threads,
            on_ended=lambda error: self._ended(error),
        )
        self._loop.submit(self._process.start()).result()

    @property
    def signature(self) -> Signature:
        """What the model takes and gives."""
        return self._process.signature

    def run(self, feeds: Feeds, outputs: tuple[int, ...] = ()) -> Outputs:
        """Not for use on the event loop, where `batches` are awaited."""
        return self._loop.submit(self._process.run(feeds, outputs)).result()

    def batches(self, queue: ModelQueue) -> BatchesElsewhere:
        """What runs the calls of a queue there."""
        return BatchesElsewhere(queue, self._process)

    def when_ended(self, tell: Callable[[DomainError], None]) -> None:
        """Has somebody told, on the event loop, when the model is given up."""
        self._ended = tell

    def close(self) -> None:
        """Ends the process, and returns when its memory is back. Not for use on the event loop."""
        self._loop.submit(self._process.close()).result()

    @contextlib.asynccontextmanager
    async def _file(self) -> AsyncIterator[Path]:
        path, self._laid_out = self._laid_out, None
        if path is not None:
            yield path
            return
        laying = self._artifacts.onnx_files(self._version)
        entering = asyncio.ensure_future(asyncio.to_thread(laying.__enter__))
        try:
            files = await asyncio.shield(entering)
        except asyncio.CancelledError:  # closed meanwhile; the thread goes on, and what it lays out has to go
            with contextlib.suppress(DomainError):
                await entering
                await asyncio.to_thread(laying.__exit__, None, None, None)
            raise
        try:
            yield files.model
        finally:
            await asyncio.to_thread(laying.__exit__, None, None, None)
