"""Small ONNX models, each made for one question."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

Shape = Sequence[int | str | None]


def value(name: str, element_type: int, shape: Shape) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, element_type, list(shape))


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    constants: Sequence[onnx.TensorProto] = (),
) -> onnx.ModelProto:
    graph = helper.make_graph(list(nodes), "graph", list(inputs), list(outputs), list(constants))
    made: onnx.ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return made


def linear(features: int = 4, outputs: int = 3, seed: int = 7) -> bytes:
    """`y = x W + b`: x FP32 [N, features], y FP32 [N, outputs]."""
    random = np.random.default_rng(seed)
    weights = numpy_helper.from_array(random.normal(size=(features, outputs)).astype("f4"), "W")
    bias = numpy_helper.from_array(random.normal(size=outputs).astype("f4"), "b")
    nodes = [helper.make_node("MatMul", ["x", "W"], ["xW"]), helper.make_node("Add", ["xW", "b"], ["y"])]
    made = model(nodes, [value("x", TensorProto.FLOAT, ["N", features])], [value("y", TensorProto.FLOAT, ["N", outputs])], [weights, bias])
    return bytes(made.SerializeToString())


def identity(element_type: int, shape: Shape = ("N",)) -> bytes:
    """`y = x` of any type."""
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    return bytes(model(nodes, [value("x", element_type, shape)], [value("y", element_type, shape)]).SerializeToString())


def row_of_table() -> bytes:
    """A model as scikit-learn pipelines become: columns `carrier` (string), `distance` (float) and `month` (int), each [N, 1]."""
    nodes = [
        helper.make_node("Cast", ["month"], ["month_float"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["distance", "month_float"], ["score"]),
        helper.make_node("Identity", ["carrier"], ["label"]),
    ]
    inputs = [
        value("carrier", TensorProto.STRING, ["N", 1]),
        value("distance", TensorProto.FLOAT, ["N", 1]),
        value("month", TensorProto.INT64, ["N", 1]),
    ]
    outputs = [value("label", TensorProto.STRING, ["N", 1]), value("score", TensorProto.FLOAT, ["N", 1])]
    return bytes(model(nodes, inputs, outputs).SerializeToString())


def gather(rows: int = 5) -> bytes:
    """Looks rows up: `index` INT64 [N]; an index beyond the table fails while the model runs."""
    table = numpy_helper.from_array(np.arange(rows, dtype="f4"), "table")
    nodes = [helper.make_node("Gather", ["table", "index"], ["y"])]
    made = model(nodes, [value("index", TensorProto.INT64, ["N"])], [value("y", TensorProto.FLOAT, ["N"])], [table])
    return bytes(made.SerializeToString())


def slow(rounds: int = 40, size: int = 256) -> bytes:
    """Takes a while to run: `rounds` products of matrices of that size."""
    weights = numpy_helper.from_array((np.eye(size) * 0.999).astype("f4"), "W")
    names = ["x", *(f"x{index}" for index in range(1, rounds)), "y"]
    nodes = [helper.make_node("MatMul", [before, "W"], [after]) for before, after in itertools.pairwise(names)]
    made = model(nodes, [value("x", TensorProto.FLOAT, ["N", size])], [value("y", TensorProto.FLOAT, ["N", size])], [weights])
    return bytes(made.SerializeToString())


def rounds() -> bytes:
    """Runs for as long as asked: `rounds` INT64 [1] of a loop that counts to `y` INT64 [1]. It runs alone, having no free extent."""
    one = numpy_helper.from_array(np.ones(1, "i8"), "one")
    body = helper.make_graph(
        [helper.make_node("Add", ["before", "one"], ["after"]), helper.make_node("Identity", ["goes_on"], ["still_goes_on"])],
        "body",
        [value("round", TensorProto.INT64, []), value("goes_on", TensorProto.BOOL, []), value("before", TensorProto.INT64, [1])],
        [value("still_goes_on", TensorProto.BOOL, []), value("after", TensorProto.INT64, [1])],
    )
    zero = numpy_helper.from_array(np.zeros(1, "i8"), "zero")
    nodes = [helper.make_node("Loop", ["rounds", "", "zero"], ["y"], body=body)]
    made = model(nodes, [value("rounds", TensorProto.INT64, [1])], [value("y", TensorProto.INT64, [1])], [zero, one])
    return bytes(made.SerializeToString())


def large(megabytes: int, seed: int = 0) -> bytes:
    """A model of about that size: x FP32 [N, 1024]."""
    random = np.random.default_rng(seed)
    columns = megabytes * 256
    weights = numpy_helper.from_array(random.random((1024, columns), dtype="f4"), "W")
    nodes = [helper.make_node("MatMul", ["x", "W"], ["y"])]
    made = model(nodes, [value("x", TensorProto.FLOAT, ["N", 1024])], [value("y", TensorProto.FLOAT, ["N", columns])], [weights])
    return bytes(made.SerializeToString())


def with_external_data(location: str, size: int = 4) -> tuple[bytes, bytes]:
    """A model `y = x + b` whose b lies in the file at `location`, and that file."""
    bias = numpy_helper.from_array(np.arange(size, dtype="f4"), "b")
    data = bias.raw_data
    bias.ClearField("raw_data")
    bias.data_location = TensorProto.EXTERNAL
    for key, entry in (("location", location), ("offset", "0"), ("length", str(len(data)))):
        bias.external_data.add(key=key, value=entry)
    nodes = [helper.make_node("Add", ["x", "b"], ["y"])]
    made = model(nodes, [value("x", TensorProto.FLOAT, ["N", size])], [value("y", TensorProto.FLOAT, ["N", size])], [bias])
    return bytes(made.SerializeToString()), bytes(data)


def run(onnx_model: bytes, feeds: dict[str, np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
    """What ONNX Runtime says in process."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    answers: list[np.ndarray[Any, Any]] = onnxruntime.InferenceSession(onnx_model, options, providers=["CPUExecutionProvider"]).run(
        None, feeds
    )
    return answers
