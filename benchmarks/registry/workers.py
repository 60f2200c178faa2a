"""Servers and callers of both sides, as processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from servers.runtime.free_ports import free_port

_START_TIMEOUT_S = 180.0
_MESH = (sys.executable, "-c", "from mlmesh.cli import main; main()")


class Worker:
    """A process that does what it is told and says how long it took.

    Args:
        command: How to start it.
        environment: Variables beside our own.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **(environment or {})}
        )
        self._answer()

    def seconds(self, name: str, *arguments: object) -> float:
        """Does one thing; returns how long it took."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([name, *arguments]) + "\n")
        self._process.stdin.flush()
        return float(self._answer())

    def close(self) -> None:
        """Ends it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"a caller ended early: {self._process.args!r}")
        return line.strip()


@contextmanager
def worker(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Iterator[Worker]:
    """Runs a worker."""
    running = Worker(command, environment)
    try:
        yield running
    finally:
        running.close()


@contextmanager
def mesh(folder: Path) -> Iterator[tuple[str, str]]:
    """Runs a mesh on SQLite and local files; gives its address and a token."""
    data = ("--data-dir", str(folder))
    started = subprocess.run((*_MESH, "up", "--detach", "--port", "0", *data), capture_output=True, text=True)
    if started.returncode:
        raise SystemExit(started.stdout + started.stderr)
    try:
        token = subprocess.run((*_MESH, "token", *data), capture_output=True, text=True, check=True).stdout.strip()
        yield json.loads((folder / "state.json").read_text("utf-8"))["url"], token
    finally:
        subprocess.run((*_MESH, "down", *data), capture_output=True, check=True)


@contextmanager
def mlflow_server(python: Path, folder: Path) -> Iterator[str]:
    """Runs MLflow's server on SQLite and local files; gives its address."""
    folder.mkdir()
    port = free_port()
    command = (str(python), "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1", "--serve-artifacts")
    places = ("--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "artifacts"))
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen((*command, *places), stdout=log, stderr=log, cwd=folder)
    try:
        _await(f"http://127.0.0.1:{port}/health", server)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(30)


def _await(url: str, server: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < until and server.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=2).close()
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise SystemExit(f"MLflow's server did not start: {url}")
