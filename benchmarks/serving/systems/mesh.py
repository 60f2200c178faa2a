"""mlmesh as its users start it: `mlmesh up`, every call through the gateway with a token, limits and access log on."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import mlmesh
import numpy as np
from mlops.common.v1 import tensor_pb2
from mlops.serving.v1 import serving_service_pb2
from numpy.typing import NDArray

from benchmarks.serving.calls import Call, json_call
from benchmarks.serving.models import INPUT, Model, digits
from benchmarks.serving.systems.system import Endpoint, Running, System

GRPC_LABEL, JSON_LABEL = "mlmesh gRPC", "mlmesh JSON"
UNBATCHED_LABEL = "mlmesh gRPC, batching off"
_MLMESH = (sys.executable, "-c", "from mlmesh.cli import main; main()")
_METHOD = "/mlops.serving.v1.ModelServingService/Predict"
# Counted for every request, and never reached.
_LIMITS = {"MLMESH_GATEWAY_RATE_LIMITS": json.dumps({"PREDICT": {"per_second": 1_000_000, "burst": 10_000_000}})}
_UNBATCHED = {"MLMESH_SERVING_MAX_BATCH_ROWS": "1"}
# A third of its life.
_TOKEN_USED_S = 300.0

_CallFor = Callable[[Model, NDArray[np.float32]], Call]


class _Token:
    """The administrator's token, a new one before the old one expires in a long run.

    Args:
        data: Arguments that say which mesh.
    """

    def __init__(self, data: Sequence[str]) -> None:
        self._data = data
        self._text, self._made_at = "", -math.inf

    def text(self) -> str:
        """Returns it."""
        if time.monotonic() > self._made_at + _TOKEN_USED_S:
            self._text, self._made_at = _mlmesh("token", *self._data), time.monotonic()
        return self._text

    def header(self) -> Mapping[str, str]:
        """Returns the header that carries it."""
        return {"authorization": f"Bearer {self.text()}"}


@contextmanager
def _mesh(models: Sequence[Model], folder: Path, environment: Mapping[str, str]) -> Iterator[tuple[int, _CallFor, _CallFor]]:
    """Runs a mesh that has the models; gives its process, and its calls over gRPC and as JSON."""
    data = ("--data-dir", str(folder / "data"))
    _mlmesh("up", "--detach", "--port", "0", *data, environment=environment)
    try:
        state = json.loads((folder / "data" / "state.json").read_text("utf-8"))
        url, token = str(state["url"]), _Token(data)
        with mlmesh.connect(url, token=token.text()) as client:
            for model in models:
                client.registry.push_version(model.name, model.path, format="onnx", onnx_path=model.path.name)

        def grpc(model: Model, rows: NDArray[np.float32]) -> Call:
            return Call(url + _METHOD, _request(model, rows), _read, is_grpc=True, headers=token.header())

        def rest(model: Model, rows: NDArray[np.float32]) -> Call:
            path = f"{url}/api/v1/models/{model.name}/predict"
            return json_call(path, {"instances": digits(rows)}, lambda answer: answer["predictions"], token.header())

        yield int(state["supervisor_pid"]), grpc, rest
    finally:
        _mlmesh("down", *data)


@contextmanager
def _run(models: Sequence[Model], folder: Path) -> Iterator[Running]:
    with _mesh(models, folder, _LIMITS) as (pid, grpc, rest):
        yield Running(pid, f"mlmesh {version('mlmesh')}", (Endpoint(GRPC_LABEL, grpc), Endpoint(JSON_LABEL, rest)))


@contextmanager
def _run_unbatched(models: Sequence[Model], folder: Path) -> Iterator[Running]:
    with _mesh(models, folder, {**_LIMITS, **_UNBATCHED}) as (pid, grpc, _):
        yield Running(pid, "", (Endpoint(UNBATCHED_LABEL, grpc),))


def _request(model: Model, rows: NDArray[np.float32]) -> bytes:
    request = serving_service_pb2.PredictRequest()
    request.model.name = model.name
    request.inputs.add(name=INPUT, datatype=tensor_pb2.DATA_TYPE_FP32, shape=rows.shape, raw=rows.tobytes())
    return request.SerializeToString()


def _read(message: bytes) -> NDArray[np.float32]:
    tensor = serving_service_pb2.PredictResponse.FromString(message).outputs[0]
    return np.frombuffer(tensor.raw, np.float32).reshape(tensor.shape)


def _mlmesh(*arguments: str, environment: Mapping[str, str] | None = None) -> str:
    done = subprocess.run((*_MLMESH, *arguments), capture_output=True, text=True, env={**os.environ, **(environment or {})})
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return done.stdout.strip()


MESH = System("mlmesh", _run, is_paused=False)
UNBATCHED_MESH = System("mlmesh-unbatched", _run_unbatched, frozenset({"mid"}), is_paused=False)
