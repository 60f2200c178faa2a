"""`python -m benchmarks.loading`: what the load of a 500 MB model does to the predictions of another, and what it leaves in memory.

h2load makes the load (Debian: nghttp2-client): one caller, who leaves the other core to the load. Rounds with and
without a load come in turn; the median of their ratios counts.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.memory import resident_mib
from benchmarks.serving.calls import Call
from benchmarks.serving.load import Answered, check_h2load, send
from benchmarks.serving.models import Model, write_models
from benchmarks.serving.processor_time import ProcessTree
from benchmarks.serving.systems.mesh import MESH

_LARGE_NAME = "large"
_LARGE = (8192, 16384)  # 512 MiB of weights
# Unloaded is what nobody predicts with any more; its processes end a moment later.
_SETTLED_S = 2.0


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loading", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each kind; default 5")
    parser.add_argument("--seconds", type=float, default=6.0, help="how long each is measured; longer than the load takes; default 6")
    given = parser.parse_args()
    check_h2load()
    with tempfile.TemporaryDirectory(prefix="bench-loading-") as folder:
        small, _ = write_models(Path(folder) / "models")
        large = _write_large(Path(folder) / "models")
        with MESH.run((small, large), Path(folder)) as running:
            endpoint, tree = running.endpoints[0], ProcessTree(running.pid)
            call = endpoint.call(small, small.rows(1))
            address, _, _ = call.url.partition("/mlops")
            with httpx.Client(base_url=address, headers=dict(call.headers), timeout=300) as client:
                ratios = []
                before = sum(resident_mib(tree).values())
                for _ in range(given.rounds):
                    quiet = send(call, 1, given.seconds)
                    loading, load_s = _while_loading(client, call, given.seconds)
                    loaded = sum(resident_mib(tree).values())
                    _managed(client, "unload", {})
                    time.sleep(_SETTLED_S)
                    ratios.append(loading.p99_ms / quiet.p99_ms)
                    print(
                        f"p99 {quiet.p99_ms:.2f} ms alone, {loading.p99_ms:.2f} ms beside a load of {load_s:.1f} s ({ratios[-1]:.2f}x); "
                        f"memory of the mesh {before:.0f} MiB before, {loaded:.0f} loaded, {sum(resident_mib(tree).values()):.0f} unloaded",
                        flush=True,
                    )
    print(f"p99 beside a load / alone, median of {given.rounds}: {statistics.median(ratios):.2f} (to reach: 1.1)")


def _while_loading(client: httpx.Client, call: Call, seconds: float) -> tuple[Answered, float]:
    def load() -> float:
        began = time.monotonic()
        _managed(client, "load", {"version": 1})
        return time.monotonic() - began

    with ThreadPoolExecutor(1) as pool:
        load_s = pool.submit(load)
        return send(call, 1, seconds), load_s.result()


def _managed(client: httpx.Client, verb: str, body: dict[str, int]) -> None:
    answer = client.post(f"/api/v1/serving/models/{_LARGE_NAME}:{verb}", json=body)
    if answer.status_code != 200:
        raise SystemExit(answer.text)


def _write_large(folder: Path) -> Model:
    weights = numpy_helper.from_array(np.random.default_rng(0).normal(size=_LARGE).astype(np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        _LARGE_NAME,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", _LARGE[0]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", _LARGE[1]])],
        [weights],
    )
    path = folder / "large.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return Model(_LARGE_NAME, _LARGE, path)


if __name__ == "__main__":
    main()
