"""Looking at the graph of an ONNX, and giving its inputs and outputs the names and shapes that callers expect."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from model_management.onnx_export.errors import OnnxNotPossible
from model_management.signature import DYNAMIC, Signature, TensorSpec

__all__ = ["cast_around_trees", "keep_outputs", "opsets_of", "rename_values", "set_shape", "signature_of_onnx"]


def signature_of_onnx(model: Any) -> Signature:
    """Return inputs and outputs of a `ModelProto`; dimensions that have a name or nothing become -1.

    Raises:
        OnnxNotPossible: If one of them is no tensor of a datatype that the Open Inference Protocol knows.
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    return Signature(
        inputs=tuple(_spec(value) for value in model.graph.input if value.name not in constants),
        outputs=tuple(_spec(value) for value in model.graph.output),
    )


def _spec(value: Any) -> TensorSpec:
    if value.type.WhichOneof("value") != "tensor_type":
        raise OnnxNotPossible(f"{value.name!r} is no tensor but a {value.type.WhichOneof('value')}; export it without ZipMap")
    tensor = value.type.tensor_type
    if (datatype := _datatypes().get(tensor.elem_type)) is None:
        raise OnnxNotPossible(f"{value.name!r} has a datatype that cannot be served")
    if not tensor.HasField("shape"):
        return TensorSpec(value.name, datatype, (DYNAMIC,))
    shape = tuple(
        size.dim_value if size.WhichOneof("value") == "dim_value" and size.dim_value > 0 else DYNAMIC for size in tensor.shape.dim
    )
    return TensorSpec(value.name, datatype, shape)


def _datatypes() -> dict[int, str]:
    from onnx import TensorProto

    return {
        TensorProto.FLOAT: "FP32",
        TensorProto.DOUBLE: "FP64",
        TensorProto.FLOAT16: "FP16",
        TensorProto.BFLOAT16: "BF16",
        TensorProto.INT8: "INT8",
        TensorProto.INT16: "INT16",
        TensorProto.INT32: "INT32",
        TensorProto.INT64: "INT64",
        TensorProto.UINT8: "UINT8",
        TensorProto.UINT16: "UINT16",
        TensorProto.UINT32: "UINT32",
        TensorProto.UINT64: "UINT64",
        TensorProto.BOOL: "BOOL",
        TensorProto.STRING: "BYTES",
    }


def opsets_of(model: Any) -> dict[str, int]:
    """Return the versions of the operator sets; the standard one is ``ai.onnx``."""
    return {opset.domain or "ai.onnx": opset.version for opset in model.opset_import}


def rename_values(model: Any, names: Mapping[str, str]) -> None:
    """Give values of the graph, such as its outputs, other names, in place, wherever they are used."""
    if taken := {name for name in _value_names(model.graph) if name in names.values()} - names.keys():
        # A converter uses the name for something inside already; that one steps aside.
        names = {**names, **{name: f"{name}__inside" for name in taken}}
    for graph in _graphs(model.graph):
        for node in graph.node:
            node.input[:] = [names.get(name, name) for name in node.input]
            node.output[:] = [names.get(name, name) for name in node.output]
        for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
            value.name = names.get(value.name, value.name)


def cast_around_trees(model: Any) -> None:
    """Let ensembles of trees take doubles, in place: their operators give floats whatever they take.

    What goes in is made float32 just there, as XGBoost and LightGBM do themselves, so that a scaler before it still computes in double.
    Nothing happens where the graph has floats only.
    """
    from onnx import TensorProto, helper

    graph = model.graph
    if not any(value.type.tensor_type.elem_type == TensorProto.DOUBLE for value in (*graph.input, *graph.output)):
        return
    nodes: list[Any] = []
    for index, node in enumerate(graph.node):
        if node.op_type not in ("TreeEnsembleClassifier", "TreeEnsembleRegressor"):
            nodes.append(node)
            continue
        # The last output is the numbers; a classifier's first are labels.
        source, target = node.input[0], node.output[-1]
        node.input[0], node.output[-1] = f"{source}__float_{index}", f"{target}__float_{index}"
        nodes += [
            helper.make_node("Cast", [source], [node.input[0]], to=TensorProto.FLOAT),
            node,
            helper.make_node("Cast", [node.output[-1]], [target], to=TensorProto.DOUBLE),
        ]
    # Clearing the list frees the messages in it, so that they have to be copied first.
    copies = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)


def keep_outputs(model: Any, names: Iterable[str]) -> None:
    """Let the model have these outputs in this order, in place."""
    by_name = {value.name: value for value in model.graph.output}
    kept = [by_name[name] for name in names]
    del model.graph.output[:]
    model.graph.output.extend(kept)


def set_shape(value: Any, shape: Iterable[int]) -> None:
    """Set the shape of an input or output, in place; -1 becomes a dimension called ``batch``."""
    tensor = value.type.tensor_type
    tensor.ClearField("shape")
    tensor.shape.SetInParent()
    for size in shape:
        dimension = tensor.shape.dim.add()
        if size == DYNAMIC:
            dimension.dim_param = "batch"
        else:
            dimension.dim_value = size


def _graphs(graph: Any) -> Iterator[Any]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _graphs(attribute.g)
            for inner in attribute.graphs:
                yield from _graphs(inner)


def _value_names(graph: Any) -> set[str]:
    return {
        name
        for inner in _graphs(graph)
        for name in (
            *(name for node in inner.node for name in (*node.input, *node.output)),
            *(value.name for value in (*inner.input, *inner.output, *inner.initializer)),
        )
    }
