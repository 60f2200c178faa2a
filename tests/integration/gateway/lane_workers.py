"""Processes that serve the contract `mlops.lanetest.v1` over lanes behind a real Envoy."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from gateway.clusters import workers_name
from gateway.topology import UnixEndpoint, Upstream
from tests.integration.gateway.lane_behind_envoy import COMPONENT
from tests.integration.gateway.mesh_in_memory import GatewayUnderTest, short_folder, wait_until
from tests.integration.runtime.lane_contract import ROOT, SERVICE, descriptors
from tests.integration.runtime.waiting import exit_code

WORKERS = 2


class Workers:
    """Processes that serve the contract, each on its own lane, behind one gateway."""

    def __init__(self, folder: Path, **settings: object) -> None:
        contracts = folder / "contracts.binpb"
        contracts.write_bytes(descriptors())
        self.folder = folder
        self.settings = settings
        self.gateway = GatewayUnderTest(folder, descriptor_file=contracts)
        endpoints = [tuple(UnixEndpoint(str(folder / f"{number}.{kind}")) for number in range(WORKERS)) for kind in ("sock", "lane")]
        mesh = self.gateway.mesh
        self.gateway.mesh = replace(mesh, upstreams={**mesh.upstreams, COMPONENT: Upstream(COMPONENT, endpoints[0], SERVICE, endpoints[1])})
        self.processes = [self.start(number) for number in range(WORKERS)]

    def start(self, number: int) -> subprocess.Popen[bytes]:
        variables = {f"MLMESH_{name.upper()}": str(value) for name, value in self.settings.items()}
        script = Path(__file__).parents[1] / "runtime" / "lane_process.py"
        with self._log(number).open("ab") as log:
            return subprocess.Popen(
                [sys.executable, str(script), str(self.folder / f"{number}")],
                env=os.environ | variables | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "gen/python")])},
                stderr=log,
            )

    def restart(self, number: int) -> None:
        """Stops a process as its supervisor does, and starts the next one once it has ended."""
        self.processes[number].send_signal(signal.SIGTERM)
        assert exit_code(self.processes[number], self._log(number)) == 0, self._log(number).read_text()
        self.processes[number] = self.start(number)

    def healthy(self) -> int:
        # Every worker takes what has the rate class PREDICT; see `gateway.configuration.Mesh`.
        return self.gateway.envoy.admin.healthy_endpoints(workers_name(COMPONENT))

    def rss_mib(self, number: int) -> float:
        status = Path(f"/proc/{self.processes[number].pid}/status").read_text()
        return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS"))

    def effects(self) -> int:
        """Calls of `One` that were begun, in all processes that have ended."""
        return sum(int(file.read_text()) for file in self.folder.glob("*.effects"))

    def stop(self) -> None:
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        for number, process in enumerate(self.processes):
            exit_code(process, self._log(number))

    def _log(self, number: int) -> Path:
        return self.folder / f"log-{number}"


@contextlib.contextmanager
def running_workers() -> Iterator[Workers]:
    with short_folder() as folder:
        running = Workers(folder, drain_s=1.0, grace_s=10)
        try:
            running.gateway.start()
            wait_until(lambda: running.healthy() == WORKERS, 60, "the workers are not ready")
            yield running
        finally:
            running.gateway.stop()
            for process in running.processes:
                process.kill()
                process.wait(10)
