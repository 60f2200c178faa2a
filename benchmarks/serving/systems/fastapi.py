"""FastAPI + ONNX Runtime: uvicorn with uvloop and httptools, orjson for both bodies, no log. With one worker, and with one a core.

Tried and left out: bodies checked by Pydantic models (a quarter more processor time).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.serving.calls import Call, json_call
from benchmarks.serving.models import Model, digits
from benchmarks.serving.systems.peer_process import APPS, ONNX, installed, serving, versions_of
from benchmarks.serving.systems.system import Endpoint, Running, System
from servers.runtime.free_ports import free_port

LABEL, WORKERS_LABEL = "FastAPI", "FastAPI, a worker a core"
_PACKAGES = ("fastapi==0.165.0", "uvicorn==0.54.0", "uvloop==0.23.0", "httptools==0.9.0", "orjson==3.13.0", *ONNX)


@contextmanager
def _run(label: str, workers: int, models: Sequence[Model], folder: Path) -> Iterator[Running]:
    port = free_port()
    uvicorn = str(installed("fastapi", _PACKAGES) / "uvicorn")
    options = ("--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning", "--workers", str(workers))
    command = (uvicorn, "fastapi_app:app", "--app-dir", str(APPS), "--host", "127.0.0.1", "--port", str(port), *options)

    def call(model: Model, rows: NDArray[np.float32]) -> Call:
        url = f"http://127.0.0.1:{port}/models/{model.name}/predict"
        return json_call(url, {"instances": digits(rows)}, lambda answer: answer["predictions"])

    with serving(command, models[0].path.parent, folder, [port], {}) as pid:
        yield Running(pid, versions_of(_PACKAGES) if workers == 1 else "", (Endpoint(label, call),))


FASTAPI = System("fastapi", partial(_run, LABEL, 1))
FASTAPI_WORKERS = System("fastapi-workers", partial(_run, WORKERS_LABEL, os.cpu_count() or 1))
