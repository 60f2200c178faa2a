from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from servers.serving.errors import InvalidTensor
from servers.serving.open_inference import contract
from servers.serving.open_inference.errors import InvalidInferRequest, UnservedExtension
from servers.serving.open_inference.grpc_tensors import CONTENTS_FIELDS, add_output, raw_tensors
from servers.serving.signature import ELEMENT_TYPES
from servers.serving.tensors import RawTensor, array_of
from tests.unit.serving.open_inference import tensors_of_every_type


def request_of(*tensors: RawTensor) -> Any:
    request = contract.ModelInferRequest(model_name="m")
    for tensor in tensors:
        request.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        request.raw_input_contents.append(tensor.raw)
    return request


def typed_request(datatype: str, shape: list[int], **contents: list[Any]) -> Any:
    request = contract.ModelInferRequest(model_name="m")
    request.inputs.add(name="x", datatype=datatype, shape=shape, contents=contract.InferTensorContents(**contents))
    return request


@given(st.lists(tensors_of_every_type.raw_tensors(), max_size=3))
def test_raw_tensors_come_through_the_wire_bit_by_bit(tensors: list[RawTensor]) -> None:
    sent = request_of(*tensors).SerializeToString()

    assert list(raw_tensors(contract.ModelInferRequest.FromString(sent))) == tensors


@given(tensors_of_every_type.raw_tensors())
def test_an_output_is_written_raw_and_bit_by_bit(tensor: RawTensor) -> None:
    response = contract.ModelInferResponse()
    add_output(response, tensor)
    (output,) = response.outputs

    assert RawTensor(output.name, output.datatype, tuple(output.shape), response.raw_output_contents[0]) == tensor
    assert not output.HasField("contents")


@given(tensors_of_every_type.raw_tensors(tuple(CONTENTS_FIELDS)))
def test_typed_contents_become_the_same_bits_as_raw_ones(tensor: RawTensor) -> None:
    values = array_of(tensor, "x").reshape(-1)
    listed = [value.encode() for value in values] if tensor.datatype == "BYTES" else values.tolist()
    request = typed_request(tensor.datatype, list(tensor.shape), **{CONTENTS_FIELDS[tensor.datatype]: listed})

    (read,) = raw_tensors(request)

    # To Python's float and back a signalling NaN of binary32 may become a quiet one, before the converter sees it.
    if tensor.datatype == "FP32":
        np.testing.assert_array_equal(array_of(read, "x"), array_of(tensor, "x"))
    else:
        assert read == tensor


def test_contents_beside_raw_data_are_refused() -> None:
    request = typed_request("FP32", [1], fp32_contents=[1.0])
    request.raw_input_contents.append(b"\0\0\0\0")

    with pytest.raises(InvalidInferRequest, match="input `x` has `contents`, and the request has `raw_input_contents`"):
        raw_tensors(request)


@pytest.mark.parametrize("datatype", ["FP16", "BF16"])
def test_half_precision_travels_raw_only(datatype: str) -> None:
    with pytest.raises(InvalidTensor, match="travels in `raw_input_contents` only"):
        raw_tensors(typed_request(datatype, [1], fp32_contents=[1.0]))


@pytest.mark.parametrize("datatype", sorted(ELEMENT_TYPES))
def test_an_empty_tensor_needs_no_data_in_either_form(datatype: str) -> None:
    request = contract.ModelInferRequest()
    request.inputs.add(name="x", datatype=datatype, shape=[0, 3])

    assert raw_tensors(request) == (RawTensor("x", datatype, (0, 3), b""),)


def test_the_field_of_another_type_is_refused_by_name() -> None:
    with pytest.raises(InvalidTensor, match=r"input `x` of FP32 \[1\] travels in `fp32_contents`; got `fp64_contents`"):
        raw_tensors(typed_request("FP32", [1], fp64_contents=[1.0]))


def test_too_few_elements_are_refused_with_both_numbers() -> None:
    with pytest.raises(InvalidTensor, match=r"input `x` of FP32 \[2, 2\] has 4 elements; `fp32_contents` has 3"):
        raw_tensors(typed_request("FP32", [2, 2], fp32_contents=[1.0, 2.0, 3.0]))


@pytest.mark.parametrize(("datatype", "field", "value"), [("INT8", "int_contents", 128), ("UINT16", "uint_contents", 65_536)])
def test_an_integer_beyond_its_type_is_refused_instead_of_wrapped(datatype: str, field: str, value: int) -> None:
    with pytest.raises(InvalidTensor, match=f"got {value}") as refused:
        raw_tensors(typed_request(datatype, [2], **{field: [1, value]}))

    assert refused.value.field_violations[0][0] == f"inputs[0].contents.{field}[1]"


def test_each_input_takes_one_piece_of_raw_data() -> None:
    request = request_of(RawTensor("x", "FP32", (1,), b"\0\0\0\0"))
    request.raw_input_contents.append(b"")

    with pytest.raises(InvalidInferRequest, match="1 inputs and 2 pieces"):
        raw_tensors(request)


@pytest.mark.parametrize("shape", [[-1], [2, -3], [1] * 33])
def test_a_shape_that_cannot_be_one_is_refused(shape: list[int]) -> None:
    with pytest.raises(InvalidInferRequest, match="expected at most 32 extents, each 0 or more"):
        raw_tensors(typed_request("FP32", shape))


def test_an_unknown_datatype_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidInferRequest, match="datatype `FP8`; datatypes are BOOL, UINT8"):
        raw_tensors(typed_request("FP8", [1]))


def test_an_input_in_shared_memory_is_refused() -> None:
    request = typed_request("FP32", [1])
    request.inputs[0].parameters["shared_memory_region"].string_param = "region"

    with pytest.raises(UnservedExtension, match="shared memory is not served"):
        raw_tensors(request)
