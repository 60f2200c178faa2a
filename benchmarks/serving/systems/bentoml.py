"""BentoML: a service with one worker a core, access log off.

Tried and left out: one worker (fewer requests for the same processor time each), adaptive batching (no more requests, and a
lone caller waits a third longer).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.serving.calls import Call, json_call
from benchmarks.serving.models import Model, digits
from benchmarks.serving.systems.peer_process import APPS, ONNX, installed, serving, versions_of
from benchmarks.serving.systems.system import Endpoint, Running, System
from servers.runtime.free_ports import free_port

LABEL = "BentoML"
_PACKAGES = ("bentoml==1.4.40", "uvloop==0.23.0", "httptools==0.9.0", *ONNX)


@contextmanager
def _run(models: Sequence[Model], folder: Path) -> Iterator[Running]:
    port = free_port()
    bentoml = str(installed("bentoml", _PACKAGES) / "bentoml")
    command = (bentoml, "serve", "bentoml_service:OnnxService", "--working-dir", str(APPS), "--host", "127.0.0.1", "--port", str(port))
    environment = {"BENCH_WORKERS": str(os.cpu_count()), "BENTOML_HOME": str(folder / "home"), "BENTOML_DO_NOT_TRACK": "true"}

    def call(model: Model, rows: NDArray[np.float32]) -> Call:
        return json_call(f"http://127.0.0.1:{port}/{model.name}", {"rows": digits(rows)}, lambda answer: answer)

    with serving(command, models[0].path.parent, folder, [port], environment) as pid:
        yield Running(pid, versions_of(_PACKAGES), (Endpoint(LABEL, call),))


BENTOML = System("bentoml", _run)
