"""MLServer: an ONNX runtime of one's own, models in the server's process (`parallel_workers: 0`), no access log.

Tried and left out: parallel workers (half the requests for three times the processor time, as they are reached through queues), adaptive
batching (a lone caller waits four times as long, no more requests), metrics off and raw tensors (no difference).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.serving.calls import Call, json_call
from benchmarks.serving.models import INPUT, Model, digits
from benchmarks.serving.systems.open_inference import METHOD, infer_request, read_infer_response
from benchmarks.serving.systems.peer_process import ONNX, installed, serving, versions_of
from benchmarks.serving.systems.system import Endpoint, Running, System
from servers.runtime.free_ports import free_port

GRPC_LABEL, REST_LABEL = "MLServer gRPC", "MLServer REST"
# Parallel workers of this version fail with uvloop 0.22 and newer, so all of it was tried with the one before.
_PACKAGES = ("mlserver==1.7.1", "uvloop==0.21.0", "httptools==0.9.0", "orjson==3.13.0", *ONNX)


@contextmanager
def _run(models: Sequence[Model], folder: Path) -> Iterator[Running]:
    http_port, grpc_port, metrics_port = free_port(), free_port(), free_port()
    settings = {
        "debug": False,
        "host": "127.0.0.1",
        "http_port": http_port,
        "grpc_port": grpc_port,
        "metrics_port": metrics_port,
        "parallel_workers": 0,
        "gzip_enabled": False,
    }
    (folder / "settings.json").write_text(json.dumps(settings), "utf-8")
    for model in models:
        (folder / model.name).mkdir()
        model_settings = {
            "name": model.name,
            "implementation": "mlserver_runtime.OnnxRuntime",
            "parameters": {"uri": str(model.path)},
        }
        (folder / model.name / "model-settings.json").write_text(json.dumps(model_settings), "utf-8")

    def rest(model: Model, rows: NDArray[np.float32]) -> Call:
        flat = [value for row in digits(rows) for value in row]
        tensor = {"name": INPUT, "shape": rows.shape, "datatype": "FP32", "data": flat}
        return json_call(f"http://127.0.0.1:{http_port}/v2/models/{model.name}/infer", {"inputs": [tensor]}, _read_rest)

    def grpc(model: Model, rows: NDArray[np.float32]) -> Call:
        message = infer_request(model.name, INPUT, rows)
        return Call(f"http://127.0.0.1:{grpc_port}{METHOD}", message, read_infer_response, is_grpc=True, headers={})

    command = (str(installed("mlserver", _PACKAGES) / "mlserver"), "start", str(folder))
    with serving(command, models[0].path.parent, folder, [http_port, grpc_port], {}) as pid:
        yield Running(pid, versions_of(_PACKAGES), (Endpoint(GRPC_LABEL, grpc), Endpoint(REST_LABEL, rest)))


def _read_rest(answer: Any) -> object:
    tensor = answer["outputs"][0]
    return np.reshape(tensor["data"], tensor["shape"])


MLSERVER = System("mlserver", _run)
