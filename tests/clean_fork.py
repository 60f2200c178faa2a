"""Runs work in a child that is forked from a process without threads.

A child has only the thread that forked it, but the locks, pollers and half-done changes of all the others. The process of pytest has
threads, gRPC's for good once a test has used it, and its children died now and then of SIGSEGV, or of SIGABRT in gRPC's poller. So a
process is started afresh that does nothing but fork, one for all tests of a worker: a fork takes milliseconds, a new interpreter that
imports everything takes most of a second.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import os
import pickle
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from multiprocessing.connection import Connection, Pipe
from typing import Any, NoReturn

import psutil

_FAILED = 1


@dataclass(frozen=True)
class Ending:
    """How a child ended.

    Args:
        status: Exit status; the negative number of the signal that killed it.
        answer: What its work returned; None where it did not return.
        failure: The traceback of what its work raised; empty where it did not raise.
        imported: What it had to import for that.
    """

    status: int
    answer: Any = None
    failure: str = ""
    imported: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.failure:
            return f"raised:\n{self.failure}"
        return f"was killed by {signal.Signals(-self.status).name}" if self.status < 0 else f"ended with exit status {self.status}"


def run_in_fork(work: Callable[[], object]) -> Ending:
    """Run work in a child of a process without threads, and return how the child ended.

    Args:
        work: What to do. It and what it returns are pickled: a function of a module, a `partial` of one, an instance with `__call__`.
    """
    forker = _forker()
    try:
        return forker.run(work)
    except BaseException:
        # The answer to a test that was interrupted may be still to come, and the next one would take it for its own.
        forker.close()
        _forker.cache_clear()
        raise


class Forker:
    """A process that forks, and does nothing else."""

    def __init__(self) -> None:
        self._connection, theirs = Pipe()
        # A numeric library makes its threads when it is imported.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        command = (sys.executable, "-P", "-c", f"from {__name__} import serve; serve({theirs.fileno()})")
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=environment, pass_fds=[theirs.fileno()])
        theirs.close()

    def run(self, work: Callable[[], object]) -> Ending:
        """Have it fork a child that does the work."""
        self._connection.send_bytes(pickle.dumps(work))
        ending: Ending = self._connection.recv()
        return ending

    def close(self) -> None:
        """End it."""
        self._connection.close()
        self._process.kill()
        self._process.wait()


@cache
def _forker() -> Forker:
    forker = Forker()
    atexit.register(forker.close)
    return forker


def serve(descriptor: int) -> None:
    """Fork a child for each work that arrives, one after the other, until the other side is gone."""
    with Connection(descriptor) as asking:
        while True:
            try:
                work = asking.recv_bytes()
            except EOFError:
                return
            ending = _fork(work)
            # What one child had to import, those after it find here.
            for name in ending.imported:
                with contextlib.suppress(ImportError):
                    importlib.import_module(name)
            asking.send(ending)


def _fork(work: bytes) -> Ending:
    threads = psutil.Process().num_threads()
    if threads != 1:
        return Ending(_FAILED, failure=f"{threads} threads: a fork is not safe any more; something that was imported starts them")
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        _be_the_child(work, writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        told = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return Ending(status, *pickle.loads(told)) if told else Ending(status)


def _be_the_child(work: bytes, writer: int) -> NoReturn:
    known = set(sys.modules)
    status = _FAILED
    try:
        try:
            told = pickle.dumps((pickle.loads(work)(), "", tuple(sys.modules.keys() - known)))
            status = 0
        except BaseException:
            told = pickle.dumps((None, traceback.format_exc(), ()))
        # Not by `os.write`: the work may have put something else in its place.
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(told)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)
