"""A peer's venv and process."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from benchmarks.serving.processor_time import ProcessTree

APPS = Path(__file__).parents[1] / "apps"
# All of it is kept between runs, and ignored by git.
_VENVS = Path(".cache/benchmarks-serving").absolute()
_PATIENCE_S = 120.0
_STOP_S = 10.0
_PAUSE_S = 0.1

ONNX = ("numpy==2.4.6", "onnxruntime==1.32.0")


def installed(name: str, packages: Sequence[str]) -> Path:
    """Returns the folder of programs of a peer's venv; makes the venv on the first run, and when the packages are others.

    Args:
        name: Name of the peer.
        packages: What pip installs, pinned.
    """
    folder = _VENVS / name
    programs, mark = folder / "bin", folder / "installed.txt"
    wanted = "\n".join(packages)
    if not mark.exists() or mark.read_text("utf-8") != wanted:
        print(f"installing {', '.join(packages)} …", file=sys.stderr)
        subprocess.run((sys.executable, "-m", "venv", "--clear", str(folder)), check=True)
        subprocess.run((str(programs / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet", *packages), check=True)
        mark.write_text(wanted, "utf-8")
    return programs


def versions_of(packages: Sequence[str]) -> str:
    """Returns pinned packages as words: `mlserver 1.7.1, …`."""
    return ", ".join(package.replace("==", " ") for package in packages if package not in ONNX)


@contextmanager
def serving(command: Sequence[str], models: Path, folder: Path, ports: Sequence[int], environment: Mapping[str, str]) -> Iterator[int]:
    """Runs a peer's server until it listens, and ends it with all its processes.

    Args:
        command: How it is started.
        models: Folder of the ONNX files.
        folder: Its working folder, which also gets its log.
        ports: Where it will listen.
        environment: Variables beside our own.

    Yields:
        Its process.
    """
    variables = {
        **os.environ,
        "BENCH_MODELS": str(models),
        "PYTHONPATH": str(APPS),
        "PYTHONDONTWRITEBYTECODE": "1",
        **environment,
    }
    log_path = folder / "server.log"
    with log_path.open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env=variables)
    try:
        for port in ports:
            _await(port, server, log_path)
        yield server.pid
    finally:
        _end(server)


def _await(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until and server.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(_PAUSE_S)
        else:
            return
    raise SystemExit(f"{server.args!r} does not listen on port {port}:\n{log.read_text('utf-8', errors='replace')[-4000:]}")


def _end(server: subprocess.Popen[bytes]) -> None:
    """Ends a server with all its processes: LitServe leaves its workers behind when it is asked to stop."""
    processes = ProcessTree(server.pid).processes() if server.poll() is None else []
    server.terminate()
    try:
        server.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
    _, alive = psutil.wait_procs(processes, timeout=1)
    for process in alive:
        process.kill()
