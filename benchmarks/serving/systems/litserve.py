"""LitServe: one server and one worker a model, batching on.

Tried and left out: batching off (a fifth fewer requests at concurrency 32), two workers and as many servers (half the requests: many
processes for two cores, and queues between them), the ZeroMQ queue (`fast_queue`, no difference).
"""

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

LABEL = "LitServe"
_PACKAGES = ("litserve==0.2.19", "uvloop==0.23.0", "httptools==0.9.0", *ONNX)


@contextmanager
def _run(models: Sequence[Model], folder: Path) -> Iterator[Running]:
    port = free_port()
    command = (str(installed("litserve", _PACKAGES) / "python"), str(APPS / "litserve_server.py"), str(port))

    def call(model: Model, rows: NDArray[np.float32]) -> Call:
        url = f"http://127.0.0.1:{port}/models/{model.name}/predict"
        return json_call(url, {"instances": digits(rows)}, lambda answer: answer["predictions"])

    with serving(command, models[0].path.parent, folder, [port], {}) as pid:
        yield Running(pid, versions_of(_PACKAGES), (Endpoint(LABEL, call),))


LITSERVE = System("litserve", _run)
