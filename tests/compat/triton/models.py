"""Models for Triton's client, and what ONNX Runtime says of them in this process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlmesh
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.small_mesh import onnx_models

ELEMENT_TYPES = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BF16": TensorProto.BFLOAT16,
    "BYTES": TensorProto.STRING,
}
BATCHES = (1, 2, 3, 7, 64)


@dataclass(frozen=True)
class Example:
    """A model, what it is given, and what ONNX Runtime answers.

    Args:
        name: Its name in the registry.
        onnx: The file.
        feeds: One set of inputs a case; none where the test knows the answer by itself.
    """

    name: str
    onnx: bytes
    feeds: Mapping[str, Mapping[str, np.ndarray[Any, Any]]]


def with_optional_input() -> bytes:
    """`y = x + b`, whose b is 1, 2, 3 unless the caller gives another."""
    made = onnx_models.model(
        [helper.make_node("Add", ["x", "b"], ["y"])],
        [onnx_models.value("x", TensorProto.FLOAT, ["N", 3]), onnx_models.value("b", TensorProto.FLOAT, [3])],
        [onnx_models.value("y", TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(np.array([1, 2, 3], dtype="f4"), "b")],
    )
    return bytes(made.SerializeToString())


def examples() -> Iterator[Example]:
    """All models."""
    for datatype, element_type in ELEMENT_TYPES.items():
        yield Example(f"identity-{datatype.lower()}", onnx_models.identity(element_type, ("N", 3)), {})
    random = np.random.default_rng(1)
    batches = {str(rows): {"x": random.normal(size=(rows, 4)).astype("f4")} for rows in BATCHES}
    yield Example("linear", onnx_models.linear(seed=1), batches)
    yield Example("linear", onnx_models.linear(seed=2), batches)
    table = {
        "distance": np.array([[1089.0], [0.1], [-3.5]], dtype="f4"),
        "month": np.array([[5], [12], [-(2**40)]], dtype="i8"),
        "carrier": np.array([["AA"], ["ü\0ß"], [""]], dtype=object),
    }
    yield Example("table", onnx_models.row_of_table(), {"rows": table})
    yield Example("scalar", onnx_models.identity(TensorProto.FLOAT, ()), {})
    yield Example("cube", onnx_models.identity(TensorProto.FLOAT, (None, 2, None)), {})
    yield Example("gather", onnx_models.gather(), {})
    yield Example("optional", with_optional_input(), {})
    yield Example("wide", onnx_models.identity(TensorProto.FLOAT, ("N", 1024)), {})


def save(client: mlmesh.Mesh, folder: Path) -> None:
    """Registers the models, and writes what ONNX Runtime answers to `<model>-<version>-<case>.npz`, strings apart."""
    for example in examples():
        version = client.registry.save_model(onnx.load_from_string(example.onnx), example.name, "For Triton's client").version
        for case, feeds in example.feeds.items():
            answers = onnx_models.run(example.onnx, dict(feeds))
            outputs = onnx.load_from_string(example.onnx).graph.output
            named = {output.name: answer for output, answer in zip(outputs, answers, strict=True)}
            arrays = {f"in.{name}": array for name, array in feeds.items()} | {f"out.{name}": array for name, array in named.items()}
            plain: dict[str, Any] = {name: _plain(array) for name, array in arrays.items()}
            np.savez(folder / f"{example.name}-{version}-{case}.npz", **plain)
    client.registry.set_alias("linear", alias="champion", version=1)
    client.registry.save_model(onnx.load_from_string(onnx_models.linear(seed=3)), "elsewhere", "In another project", project="fares")


def _plain(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Strings as numbers: their UTF-8, with a length before each. Nothing is pickled."""
    if array.dtype != object:
        return array
    encoded = [str(text).encode() for text in array.reshape(-1)]
    return np.frombuffer(b"".join(len(text).to_bytes(4, "little") + text for text in encoded), dtype=np.uint8)
