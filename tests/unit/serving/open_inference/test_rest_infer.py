from __future__ import annotations

import contextlib
import json
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from servers.runtime.errors import DomainError, PermissionDenied
from servers.serving.engine import Prediction
from servers.serving.errors import InvalidTensor, PredictionTooLarge
from servers.serving.json_values import bfloat16_values
from servers.serving.model_source import ModelChoice
from servers.serving.open_inference.binary_extension import split
from servers.serving.open_inference.errors import InvalidInferRequest, UnservedExtension
from servers.serving.open_inference.rest_infer import RestInferCall, RestInferReader, infer_answer
from servers.serving.signature import ELEMENT_TYPES, TensorSpec
from servers.serving.tensors import RawTensor, array_of
from tests.unit.serving.open_inference import tensors_of_every_type

READER = RestInferReader(max_json_bytes=100_000, max_body_bytes=1_000_000)


def read(document: Any, binary: bytes = b"", version: str = "") -> RestInferCall:
    head = document if isinstance(document, bytes) else json.dumps(document).encode()
    return READER.read(head + binary, str(len(head)) if binary else None, model="m", version=version)


def inputs_of(document: Any, binary: bytes = b"") -> tuple[RawTensor, ...]:
    return read(document, binary).call.inputs


def tensor_json(datatype: str = "FP32", shape: Any = (1,), **rest: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "x", "datatype": datatype, "shape": list(shape), **rest}]}


def answered(tensor: RawTensor) -> Prediction:
    spec = TensorSpec(tensor.name, tensor.datatype, tensor.shape)
    return Prediction(((spec, array_of(tensor, "x")),), "m", 3, "sha256:0", "id-1")


@given(tensors_of_every_type.raw_tensors())
def test_a_binary_tensor_comes_in_bit_by_bit(tensor: RawTensor) -> None:
    document = tensor_json(tensor.datatype, tensor.shape, parameters={"binary_data_size": len(tensor.raw)})
    head = json.dumps(document).encode()

    assert READER.read(head + tensor.raw, str(len(head)), model="m", version="").call.inputs == (tensor,)


@given(tensors_of_every_type.raw_tensors())
def test_a_binary_tensor_goes_out_bit_by_bit(tensor: RawTensor) -> None:
    rest = read({"inputs": [], "parameters": {"binary_data_output": True}})

    body, json_bytes = infer_answer(answered(tensor), rest)

    document, section = split(body, str(json_bytes))
    (output,) = orjson.loads(document)["outputs"]
    assert section.take(output["parameters"]["binary_data_size"], "x") == tensor.raw
    assert (output["name"], output["datatype"], tuple(output["shape"])) == ("x", tensor.datatype, tensor.shape)
    section.close()


@given(tensors_of_every_type.raw_tensors())
def test_a_tensor_as_json_is_read_as_it_was_written(tensor: RawTensor) -> None:
    body, json_bytes = infer_answer(answered(tensor), read({"inputs": []}))
    assert json_bytes is None
    document = json.loads(body)

    (again,) = inputs_of({"inputs": document["outputs"]})

    if ELEMENT_TYPES[tensor.datatype].kind == "float":  # JSON has one NaN
        ours, theirs = array_of(again, "x"), array_of(tensor, "x")
        if tensor.datatype == "BF16":
            ours, theirs = bfloat16_values(ours), bfloat16_values(theirs)
        np.testing.assert_array_equal(ours, theirs)
        np.testing.assert_array_equal(np.signbit(ours[~np.isnan(ours)]), np.signbit(theirs[~np.isnan(theirs)]))
    else:
        assert again == tensor


def test_nested_data_are_read_in_row_major_order() -> None:
    (tensor,) = inputs_of(tensor_json("INT32", (2, 3), data=[[1, 2, 3], [4, 5, 6]]))

    assert array_of(tensor, "x").tolist() == [[1, 2, 3], [4, 5, 6]]


def test_nan_and_infinities_are_read_as_words_and_as_strings() -> None:
    (bare,) = inputs_of(b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [3], "data": [NaN, Infinity, -Infinity]}]}')
    (quoted,) = inputs_of(tensor_json("FP32", (3,), data=["NaN", "Infinity", "-Infinity"]))

    for tensor in (bare, quoted):
        np.testing.assert_array_equal(array_of(tensor, "x"), np.array([np.nan, np.inf, -np.inf], dtype="f4"))


def test_nan_and_infinities_are_written_as_words_which_tritons_clients_read() -> None:
    tensor = RawTensor("x", "FP32", (3,), np.array([np.nan, np.inf, -np.inf], dtype="<f4").tobytes())

    body, _ = infer_answer(answered(tensor), read({"inputs": []}))

    assert b"[NaN, Infinity, -Infinity]" in body


def test_an_output_is_binary_where_it_is_asked_for_and_json_elsewhere() -> None:
    wanted = [{"name": "a", "parameters": {"binary_data": True}}, {"name": "b", "parameters": {"binary_data": False}}, {"name": "c"}]

    rest = read({"inputs": [], "outputs": wanted, "parameters": {"binary_data_output": True}})

    assert rest.binary_by_name == {"a": True, "b": False, "c": True}
    assert rest.call.output_names == ("a", "b", "c")


