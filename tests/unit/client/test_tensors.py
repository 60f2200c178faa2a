from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from mlmesh.errors import InvalidArgument
from mlmesh.tensors import from_tensor, to_inputs, to_nested_lists, to_tensor
from mlops.common.v1 import tensor_pb2
from mlops.common.v1.tensor_pb2 import Signature, TensorSpec

NUMERIC = st.sampled_from(["?", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8", ">i4", ">f8"])
FP32 = tensor_pb2.DATA_TYPE_FP32
INT64 = tensor_pb2.DATA_TYPE_INT64
BYTES = tensor_pb2.DATA_TYPE_BYTES


def spec(name: str, datatype: Any = FP32, shape: tuple[int, ...] = (-1, 2)) -> TensorSpec:
    return TensorSpec(name=name, datatype=datatype, shape=shape)


@given(npst.arrays(NUMERIC, npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)))
def test_numbers_arrive_as_they_were_sent(array: np.ndarray[Any, Any]) -> None:
    tensor = to_tensor("x", array)
    received = from_tensor(tensor)
    assert tuple(tensor.shape) == array.shape == received.shape
    assert received.dtype == array.dtype.newbyteorder("<")
    np.testing.assert_array_equal(received, array)


@given(npst.arrays(object, npst.array_shapes(max_dims=3, max_side=3), elements=st.text(max_size=8)))
def test_texts_arrive_as_they_were_sent(array: np.ndarray[Any, Any]) -> None:
    received = from_tensor(to_tensor("x", array))
    assert received.tolist() == array.tolist()


def test_bytes_that_are_no_text_arrive_as_bytes() -> None:
    assert from_tensor(to_tensor("x", np.array([b"\xff\x00", b"a"], dtype=object))).tolist() == [b"\xff\x00", b"a"]


def test_a_slice_that_is_not_contiguous_arrives_in_its_order() -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4).T[::2]
    np.testing.assert_array_equal(from_tensor(to_tensor("x", array)), array)


def test_bfloat16_is_read_as_float32() -> None:
    tensor = tensor_pb2.Tensor(name="x", datatype=tensor_pb2.DATA_TYPE_BF16, shape=[2], raw=b"\x80\x3f\x20\xc1")
    np.testing.assert_array_equal(from_tensor(tensor), np.array([1.0, -10.0], dtype=np.float32))


def test_what_is_received_may_be_written_to() -> None:
    received = from_tensor(to_tensor("x", np.zeros(2)))
    received[0] = 1


def test_an_array_becomes_the_only_input_in_the_type_of_the_model() -> None:
    (tensor,) = to_inputs([[1, 2], [3, 4]], Signature(inputs=[spec("features")]))
    assert (tensor.name, tensor.datatype, list(tensor.shape)) == ("features", FP32, [2, 2])


def test_a_frame_of_features_becomes_the_only_input() -> None:
    frame = pd.DataFrame({"a": [1, 2], "b": [0.5, 1.5]})
    (tensor,) = to_inputs(frame, Signature(inputs=[spec("features")]))
    np.testing.assert_array_equal(from_tensor(tensor), [[1, 0.5], [2, 1.5]])


def test_the_columns_of_a_frame_become_the_inputs_of_these_names() -> None:
    frame = pd.DataFrame({"age": [1, 2], "carrier": ["AA", "UA"], "unused": [0, 0]})
    signature = Signature(inputs=[spec("carrier", BYTES, (-1, 1)), spec("age", INT64, (-1,))])
    carrier, age = to_inputs(frame, signature)
    assert (carrier.name, list(carrier.shape), from_tensor(carrier).tolist()) == ("carrier", [2, 1], [["AA"], ["UA"]])
    assert (age.name, list(age.shape), age.datatype) == ("age", [2], INT64)


def test_a_series_becomes_the_only_input() -> None:
    (tensor,) = to_inputs(pd.Series([1.0, 2.0]), Signature(inputs=[spec("x", FP32, (-1,))]))
    assert list(tensor.shape) == [2]


def test_a_mapping_is_sent_by_name_and_without_a_signature_as_it_is() -> None:
    (tensor,) = to_inputs({"x": np.array([1], dtype=np.int16)}, None)
    assert (tensor.name, tensor.datatype) == ("x", tensor_pb2.DATA_TYPE_INT16)


def test_an_unknown_input_is_refused_with_those_there_are() -> None:
    with pytest.raises(InvalidArgument, match="no input 'y'; it has: a, b"):
        to_inputs({"y": [1]}, Signature(inputs=[spec("a"), spec("b")]))


def test_one_array_for_several_inputs_is_refused_with_their_names() -> None:
    with pytest.raises(InvalidArgument, match="the inputs a, b: give a mapping"):
        to_inputs([[1]], Signature(inputs=[spec("a"), spec("b")]))


@pytest.mark.parametrize(
    ("values", "expected", "message"),
    [
        ([[1], [2, 3]], FP32, "not rectangular"),
        ([[1.5, 2]], INT64, "values would change"),
        ([[float("nan"), 2]], INT64, "values would change"),
        ([[1e300, 2]], FP32, "too large"),
        ([["a", "b"]], FP32, "expects FP32 and got"),
        ([[1, 2]], BYTES, "expects BYTES and got"),
        ([[{"a": 1}, 2]], FP32, "mixes types: dict"),
        ([[1 + 2j, 2]], tensor_pb2.DATA_TYPE_UNSPECIFIED, "complex128 cannot be sent"),
    ],
)
def test_values_that_cannot_be_what_the_model_expects_are_refused_and_named(values: Any, expected: Any, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message) as error:
        to_inputs({"x": values}, Signature(inputs=[spec("x", expected)]))
    assert "'x'" in error.value.message


def test_numbers_are_converted_where_only_precision_is_lost() -> None:
    (tensor,) = to_inputs(np.array([[0.1, np.inf]], dtype=np.float64), Signature(inputs=[spec("x")]))
    np.testing.assert_array_equal(from_tensor(tensor), np.array([[0.1, np.inf]], dtype=np.float32))
    (tensor,) = to_inputs(np.array([[1.0, 2.0]]), Signature(inputs=[spec("x", INT64)]))
    assert from_tensor(tensor).tolist() == [[1, 2]]


def test_rows_have_a_json_form() -> None:
    assert to_nested_lists(pd.DataFrame({"a": [1, 2], "b": [0.5, 1.5]})) == [[1.0, 0.5], [2.0, 1.5]]
    with pytest.raises(InvalidArgument, match="bytes have no JSON form"):
        to_nested_lists(np.array([b"\xff"], dtype=object))


def test_a_tensor_whose_elements_run_over_its_end_is_refused() -> None:
    with pytest.raises(ValueError, match="longer than the tensor"):
        from_tensor(tensor_pb2.Tensor(name="x", datatype=BYTES, shape=[1], raw=b"\x09\x00\x00\x00a"))
