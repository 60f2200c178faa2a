"""The server's side of the processes that look at plans and run them."""

from __future__ import annotations

import os
import secrets
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from servers.processing.errors import JobProcessDied, JobProcessLost
from servers.processing.job_process.output_lines import LINE_MARK, LineReader
from servers.processing.job_process.process_tree import ProcessTree
from servers.processing.log_lines import LogLine
from servers.runtime.data_process import pool
from servers.runtime.data_process.child import Child, ChildEnded
from servers.runtime.data_process.errors import OperationFailed
from servers.runtime.data_process.messages import OUT_OF_MEMORY_STATUS, line_of
from servers.runtime.data_process.scratch import Scratch

PROGRAM = (sys.executable, "-P", "-m", "servers.processing.job_process")
_READ_BYTES = 64 * 1024
_FLUSH_S = 0.5
_LAST_WORDS_S = 2.0
"""How long lines are awaited after a process has ended; what it left behind may hold its output open."""


@dataclass(frozen=True)
class CheckProcessSettings:
    """Settings of processes that look at plans.

    Args:
        scratch_folder: For their temporary files.
        idle_s: How long one without work is kept, in seconds.
        most_processes: How many there are at a time.
        memory_bytes: What one may reserve; 0 = any.
    """

    scratch_folder: Path
    idle_s: float
    most_processes: int
    memory_bytes: int = 0

    def for_process(self, scratch_folder: Path) -> Mapping[str, Any]:
        """What a process is told first."""
        del scratch_folder
        return {"memory_bytes": self.memory_bytes}


class CheckProcesses(pool.DataProcesses):
    """Processes that look at plans, kept for the next one.

    Args:
        settings: How many, and for how long.
    """

    def __init__(self, settings: CheckProcessSettings) -> None:
        super().__init__(PROGRAM, settings, "a lower MLMESH_PROCESSING_CONCURRENT_JOBS")


class Output(Protocol):
    """Takes lines, and keeps them now and then."""

    def add(self, lines: Sequence[LogLine]) -> None:
        """Takes lines."""

    def flush(self) -> None:
        """Keeps what was taken."""


class JobProcess:
    """Runs one operation in a process that nobody else gets.

    Args:
        scratch: Where processes have their temporary files.
        output: Takes what it says.
    """

    def __init__(self, scratch: Scratch, output: Output) -> None:
        self._scratch = scratch
        self._output = output

    def run(
        self,
        operation: str,
        arguments: Mapping[str, Any],
        *,
        check: Callable[[ProcessTree], None],
        on_progress: Callable[[Any], None],
    ) -> Any:
        """Does an operation. At its end the process and all that it started are gone.

        Args:
            operation: Its name.
            arguments: What JSON can hold.
            check: Called every 0.2 s with what runs. If it raises, all of that is killed and the exception passed on.
            on_progress: Called with what it tells of its progress.

        Raises:
            OperationFailed: The operation's own error.
            JobProcessLost: UNAVAILABLE: somebody killed it, most likely the kernel for want of memory.
            JobProcessDied: INTERNAL: it crashed.
        """
        mark = f"\x1e{secrets.token_hex(16)} "
        reading, writing = os.pipe()
        try:
            child = Child(PROGRAM, {"memory_bytes": 0, LINE_MARK: mark}, self._scratch.new_folder(), stderr=writing)
        finally:
            os.close(writing)
        tree = ProcessTree(child.pid)
        listener = _Listener(reading, LineReader(mark), self._output)
        listener.start()
        try:
            answer = child.ask(line_of({"operation": operation, "arguments": dict(arguments)}), lambda: check(tree), on_progress)
        except ChildEnded as ended:
            raise _death(child, ended) from None
        finally:
            tree.kill_below()
            child.end()
            listener.finish()
        if "error" in answer:
            raise OperationFailed.described_by(answer["error"])
        return answer["result"]


class _Listener(threading.Thread):
    """Reads what a process says until nobody can say anything more."""

    def __init__(self, reading: int, reader: LineReader, output: Output) -> None:
        super().__init__(name="job-output", daemon=True)
        self._reading = reading
        self._reader = reader
        self._output = output
        self._is_over = threading.Event()

    def finish(self) -> None:
        """Waits for the last lines, and keeps them."""
        self._is_over.set()
        self.join()

    def run(self) -> None:
        poll = select.poll()
        poll.register(self._reading, select.POLLIN)
        flush_at, end_at = time.monotonic() + _FLUSH_S, None
        try:
            while end_at is None or time.monotonic() < end_at:
                if poll.poll(100):
                    piece = os.read(self._reading, _READ_BYTES)
                    if not piece:
                        break
                    self._output.add(list(self._reader.lines(piece)))
                if end_at is None and self._is_over.is_set():
                    end_at = time.monotonic() + _LAST_WORDS_S
                if time.monotonic() >= flush_at:
                    self._output.flush()
                    flush_at = time.monotonic() + _FLUSH_S
            self._output.add(list(self._reader.last()))
        finally:
            os.close(self._reading)
            self._output.flush()


def _death(child: Child, ended: ChildEnded) -> JobProcessLost | JobProcessDied:
    if ended.broken_rule:
        return JobProcessDied(ended.broken_rule)
    status = child.return_code()
    if status == -signal.SIGKILL:
        return JobProcessLost("was killed, most likely by the kernel because the machine had no memory left")
    if status == OUT_OF_MEMORY_STATUS:
        return JobProcessLost("got no memory")
    how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with exit status {status}"
    return JobProcessDied(how)
