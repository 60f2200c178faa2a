"""The pool of data processes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

from servers.runtime.data_process.child import Checks, Child, ChildEnded
from servers.runtime.data_process.errors import (
    DataProcessDied,
    DataProcessUnavailable,
    OperationFailed,
    OperationTooLarge,
    OutOfMemory,
    death,
)
from servers.runtime.data_process.messages import MAX_LINE_BYTES, OUT_OF_MEMORY_STATUS, LineTooLong, line_of
from servers.runtime.data_process.scratch import Scratch
from servers.runtime.errors import DomainError

_LOGGER = logging.getLogger(__name__)

_STOPPING = "the server is stopping"
_SPOILT = frozenset({OutOfMemory.reason, "INTERNAL"})
"""Reasons of errors after which nobody knows what state a process is in."""


class PoolSettings(Protocol):
    """What a pool has to know."""

    @property
    def scratch_folder(self) -> Path:
        """For temporary files; made where it does not exist. Several pools may share it."""

    @property
    def memory_bytes(self) -> int:
        """Memory that a process may take for itself (RLIMIT_DATA); 0 = any."""

    @property
    def idle_s(self) -> float:
        """How long a process without work is kept, in seconds."""

    @property
    def most_processes(self) -> int:
        """Most processes at a time; further operations wait."""

    def for_process(self, scratch_folder: Path) -> Mapping[str, Any]:
        """What a process is told first, ready for JSON; with `memory_bytes`."""


class DataProcesses:
    """Runs operations on data in processes of their own, each of which does one at a time and is kept for the next one.

    Safe to use from many threads. No process is started before an operation comes.

    Args:
        program: Program and arguments of a process.
        settings: What the processes are told, and how many there may be.
        memory_setting: What gives a process more memory, for errors.

    Raises:
        OSError: If the scratch folder cannot be made.
    """

    def __init__(self, program: Sequence[str], settings: PoolSettings, memory_setting: str) -> None:
        self._program = program
        self._settings = settings
        self._memory_setting = memory_setting
        self._scratch = Scratch(settings.scratch_folder)
        self._changed = threading.Condition()
        self._children: set[Child] = set()
        self._starting = 0
        self._idle: dict[Child, threading.Timer] = {}
        self._is_closed = False
        # The kernel kills a process when the thread that started it ends. Those that call `run` come and go.
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="data-process-starter")

    @property
    def scratch_folder(self) -> Path:
        """For files that the server hands to a process. What is left in it when the server dies, the next one removes."""
        return self._scratch.folder

    def run(
        self,
        operation: str,
        arguments: Mapping[str, Any],
        *,
        check: Callable[[], None] = lambda: None,
        on_progress: Callable[[Any], None] = lambda _progress: None,
    ) -> Any:
        """Does an operation; which there are is for the program to say.

        Args:
            operation: Its name.
            arguments: What JSON can hold.
            check: Called at least every 0.2 s. If it raises, the operation's process is killed and the exception passed on.
            on_progress: Called with what the process tells of its progress, on this thread.

        Returns:
            The operation's result, as JSON has it.

        Raises:
            OperationFailed: The operation's own error, with its code and reason.
            DataProcessOutOfMemory: RESOURCE_EXHAUSTED: its process died, most likely for want of memory.
            DataProcessDied: INTERNAL: its process died of something else.
            DataProcessUnavailable: UNAVAILABLE: `close` was called, or no process can be started.
            OperationTooLarge: INVALID_ARGUMENT: the arguments are larger than a message may be.
        """
        try:
            request = line_of({"operation": operation, "arguments": dict(arguments)})
        except LineTooLong as error:
            raise OperationTooLarge(error.size_bytes, MAX_LINE_BYTES) from None
        child = self._taken(check)
        is_usable = False
        try:
            answer = child.ask(request, check, on_progress)
            is_usable = "result" in answer or answer["error"]["reason"] not in _SPOILT
        except ChildEnded as ended:
            raise self._death(operation, child, ended) from None
        finally:
            if is_usable:
                self._give_back(child)
            else:
                self._discard(child)
        if "error" in answer:
            raise OperationFailed.described_by(answer["error"])
        return answer["result"]

    def close(self) -> None:
        """Kills and reaps all processes, and removes their files. Operations that run fail. May be called again."""
        with self._changed:
            self._is_closed = True
            idle, self._idle = self._idle, {}
            self._changed.notify_all()
        for child, timer in idle.items():
            timer.cancel()
            self._discard(child)
        self._starter.shutdown(cancel_futures=True)
        with self._changed:
            children = list(self._children)
        for child in children:
            # Only killed: a thread that talks to it must not find its pipes closed, and perhaps be those of somebody else.
            child.kill()
        self._scratch.close()

    def _taken(self, check: Callable[[], None]) -> Child:
        checks = Checks(check)
        child: Child | None
        while True:
            with self._changed:
                if self._is_closed:
                    raise DataProcessUnavailable(_STOPPING)
                if self._idle:
                    # The one that came last, so that the others end.
                    child, timer = self._idle.popitem()
                    timer.cancel()
                elif len(self._children) + self._starting < self._settings.most_processes:
                    self._starting += 1
                    break
                else:
                    child = None
                    self._changed.wait(checks.remaining_s)
            if child is not None:
                if child.is_running:
                    return child
                self._discard(child)
            checks.check_if_due()
        try:
            return self._starter.submit(self._start).result()
        except (CancelledError, RuntimeError):  # RuntimeError is how an executor says that it was shut down
            raise DataProcessUnavailable(_STOPPING) from None
        except OSError as error:
            raise DataProcessUnavailable(f"it cannot be started ({error.strerror})") from error

    def _start(self) -> Child:
        child = None
        try:
            folder = self._scratch.new_folder()
            child = Child(self._program, self._settings.for_process(folder), folder)
        finally:
            with self._changed:
                self._starting -= 1
                if child is not None:
                    self._children.add(child)
                self._changed.notify_all()
        return child

    def _give_back(self, child: Child) -> None:
        timer = threading.Timer(self._settings.idle_s, self._end_if_idle, (child,))
        timer.daemon = True
        with self._changed:
            if not self._is_closed:
                self._idle[child] = timer
                timer.start()
                self._changed.notify_all()
                return
        self._discard(child)

    def _end_if_idle(self, child: Child) -> None:
        with self._changed:
            if self._idle.pop(child, None) is None:
                return
        self._discard(child)

    def _discard(self, child: Child) -> None:
        child.end()
        with self._changed:
            self._children.discard(child)
            self._changed.notify_all()

    def _death(self, operation: str, child: Child, ended: ChildEnded) -> DomainError:
        error = self._why_ended(child, ended)
        _LOGGER.error("operation %s in data process %d: %s", operation, child.pid, error.message)
        return error

    def _why_ended(self, child: Child, ended: ChildEnded) -> DomainError:
        if ended.broken_rule:
            return DataProcessDied(ended.broken_rule)
        return_code = child.return_code()
        with self._changed:
            if self._is_closed:
                return DataProcessUnavailable(_STOPPING)
        return death(
            return_code,
            exit_status_out_of_memory=OUT_OF_MEMORY_STATUS,
            has_memory_limit=self._settings.memory_bytes > 0,
            memory_setting=self._memory_setting,
        )
