"""The whole mesh as its users start it: `mlmesh up`, Envoy, every server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import grpc
import httpx
import mlmesh
import numpy as np
import onnxruntime
import psutil
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression


def run_mlmesh(*arguments: str, environment: Mapping[str, str] | None = None, timeout_s: float = 180.0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from mlmesh.cli import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, env={**os.environ, **(environment or {})})


@dataclass(frozen=True)
class WholeMesh:
    """A running mesh.

    Args:
        data_dir: Where it keeps everything.
        printed: What `mlmesh up` printed.
    """

    data_dir: Path
    printed: str

    @property
    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = json.loads((self.data_dir / "state.json").read_text("utf-8"))
        return state

    @cached_property
    def url(self) -> str:
        return str(self.state["url"])

    @property
    def target(self) -> str:
        return self.url.removeprefix("http://")

    @cached_property
    def token(self) -> str:
        done = run_mlmesh("token", "--data-dir", str(self.data_dir))
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def pid(self, process: str) -> int | None:
        return next(one["pid"] for one in self.state["processes"] if one["name"] == process)

    def process_state(self, process: str) -> str:
        return next(str(one["state"]) for one in self.state["processes"] if one["name"] == process)

    def restarts(self, process: str) -> int:
        return next(int(one["restarts"]) for one in self.state["processes"] if one["name"] == process)

    def processes(self) -> list[psutil.Process]:
        supervisor = psutil.Process(self.state["supervisor_pid"])
        return [supervisor, *supervisor.children(recursive=True)]

    def memory_bytes(self) -> int:
        """Returns the memory of all its processes; what they share counts once."""
        return sum(process.memory_full_info().pss for process in self.processes() if process.status() != psutil.STATUS_ZOMBIE)

    def request(self, method: str, path: str, *, token: str | None = "admin", **arguments: Any) -> httpx.Response:
        headers = dict(arguments.pop("headers", {}))
        if token is not None:
            headers["Authorization"] = f"Bearer {self.token if token == 'admin' else token}"
        return httpx.request(method, self.url + path, headers=headers, **{"timeout": 30, **arguments})

    def channel(self) -> grpc.Channel:
        return grpc.insecure_channel(self.target)

    def client(self) -> mlmesh.Mesh:
        return mlmesh.connect(url=self.url, token=self.token)

    def bearer(self, token: str | None = None) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {token or self.token}"),)

    def logs(self, process: str) -> str:
        return (self.data_dir / "logs" / f"{process}.log").read_text("utf-8", errors="replace")


@contextmanager
def whole_mesh(environment: Mapping[str, str] | None = None) -> Iterator[WholeMesh]:
    """Starts a mesh on a free port and stops it at the end."""
    # What is killed at the end may still write for a moment.
    with tempfile.TemporaryDirectory(prefix="mesh-", ignore_cleanup_errors=True) as folder:
        data_dir = Path(folder) / "data"
        arguments = ("--data-dir", str(data_dir))
        done = run_mlmesh("up", "--detach", "--port", "0", *arguments, environment=environment)
        assert done.returncode == 0, done.stdout + done.stderr
        try:
            yield WholeMesh(data_dir, done.stdout)
        finally:
            stopped = run_mlmesh("down", *arguments)
            assert stopped.returncode == 0, stopped.stdout + stopped.stderr


@dataclass(frozen=True)
class Iris:
    """A served model, and the same model in this process.

    Args:
        name: Its name.
        rows: Rows to predict, ``(rows, 4)`` float32.
        probabilities: What ONNX Runtime answers for them in this process.
        digest: Digest of its ONNX file.
    """

    name: str
    rows: np.ndarray[Any, np.dtype[np.float32]]
    probabilities: np.ndarray[Any, np.dtype[np.float32]]
    digest: str


def save_iris(mesh: WholeMesh, name: str = "iris") -> Iris:
    """Trains a model, registers it with the alias `champion`, and runs its ONNX form here."""
    data = load_iris()
    rows = data.data.astype(np.float32)
    model = LogisticRegression(max_iter=500).fit(rows, data.target)
    with mesh.client() as client, tempfile.TemporaryDirectory() as folder:
        version = client.registry.save_model(model, name, "Iris", sample_input=rows, onnx="require")
        client.registry.set_alias(name, alias="champion", version=version.version)
        client.registry.pull_version(name, folder, version=version.version)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(Path(folder) / version.onnx_path, options)
        (probabilities,) = session.run(["probabilities"], {"input": rows})
    digest = next(file.digest for file in version.files if file.path == version.onnx_path)
    return Iris(name, rows, probabilities, digest)
