"""One data process, as the server sees it. A thread that has taken it is the only one that talks to it."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

import servers.runtime
from servers.runtime.data_process.messages import Lines, LineTooLong, line_of

_DEFAULTS = {
    # Where a limit of memory lets no thread start, jemalloc (in Polars) tries it for ever, and says so each time on standard error.
    "_RJEM_MALLOC_CONF": "background_thread:false",
    # Nobody here multiplies matrices, and each of numpy's threads for that takes some of the limit.
    "OPENBLAS_NUM_THREADS": "1",
}
"""Environment of a process where that of the server has nothing else."""

_GUARD = Path(servers.runtime.__path__[0]) / "orphan_guard.py"
_CHECK_INTERVAL_S = 0.15
_READ_BYTES = 1 << 20
_LAST_WORDS_S = 5.0
"""How long the end of a process is awaited after that of its output."""


class ChildEnded(Exception):
    """The process ended, or was found to be of no use, before it answered.

    Args:
        broken_rule: What it did that the protocol does not have, as a clause; empty where it ended.
    """

    def __init__(self, broken_rule: str = "") -> None:
        super().__init__(broken_rule)
        self.broken_rule = broken_rule


class Checks:
    """Calls a function again and again, but not more often than needed.

    Args:
        check: What to call; it may raise.
    """

    def __init__(self, check: Callable[[], None]) -> None:
        self._check = check
        self._next = time.monotonic() + _CHECK_INTERVAL_S

    @property
    def remaining_s(self) -> float:
        """Time until the next call."""
        return max(0.0, self._next - time.monotonic())

    def check_if_due(self) -> None:
        """Calls it if it is time to."""
        if time.monotonic() >= self._next:
            self._check()
            self._next = time.monotonic() + _CHECK_INTERVAL_S


class Child:
    """A running process.

    The kernel kills it when the thread that made this ends, so that is a thread which lives as long as it is needed.

    Args:
        command: Program and arguments.
        settings: What it is told first.
        folder: For its temporary files; removed when it has ended.
        stderr: Descriptor that becomes its standard error; None = that of this process.

    Raises:
        OSError: If no process can be started.
    """

    def __init__(self, command: Sequence[str], settings: Mapping[str, Any], folder: Path, stderr: int | None = None) -> None:
        self._folder = folder
        self._lines = Lines()
        self._unsent = line_of(settings)
        self._process = subprocess.Popen(
            # -I -S: the guard needs neither site-packages nor the environment's PYTHONPATH, and so starts in a few milliseconds.
            (sys.executable, "-I", "-S", str(_GUARD), str(os.getpid()), *command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            # Libraries in three languages have temporary files; TMPDIR is the one thing that all of them read.
            env=_DEFAULTS | os.environ | {"TMPDIR": str(folder)},
        )
        assert self._process.stdin is not None  # noqa: S101  # started with pipes
        assert self._process.stdout is not None  # noqa: S101
        self._stdin, self._stdout = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._stdin, False)

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def ask(self, request: bytes, check: Callable[[], None], on_progress: Callable[[Any], None]) -> Mapping[str, Any]:
        """Lets it do an operation, and waits for its answer.

        Args:
            request: The operation, as a line.
            check: Called at least every 0.2 s. If it raises, the process is still at work and has to be ended.
            on_progress: Called with what it tells of its progress.

        Returns:
            The message with its result or error.

        Raises:
            ChildEnded: If there is no answer.
        """
        unsent = memoryview(self._unsent + request)
        self._unsent = b""
        checks = Checks(check)
        poll = select.poll()
        poll.register(self._stdout, select.POLLIN)
        poll.register(self._stdin, select.POLLOUT)
        while True:
            ready = dict(poll.poll(checks.remaining_s * 1000))
            if self._stdin in ready:
                unsent = self._send(unsent)
                if not unsent:
                    poll.unregister(self._stdin)
            if self._stdout in ready:
                for message in self._received():
                    if message.keys() != {"progress"}:
                        return message
                    on_progress(message["progress"])
            checks.check_if_due()

    def _send(self, unsent: memoryview) -> memoryview:
        try:
            return unsent[os.write(self._stdin, unsent) :]
        except BlockingIOError:
            return unsent
        except BrokenPipeError:
            return memoryview(b"")  # it has ended, which its output tells as well

    def _received(self) -> list[dict[str, Any]]:
        piece = os.read(self._stdout, _READ_BYTES)
        if not piece:
            raise ChildEnded
        try:
            messages = list(map(orjson.loads, self._lines.received(piece)))
        except (LineTooLong, orjson.JSONDecodeError) as error:
            raise ChildEnded(f"sent what the protocol does not have ({type(error).__name__})") from error
        if not all(isinstance(message, dict) and message.keys() in ({"progress"}, {"result"}, {"error"}) for message in messages):
            raise ChildEnded("sent what the protocol does not have (neither progress nor an answer)")
        return messages

    def return_code(self) -> int:
        """Waits for the end of a process whose output has ended; kills it where it goes on without."""
        try:
            return self._process.wait(_LAST_WORDS_S)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int:
        """Kills it and reaps it, on any thread; whoever talks to it finds that it has ended. Returns its return code."""
        self._process.kill()
        return self._process.wait()

    def end(self) -> None:
        """Kills it, reaps it, and removes its files. Called by who has taken it, and by nobody else."""
        self.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        shutil.rmtree(self._folder, ignore_errors=True)
