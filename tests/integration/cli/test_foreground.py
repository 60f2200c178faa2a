"""`mlmesh up` in a terminal: it says where it is, and ends at Ctrl-C with all that it started."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import httpx
import psutil


def test_a_mesh_in_the_foreground_says_where_it_is_and_stops_at_ctrl_c() -> None:
    with tempfile.TemporaryDirectory(prefix="mesh-") as folder:
        command = [
            sys.executable,
            "-c",
            "from mlmesh.cli import main; main()",
            "up",
            "--port",
            "0",
            "--data-dir",
            str(Path(folder) / "data"),
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as mesh:
            try:
                assert mesh.stdout is not None
                announced = [mesh.stdout.readline() for _ in range(6)]
                url = announced[0].split()[4]
                processes = psutil.Process(mesh.pid).children(recursive=True)
                assert httpx.get(f"{url}/api/v1/health", timeout=30).status_code == 200
                assert any("user admin, password" in line for line in announced)
                # The supervisor took the place of the command line.
                supervised = json.loads((Path(folder) / "data/state.json").read_text("utf-8"))["processes"]
                assert {process.pid for process in processes} == {process["pid"] for process in supervised}
                mesh.send_signal(signal.SIGINT)
                assert mesh.wait(timeout=60) == 0
            finally:
                mesh.kill()  # or leaving the block would wait for a mesh that goes on
    assert psutil.wait_procs(processes, timeout=10)[1] == []
