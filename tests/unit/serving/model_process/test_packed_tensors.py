from __future__ import annotations

import numpy as np
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from servers.serving.model_process.frames import MalformedFrame
from servers.serving.model_process.packed_tensors import NamedTensor, packed, unpacked
from servers.serving.signature import ELEMENT_TYPES

shapes = arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)
texts = st.text(st.characters(exclude_categories=()), max_size=8)


@st.composite
def tensors(draw: st.DrawFn) -> NamedTensor:
    datatype, shape = draw(st.sampled_from(sorted(ELEMENT_TYPES))), draw(shapes)
    if datatype == "BYTES":
        array = np.empty(shape, dtype=object)
        array.reshape(-1)[:] = draw(st.lists(texts, min_size=array.size, max_size=array.size))
        return NamedTensor(draw(st.text(max_size=5)), datatype, array)
    dtype = ELEMENT_TYPES[datatype].dtype
    bits = st.integers(0, 1) if datatype == "BOOL" else st.integers(0, 255)
    count = int(np.prod(shape)) * dtype.itemsize
    raw = bytes(draw(st.lists(bits, min_size=count, max_size=count)))
    return NamedTensor(draw(st.text(max_size=5)), datatype, np.frombuffer(raw, dtype).reshape(shape))


def carried(sent: list[NamedTensor]) -> list[NamedTensor]:
    """What arrives: the descriptions as JSON, the parts as bytes."""
    made = packed(sent)
    payload = np.frombuffer(b"".join(made.parts), np.uint8)
    assert len(payload) == made.size_bytes
    return unpacked(orjson.loads(orjson.dumps(made.descriptions)), payload)


def bits(array: np.ndarray) -> object:
    return array.tolist() if array.dtype == object else array.tobytes()


@given(st.lists(tensors(), max_size=5))
def test_tensors_of_every_kind_arrive_bit_by_bit(sent):
    found = carried(sent)

    assert [(tensor.name, tensor.datatype, tensor.array.shape) for tensor in found] == [
        (tensor.name, tensor.datatype, tensor.array.shape) for tensor in sent
    ]
    assert [bits(tensor.array) for tensor in found] == [bits(tensor.array) for tensor in sent]
    assert all(tensor.array.dtype == ELEMENT_TYPES[tensor.datatype].dtype for tensor in found)


@given(st.lists(tensors(), max_size=5))
def test_numbers_lie_where_their_elements_may(sent):
    made = packed(sent)
    memory = np.empty(made.size_bytes + 16, np.uint8)
    offset = -memory.ctypes.data % 16
    payload = memory[offset : offset + made.size_bytes]
    payload[:] = np.frombuffer(b"".join(made.parts), np.uint8)

    found = unpacked(orjson.loads(orjson.dumps(made.descriptions)), payload)

    assert all(tensor.array.flags.aligned for tensor in found)


def test_an_array_that_is_not_contiguous_arrives_in_order():
    array = np.arange(12, dtype="<f4").reshape(3, 4).T

    (found,) = carried([NamedTensor("x", "FP32", array)])

    assert found.array.tolist() == array.tolist()


def test_a_large_tensor_is_not_copied():
    array = np.zeros((1000, 100), "<f4")

    made = packed([NamedTensor("x", "FP32", array)])

    assert np.shares_memory(np.frombuffer(made.parts[0], np.uint8), array)


def test_an_array_of_another_type_than_announced_is_a_mistake_of_the_caller():
    with pytest.raises(TypeError, match="tensor `x` of FP32 is kept as float32, and this one is float64"):
        packed([NamedTensor("x", "FP32", np.zeros(3))])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)
likely = st.tuples(
    st.text(max_size=3) | json_values,
    st.sampled_from(sorted(ELEMENT_TYPES)) | json_values,
    st.lists(st.integers(-1, 9) | st.sampled_from([2**31, 2**62]), max_size=5) | json_values,
    st.integers(-1, 40) | json_values,
).map(list)


@given(json_values | st.lists(likely, max_size=3), st.binary(max_size=64))
@example([["x", "FP32", [0, 2**62, 2**62], 0]], b"")
@example([["x", "BYTES", [2**62], 8]], b"\0" * 8)
@example([["x", "BYTES", [0, 2**62, 2**62], 0]], b"")
@example([["x", "FP32", [], True]], b"\0")
@example([["x", [], [], 0]], b"")
@example([["x", "INT8", [1] * 65, 1]], b"\0")
def test_descriptions_that_do_not_fit_the_payload_are_malformed(descriptions, payload):
    try:
        found = unpacked(descriptions, np.frombuffer(payload, np.uint8))
    except MalformedFrame:
        return
    assert packed(found).size_bytes == len(payload)


@pytest.mark.parametrize(
    ("description", "payload", "expected"),
    [
        (["x", "FP32", [2], 4], bytes(4), r"tensor `x` of FP32 \[2\] does not have 4 bytes"),
        (["x", "FP32", [1], 4], bytes(3), "tensor `x` reaches beyond the payload"),
        (["x", "FP32", [1], 4], bytes(5), "1 bytes of the payload belong to no tensor"),
        (["x", "BOOL", [1], 1], b"\2", "tensor `x` of BOOL has bytes other than 0 and 1"),
        (["x", "BYTES", [1], 4], b"\1\0\0\0", "tensor `x`: element 0 reaches beyond the end"),
        (["x", "BYTES", [1], 5], b"\1\0\0\0\xff", "tensor `x`: element 0 is not UTF-8"),
        (["x", "BYTES", [1], 5], b"\0\0\0\0\0", "tensor `x`: 1 bytes are left behind its elements"),
        (["x", "BYTES", [9], 8], bytes(8), r"tensor `x` of BYTES \[9\] does not fit in 8 bytes"),
        (["x", "FP99", [1], 4], bytes(4), "a tensor of a frame is described by"),
    ],
)
def test_a_malformed_tensor_is_named(description, payload, expected):
    with pytest.raises(MalformedFrame, match=expected):
        unpacked([description], np.frombuffer(payload, np.uint8))
