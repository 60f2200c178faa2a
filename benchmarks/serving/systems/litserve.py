"""LitServe: one server and one worker a model. With batching off, which suits a lone caller, and on, which suits many.

Tried and left out: two workers and as many servers (no more requests, many processes for two cores), the ZeroMQ queue (`fast_queue`, no
difference).
"""

from __future__ import annotations

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

LABEL, BATCHING_LABEL = "LitServe", "LitServe, batching on"
_PACKAGES = ("litserve==0.2.19", "uvloop==0.23.0", "httptools==0.9.0", *ONNX)


@contextmanager
def _run(label: str, batching: str, models: Sequence[Model], folder: Path) -> Iterator[Running]:
    port = free_port()
    command = (str(installed("litserve", _PACKAGES) / "python"), str(APPS / "litserve_server.py"), str(port))

    def call(model: Model, rows: NDArray[np.float32]) -> Call:
        url = f"http://127.0.0.1:{port}/models/{model.name}/predict"
        return json_call(url, {"instances": digits(rows)}, lambda answer: answer["predictions"])

    with serving(command, models[0].path.parent, folder, [port], {"BENCH_BATCHING": batching}) as pid:
        yield Running(pid, "" if batching == "1" else versions_of(_PACKAGES), (Endpoint(label, call),))


LITSERVE = System("litserve", partial(_run, LABEL, "0"))
LITSERVE_BATCHING = System("litserve-batching", partial(_run, BATCHING_LABEL, "1"))
