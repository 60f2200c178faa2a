"""Whom to kill: the processes of a mesh come and go while one looks for them."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

import psutil

from tests.integration.runtime.waiting import eventually
from tests.whole_mesh import WholeMesh


def workers_of(mesh: WholeMesh, program: str) -> list[int]:
    """Processes below the control process whose command has a text, as far as they are still there."""
    control = mesh.pid("control")
    assert control is not None
    return [child.pid for child in psutil.Process(control).children(recursive=True) if program in _command(child)]


def kill(pid: int) -> None:
    """Kills a process, if it has not ended by itself."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def kill_server(mesh: WholeMesh, timeout_s: float) -> None:
    """Kills the control process, and waits for the next one to be healthy.

    One that is killed in the first moments of its life has not shown that it can live, and is started again after a pause.
    """
    before = mesh.pid("control")
    assert before is not None
    os.kill(before, signal.SIGKILL)
    eventually(lambda: mesh.pid("control") not in (None, before) and mesh.process_state("control") == "healthy", timeout_s)


def orphans_of(mesh: WholeMesh, program: str) -> list[psutil.Process]:
    """Processes whose command has a text and whose parent is gone: those of this mesh, for other tests kill others at the same time."""
    return [each for each in psutil.process_iter(["ppid"]) if each.info["ppid"] == 1 and program in _command(each) and _is_of(mesh, each)]


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _is_of(mesh: WholeMesh, process: psutil.Process) -> bool:
    try:
        return process.environ().get("MLMESH_DATA_DIR") == str(mesh.data_dir)
    except psutil.Error:
        return False
