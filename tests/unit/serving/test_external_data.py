from __future__ import annotations

import onnx
import pytest
from google.protobuf.descriptor import Descriptor
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from servers.runtime.errors import DomainError
from servers.serving import external_data
from servers.serving.errors import ModelLoadFailed
from servers.serving.external_data import external_locations
from tests.small_mesh import onnx_models


def external_tensor(name: str, location: str) -> TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    return tensor


def test_a_model_without_external_data_refers_to_nothing():
    assert external_locations(onnx_models.linear()) == frozenset()


def test_initializers_are_found():
    assert external_locations(onnx_models.with_external_data("weights/w.bin")[0]) == {"weights/w.bin"}


def test_tensors_are_found_wherever_the_schema_allows_them():
    inner = helper.make_graph([], "inner", [], [], [external_tensor("a", "subgraph.bin")])
    sparse = onnx.SparseTensorProto(values=external_tensor("v", "values.bin"), indices=external_tensor("i", "indices.bin"), dims=[4])
    node = helper.make_node("If", ["x"], ["y"], then_branch=inner)
    node.attribute.append(onnx.AttributeProto(name="t", t=external_tensor("t", "attribute.bin")))
    node.attribute.append(onnx.AttributeProto(name="ts", tensors=[external_tensor("t", "attributes.bin")]))
    node.attribute.append(onnx.AttributeProto(name="s", sparse_tensor=sparse))
    model = onnx_models.model([node], [], [])
    function = onnx.FunctionProto(name="f", node=[onnx.NodeProto(attribute=[onnx.AttributeProto(t=external_tensor("f", "function.bin"))])])
    model.functions.append(function)
    model.training_info.append(
        onnx.TrainingInfoProto(initialization=helper.make_graph([], "t", [], [], [external_tensor("z", "training.bin")]))
    )

    assert external_locations(model.SerializeToString()) == {
        *("subgraph.bin", "values.bin", "indices.bin", "attribute.bin", "attributes.bin", "function.bin", "training.bin")
    }


def fields_that_lead_to_tensors(descriptor: Descriptor) -> dict[str, dict[int, str]]:
    """Message type to the numbers of its fields below which a tensor may lie, read from onnx's own schema."""
    edges: dict[str, dict[int, str]] = {}

    def visit(message: Descriptor) -> None:
        if message.name in edges:
            return
        edges[message.name] = {field.number: field.message_type.name for field in message.fields if field.message_type is not None}
        for field in message.fields:
            if field.message_type is not None:
                visit(field.message_type)

    visit(descriptor)
    leading = {"TensorProto"}
    while more := {name for name, fields in edges.items() if leading & set(fields.values())} - leading:
        leading |= more
    return {
        name: {number: target for number, target in edges[name].items() if target in leading} for name in leading if name != "TensorProto"
    }


def test_the_walk_knows_every_field_of_the_schema_that_leads_to_a_tensor():
    names = {
        **{"model": "ModelProto", "training": "TrainingInfoProto", "graph": "GraphProto", "function": "FunctionProto"},
        **{"node": "NodeProto", "attribute": "AttributeProto", "sparse_tensor": "SparseTensorProto", "tensor": "TensorProto"},
    }
    known = {
        names[kind]: {number: names[target] for number, target in fields.items()}
        for kind, fields in external_data._MESSAGES.items()
        if kind in names and kind != "tensor"
    }

    assert known == fields_that_lead_to_tensors(onnx.ModelProto.DESCRIPTOR)
    assert TensorProto.DESCRIPTOR.fields_by_name["external_data"].number == 13


@pytest.mark.parametrize(
    "location",
    ["/etc/passwd", "../w.bin", "a/../../w.bin", "..", ".", "", "a\\..\\w.bin", "w\0.bin", "*/_ORT_MEM_ADDR_/*"],
)
def test_a_path_that_leaves_the_folder_of_the_model_is_refused(location):
    with pytest.raises(ModelLoadFailed, match="which is not a file beside it"):
        external_locations(onnx_models.with_external_data(location)[0])


def test_a_path_is_brought_to_its_plain_form():
    assert external_locations(onnx_models.with_external_data("./a/b/../w.bin")[0]) == {"a/w.bin"}


def refusal_of(data: bytes) -> DomainError | None:
    try:
        external_locations(data)
    except DomainError as error:
        return error
    return None


@given(st.binary(max_size=300))
def test_whatever_bytes_come_they_are_read_or_refused(data):
    refusal = refusal_of(data)

    assert refusal is None or isinstance(refusal, ModelLoadFailed)


@given(st.data())
def test_a_damaged_model_is_read_or_refused(data):
    model = bytearray(onnx_models.with_external_data("w.bin")[0])
    for _ in range(data.draw(st.integers(1, 4))):
        model[data.draw(st.integers(0, len(model) - 1))] = data.draw(st.integers(0, 255))

    refusal = refusal_of(bytes(model))

    assert refusal is None or isinstance(refusal, ModelLoadFailed)


def test_graphs_in_graphs_without_end_are_refused():
    body = b""
    for _ in range(500):  # a tensor attribute's graph in a node in a graph …
        for tag in (0x32, 0x2A, 0x0A):
            body = bytes([tag]) + varint(len(body)) + body

    with pytest.raises(ModelLoadFailed, match=r"too deep|damaged"):
        external_locations(b"\x3a" + varint(len(body)) + body)


def varint(number: int) -> bytes:
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])
