"""The mesh on this machine: what its data directory says about it."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_POLL_S = 0.05


@dataclass(frozen=True)
class ProcessState:
    """One process of the mesh, as its supervisor last wrote it down.

    Args:
        name: Name of the process.
        state: `waiting`, `starting`, `healthy`, `restarting`, `stopping` or `stopped`.
        pid: Process id; None while it does not run.
        since: When `state` was entered, ISO 8601.
        restarts: Restarts since the mesh was started.
        last_exit: How it last ended; empty where it never did.
    """

    name: str
    state: str
    pid: int | None
    since: str
    restarts: int
    last_exit: str


@dataclass(frozen=True)
class MeshState:
    """What a running mesh wrote down.

    Args:
        url: Where it is reached.
        supervisor_pid: Process id of the supervisor.
        processes: Its processes.
    """

    url: str
    supervisor_pid: int
    processes: tuple[ProcessState, ...]


def default_data_dir(environment: Mapping[str, str] = os.environ) -> Path:
    """Returns `$MLMESH_DATA_DIR`, or else `~/.mlmesh`."""
    return Path(environment.get("MLMESH_DATA_DIR") or "~/.mlmesh").expanduser()


def is_running(data_dir: Path) -> bool:
    """Returns whether a supervisor holds the lock of the data directory."""
    try:
        descriptor = os.open(data_dir / "mesh.lock", os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def read_state(data_dir: Path) -> MeshState | None:
    """Returns what the supervisor wrote down; None where no mesh runs, or it has written nothing yet."""
    if not is_running(data_dir):
        return None
    try:
        state: dict[str, Any] = json.loads((data_dir / "state.json").read_text("utf-8"))
        return MeshState(state["url"], state["supervisor_pid"], tuple(ProcessState(**process) for process in state["processes"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def read_credential(data_dir: Path) -> str:
    """Returns the credential that the mesh made for the command line of its owner; empty where there is none.

    Raises:
        PermissionError: The file belongs to somebody else.
    """
    try:
        return (data_dir / "token").read_text("utf-8").strip()
    except (FileNotFoundError, NotADirectoryError):
        return ""


def stop(data_dir: Path, timeout_s: float) -> bool:
    """Stops the mesh of a data directory.

    Args:
        data_dir: The data directory.
        timeout_s: Longest wait, in seconds; after it the supervisor is killed, and its processes with it.

    Returns:
        Whether it stopped by itself, or did not run at all.
    """
    pid = _supervisor_pid(data_dir)
    if not is_running(data_dir) or pid is None:
        return True
    _signal(pid, signal.SIGTERM)
    if _wait_stopped(data_dir, timeout_s):
        return True
    _signal(pid, signal.SIGKILL)
    _wait_stopped(data_dir, timeout_s)
    return False


def _supervisor_pid(data_dir: Path) -> int | None:
    try:
        return int((data_dir / "mesh.lock").read_text("ascii"))
    except (FileNotFoundError, ValueError):
        return None


def _wait_stopped(data_dir: Path, timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while is_running(data_dir):
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_S)
    return True


def _signal(pid: int, signal_number: signal.Signals) -> None:
    try:
        os.kill(pid, signal_number)
    except ProcessLookupError:
        return
