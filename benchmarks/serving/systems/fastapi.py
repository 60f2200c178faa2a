"""FastAPI + ONNX Runtime: one uvicorn worker with uvloop and httptools, orjson for both bodies, no log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.serving.calls import Call, json_call
from benchmarks.serving.models import Model, digits
from benchmarks.serving.systems.peer_process import APPS, ONNX, free_port, installed, serving, versions_of
from benchmarks.serving.systems.system import Endpoint, Running, System

LABEL = "FastAPI"
_PACKAGES = ("fastapi==0.165.0", "uvicorn==0.54.0", "uvloop==0.23.0", "httptools==0.9.0", "orjson==3.13.0", *ONNX)


@contextmanager
def _run(models: Sequence[Model], folder: Path) -> Iterator[Running]:
    port = free_port()
    uvicorn = str(installed("fastapi", _PACKAGES) / "uvicorn")
    options = ("--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning", "--workers", "1")
    command = (uvicorn, "fastapi_app:app", "--app-dir", str(APPS), "--host", "127.0.0.1", "--port", str(port), *options)

    def call(model: Model, rows: NDArray[np.float32]) -> Call:
        url = f"http://127.0.0.1:{port}/models/{model.name}/predict"
        return json_call(url, {"instances": digits(rows)}, lambda answer: answer["predictions"])

    with serving(command, models[0].path.parent, folder, [port], {}) as pid:
        yield Running(pid, versions_of(_PACKAGES), (Endpoint(LABEL, call),))


FASTAPI = System("fastapi", _run)
