"""The control process: users, registry and system in one process, each on a socket of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from mlops.common.v1 import component_service_pb2
from mlops.system.v1 import system_service_pb2 as pb
from mlops.system.v1.system_service_pb2_grpc import SystemMonitorServiceStub

ROOT = Path(__file__).resolve().parents[3]
COMPONENTS = ("users", "registry", "system")


@pytest.fixture
def control(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("MLMESH_")},
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "gen/python"), str(ROOT / "clients/python")]),
        "MLMESH_DATA_DIR": str(folder),
        "MLMESH_SERVICE_KEY_FILE": str(folder / "secrets" / "mesh.key"),
        "MLMESH_DRAIN_S": "0",
        **{f"MLMESH_{name.upper()}_LISTEN": f"unix:{folder}/{name}.sock" for name in COMPONENTS},
        **{f"MLMESH_{name.upper()}_ADDRESS": f"unix:{folder}/{name}.sock" for name in COMPONENTS},
    }
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([sys.executable, "-m", "servers.control"], env=environment, cwd=folder, stdout=log, stderr=log)
    yield process
    process.kill()
    process.wait(20)


def test_one_process_serves_all_three_and_ends_on_sigterm(control, folder):
    states: dict[str, int] = {}
    pause, deadline = threading.Event(), time.monotonic() + 60
    with grpc.insecure_channel(f"unix:{folder}/system.sock") as channel:
        stub = SystemMonitorServiceStub(channel)
        while set(states.values()) != {component_service_pb2.HEALTH_STATE_HEALTHY}:
            assert control.poll() is None, (folder / "log").read_text()[-2000:]
            assert time.monotonic() < deadline, (states, (folder / "log").read_text()[-2000:])
            try:
                states = {component.component: component.state for component in stub.GetHealth(pb.GetHealthRequest()).components}
            except grpc.RpcError:
                pause.wait(0.1)
    control.send_signal(signal.SIGTERM)

    assert sorted(states) == sorted(COMPONENTS)
    assert control.wait(20) == 0
