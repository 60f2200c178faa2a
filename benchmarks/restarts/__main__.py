"""`python -m benchmarks.restarts`: kills each process of a mesh, turn by turn, and says how long it is missed.

Each kill counts as the first in a long time (the supervisor restarts at once); pauses between repeated restarts are a setting.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import mlmesh
import psutil
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from benchmarks.registry.workers import mesh

_STABLE_AFTER_S = 0.5
_PAUSE_S = 0.01
_PATIENCE_S = 60.0
_LONG_AGO = datetime.min.replace(tzinfo=UTC)
_HEALTHY = "HEALTH_STATE_HEALTHY"


@dataclass(frozen=True, eq=False)
class Need:
    """A process, and a request that nobody can answer without it.

    Args:
        process: Name of the process.
        components: Components that live in it.
        what: The request, in words.
        method: Its method.
        path: Its path.
        body: What it sends.
    """

    process: str
    components: tuple[str, ...]
    what: str
    method: str
    path: str
    body: object = None


_NEEDS = (
    Need("control", ("registry", "system", "users"), "read a model", "GET", "/api/v1/models/iris"),
    # Two workers are one component, which began with the one that was not killed; the supervisor says when the other one did.
    Need("serving", (), "predict", "POST", "/api/v1/models/iris/predict", {"instances": [[5.1, 3.5, 1.4, 0.2]]}),
    Need("gateway", ("gateway",), "read the documentation", "GET", "/docs"),
    Need("envoy", (), "read a model", "GET", "/api/v1/models/iris"),
)


@dataclass(frozen=True)
class Outage:
    """What a kill did.

    Args:
        missed_s: Seconds from the kill until a request was answered that needs the process.
        ill_s: Seconds from the kill until the mesh said again that all of it is healthy.
        cpu_s: Processor time of the new process by then, in seconds.
        load: Processes that wanted a core meanwhile (1-minute average).
    """

    missed_s: float
    ill_s: float
    cpu_s: float
    load: float


class Killer:
    """Kills processes of a running mesh.

    Args:
        url: Where the mesh is.
        token: Token of its administrator.
        data_dir: Where it keeps everything.
    """

    def __init__(self, url: str, token: str, data_dir: Path) -> None:
        self._client = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=_PATIENCE_S)
        self._state_file = data_dir / "state.json"

    def kill(self, need: Need) -> Outage:
        """Kills a process, and waits until all is as before."""
        _wait_until(lambda: self._is_answered(need) and self._is_whole(need, _LONG_AGO))
        time.sleep(2 * _STABLE_AFTER_S)
        pid = int(self._processes()[need.process]["pid"])
        killed_at, begun = datetime.now(UTC), time.monotonic()
        os.kill(pid, signal.SIGKILL)
        _wait_until(lambda: not psutil.pid_exists(pid))
        _wait_until(lambda: self._is_answered(need))
        missed_s = time.monotonic() - begun
        _wait_until(lambda: self._is_whole(need, killed_at))
        ill_s = time.monotonic() - begun
        used = psutil.Process(int(self._processes()[need.process]["pid"])).cpu_times()
        return Outage(missed_s, ill_s, used.user + used.system, os.getloadavg()[0])

    def _is_answered(self, need: Need) -> bool:
        try:
            return self._client.request(need.method, need.path, json=need.body).status_code == 200
        except httpx.TransportError:
            return False

    def _is_whole(self, need: Need, since: datetime) -> bool:
        """Whether all of the mesh was healthy when it was asked since then, and the process began since then."""
        processes = self._processes()
        if any(one["state"] != "healthy" for one in processes.values()) or _time(processes[need.process]["since"]) < since:
            return False
        try:
            answer = self._client.get("/api/v1/health")
        except httpx.TransportError:
            return False
        health = answer.json() if answer.status_code == 200 else {}
        components = {one["component"]: one for one in health.get("components", ())}
        return (
            health.get("state") == _HEALTHY
            and _time(health["check_time"]) >= since
            and all(one["state"] == _HEALTHY for one in components.values())
            and all(_time(components[name]["start_time"]) >= since for name in need.components)
        )

    def _processes(self) -> Mapping[str, Any]:
        return {one["name"]: one for one in json.loads(self._state_file.read_text("utf-8"))["processes"]}


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.restarts", description=__doc__)
    parser.add_argument("--kills", type=int, default=5, help="kills of each process; the median counts")
    kills: int = parser.parse_args().kills
    os.environ["MLMESH_MESH_STABLE_AFTER_S"] = str(_STABLE_AFTER_S)
    outages: defaultdict[Need, list[Outage]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="bench-restarts-") as folder, mesh(Path(folder) / "data") as (url, token):
        _save_a_model(url, token)
        killer = Killer(url, token, Path(folder) / "data")
        for turn in range(kills):
            for need in _NEEDS:
                outages[need].append(killer.kill(need))
                print(f"turn {turn + 1} of {kills}: {need.process} {outages[need][-1]}", file=sys.stderr)
    print(f"{_machine()}; {kills} kills of each process, medians (fastest-slowest) in seconds.\n")
    print(_table(outages))


def _save_a_model(url: str, token: str) -> None:
    data = load_iris()
    rows = data.data.astype("float32")
    with mlmesh.connect(url=url, token=token) as client:
        model = LogisticRegression(max_iter=500).fit(rows, data.target)
        client.registry.save_model(model, "iris", "Iris", sample_input=rows, onnx="require")


def _table(outages: Mapping[Need, Sequence[Outage]]) -> str:
    lines = [
        "| killed | request that needs it | answered again after | mesh wholly healthy after | processor time of its start | load |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for need, found in outages.items():
        missed, ill, used = (_spread(values) for values in zip(*((one.missed_s, one.ill_s, one.cpu_s) for one in found), strict=True))
        lines.append(f"| {need.process} | {need.what} | {missed} | {ill} | {used} | {median(one.load for one in found):.1f} |")
    return "\n".join(lines)


def _spread(seconds: Sequence[float]) -> str:
    return f"{median(seconds):.2f} ({min(seconds):.2f}-{max(seconds):.2f})"


def _machine() -> str:
    return f"{os.cpu_count()} cores, {platform.system()} {platform.release()}, Python {platform.python_version()}"


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"the mesh is not back after {_PATIENCE_S:g} s")
        time.sleep(_PAUSE_S)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


if __name__ == "__main__":
    main()