def test_the_answer_says_what_answered_and_gives_the_id_back() -> None:
    tensor = RawTensor("x", "BOOL", (1,), b"\1")

    document = json.loads(infer_answer(answered(tensor), read({"inputs": [], "id": "7"}))[0])

    assert document == {
        "model_name": "m",
        "model_version": "3",
        "id": "7",
        "parameters": {"mlmesh_digest": "sha256:0", "mlmesh_prediction_id": "id-1"},
        "outputs": [{"name": "x", "datatype": "BOOL", "shape": [1], "data": [True]}],
    }


def test_path_and_parameter_choose_version_and_project() -> None:
    assert read({"inputs": [], "parameters": {"mlmesh_project": "fares"}}, version="champion").call.choice == ModelChoice(
        "fares", "m", alias="champion"
    )
    with pytest.raises(PermissionDenied):
        read({"inputs": [], "parameters": {"mlmesh_project": "secret"}})


@pytest.mark.parametrize(
    ("document", "place"),
    [
        (b"", "body"),
        (b"[]", "body"),
        (b"{", "body"),
        (b"[" * 10_000, "body"),
        (b"[" * 50_000 + b"NaN", "body"),
        ({"inputs": {}}, "inputs"),
        ({"inputs": [1]}, "inputs[0]"),
        ({"inputs": [{}]}, "inputs[0].name"),
        (tensor_json("FP8", data=[1]), "inputs[0].datatype"),
        (tensor_json(shape=[-1], data=[1]), "inputs[0].shape"),
        (tensor_json(shape=[True], data=[1]), "inputs[0].shape"),
        (tensor_json(shape=[1.0], data=[1]), "inputs[0].shape"),
        (tensor_json(shape=[1] * 33, data=[1]), "inputs[0].shape"),
        (tensor_json(), "inputs[0].data"),
        (tensor_json(data=3), "inputs[0].data"),
        (tensor_json(data=[1, 2]), "inputs[0].data"),
        (tensor_json(shape=[10**18, 10**18], data=[]), "inputs[0].data"),
        (tensor_json(data=["a"]), "inputs[0].data[0]"),
        (tensor_json("INT8", data=[128]), "inputs[0].data[0]"),
        (tensor_json("BOOL", data=[1]), "inputs[0].data[0]"),
        (tensor_json(shape=[2, 1], data=[[1], [2, 3]]), "inputs[0].data[1]"),
        (tensor_json(data=[1], parameters=[]), "inputs[0].parameters"),
        (tensor_json(data=[1], parameters={"binary_data_size": 4}), "inputs[0].data"),
        (tensor_json(parameters={"binary_data_size": 4}), "inputs[0].parameters.binary_data_size"),
        ({"inputs": [], "outputs": [{"name": "y"}, {"name": "y"}]}, "outputs[1].name"),
        ({"inputs": [], "outputs": [{"name": "y", "parameters": {"binary_data": 1}}]}, "outputs[0].parameters.binary_data"),
        ({"inputs": [], "id": 7}, "id"),
        ({"inputs": [], "parameters": {"binary_data_output": "yes"}}, "parameters.binary_data_output"),
    ],
)
def test_a_mistake_is_answered_with_its_place(document: Any, place: str) -> None:
    with pytest.raises((InvalidInferRequest, InvalidTensor)) as refused:
        read(document)

    assert refused.value.field_violations[0][0] == place


@pytest.mark.parametrize(
    "document",
    [
        tensor_json(parameters={"shared_memory_region": "r"}),
        {"inputs": [], "outputs": [{"name": "y", "parameters": {"classification": 3}}]},
    ],
)
def test_extensions_that_are_not_served_are_refused_instead_of_passed_over(document: Any) -> None:
    with pytest.raises(UnservedExtension):
        read(document)


def test_more_json_than_allowed_is_refused_unread() -> None:
    with pytest.raises(PredictionTooLarge, match="at most 100000 are allowed"):
        read(b" " * 100_001)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3)
)
TENSORS = st.dictionaries(
    st.sampled_from(["name", "datatype", "shape", "data", "parameters"]),
    JSON | st.sampled_from(["x", "FP32", "BYTES", "INT8", "BF16", [1], [2, 1], [], {"binary_data_size": 2}]),
)
REQUESTS = st.dictionaries(
    st.sampled_from(["inputs", "outputs", "parameters", "id"]), JSON | st.lists(TENSORS, max_size=3) | st.dictionaries(st.text(), JSON)
)


@given(REQUESTS, st.binary(max_size=8))
def test_nothing_that_looks_like_a_request_breaks_the_reader(document: Any, binary: bytes) -> None:
    with contextlib.suppress(DomainError):
        read(document, binary)


@given(st.binary(max_size=200), st.none() | st.text(max_size=5) | st.integers(0, 250).map(str))
def test_no_bytes_break_the_reader(body: bytes, header: str | None) -> None:
    with contextlib.suppress(DomainError):
        READER.read(body, header, model="m", version="")
