from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn

from servers.serving.errors import InvalidTensor
from servers.serving.signature import ELEMENT_TYPES, Signature, TensorSpec
from servers.serving.tensors import RawTensor, array_of, feeds_of, raw_of

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


def attempt(read: Callable[[], np.ndarray[Any, Any]]) -> tuple[np.ndarray[Any, Any] | None, InvalidTensor | None]:
    try:
        return read(), None
    except InvalidTensor as error:
        return None, error


@st.composite
def typed_arrays(draw: st.DrawFn) -> tuple[str, np.ndarray[Any, Any]]:
    datatype = draw(st.sampled_from(sorted(ELEMENT_TYPES)))
    shape = draw(stn.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
    if datatype == "BYTES":
        array = np.empty(shape, dtype=object)
        for index in np.ndindex(*shape):
            array[index] = draw(texts)
        return datatype, array
    return datatype, draw(stn.arrays(ELEMENT_TYPES[datatype].dtype, shape))


@given(typed_arrays())
def test_every_tensor_survives_the_way_through_bytes(typed):
    datatype, array = typed

    back = array_of(raw_of("x", datatype, array), "inputs[0]")

    assert back.shape == array.shape
    assert back.tolist() == array.tolist() if datatype == "BYTES" else back.tobytes() == array.tobytes()


def test_numbers_share_the_memory_of_the_message():
    raw = np.arange(6, dtype="f4").tobytes()

    array = array_of(RawTensor("x", "FP32", (2, 3), raw), "inputs[0]")

    assert np.shares_memory(array, np.frombuffer(raw, "f4"))
    assert not array.flags.writeable


@given(st.sampled_from(sorted(ELEMENT_TYPES)), st.lists(st.integers(0, 2**62), max_size=5).map(tuple), st.binary(max_size=64))
def test_whatever_bytes_come_they_are_a_tensor_of_that_shape_or_refused(datatype, shape, raw):
    array, refusal = attempt(lambda: array_of(RawTensor("x", datatype, shape, raw), "inputs[0]"))

    if array is not None:
        assert array.shape == shape
    else:
        assert refusal is not None
        assert refusal.field_violations[0][0].startswith("inputs[0].")


def test_a_length_that_does_not_fit_the_shape_names_both_numbers():
    with pytest.raises(InvalidTensor, match=r"`x` of FP32 \[2, 3\] takes 24 bytes; got 20") as raised:
        array_of(RawTensor("x", "FP32", (2, 3), bytes(20)), "inputs[0]")

    assert raised.value.field_violations[0][0] == "inputs[0].raw"


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"\x02\x00\x00\x00ab", "takes at least 8 bytes"),
        (b"\x02\x00\x00\x00ab\xff\xff\xff\xffc", "element 1 at byte 6 reaches beyond the end"),
        (b"\x01\x00\x00\x00\xff\x01\x00\x00\x00a", "element 0 is not UTF-8"),
        (b"\x01\x00\x00\x00a\x01\x00\x00\x00bcd", "2 bytes are left behind its 2 elements"),
    ],
)
def test_broken_strings_are_refused(raw, reason):
    with pytest.raises(InvalidTensor, match=reason):
        array_of(RawTensor("x", "BYTES", (2,), raw), "inputs[0]")


def test_a_boolean_is_0_or_1():
    with pytest.raises(InvalidTensor, match="bytes other than 0 and 1"):
        array_of(RawTensor("x", "BOOL", (3,), b"\x00\x01\x02"), "inputs[0]")


def test_strings_hold_null_characters_and_every_script():
    array = np.array(["a\0b", "", "Ünïcødé 你好 🛫"], dtype=object)

    assert array_of(raw_of("x", "BYTES", array), "inputs[0]").tolist() == array.tolist()


SIGNATURE = Signature(
    (TensorSpec("x", "FP32", (-1, 4), ("N", "")), TensorSpec("mask", "BOOL", (-1,), ("N",))), (TensorSpec("y", "FP32", (-1,)),)
)


def raw(name: str, datatype: str, *shape: int) -> RawTensor:
    return raw_of(name, datatype, np.zeros(shape, ELEMENT_TYPES[datatype].dtype))


def test_inputs_are_taken_in_any_order():
    feeds = feeds_of(SIGNATURE, [raw("mask", "BOOL", 2), raw("x", "FP32", 2, 4)])

    assert {name: array.shape for name, array in feeds.items()} == {"x": (2, 4), "mask": (2,)}


@pytest.mark.parametrize(
    ("tensors", "field", "message"),
    [
        (
            [raw("z", "FP32", 1), raw("x", "FP32", 1, 4), raw("mask", "BOOL", 1)],
            "inputs[0].name",
            "no input `z`; its inputs are `x`, `mask`",
        ),
        ([raw("x", "FP32", 1, 4)], "inputs", r"input `mask` \(BOOL \[-1\]\) is missing"),
        ([raw("x", "FP32", 1, 4), raw("x", "FP32", 1, 4), raw("mask", "BOOL", 1)], "inputs[1].name", "`x` is given twice"),
        ([raw("x", "FP64", 1, 4), raw("mask", "BOOL", 1)], "inputs[0].datatype", r"`x` expects FP32 \[-1, 4\]; got FP64 \[1, 4\]"),
        ([raw("mask", "BOOL", 1), raw("x", "FP32", 1, 5)], "inputs[1].shape", "dimension 1 has to be 4"),
        ([raw("mask", "BOOL", 1), raw("x", "FP32", 4)], "inputs[1].shape", "2 dimensions are expected, not 1"),
        ([raw("x", "FP32", 2, 4), raw("mask", "BOOL", 3)], "inputs", "dimension 0 of input `mask` is 3; it has to be 2"),
    ],
)
def test_a_wrong_input_is_named_with_what_is_expected_and_what_came(tensors, field, message):
    with pytest.raises(InvalidTensor, match=message) as raised:
        feeds_of(SIGNATURE, tensors)

    assert raised.value.field_violations[0][0] == field


def test_every_wrong_input_is_named_at_once():
    with pytest.raises(InvalidTensor) as raised:
        feeds_of(SIGNATURE, [raw("x", "FP64", 1, 4), raw("mask", "FP32", 1)])

    assert [field for field, _ in raised.value.field_violations] == ["inputs[0].datatype", "inputs[1].datatype"]


def test_a_huge_shape_of_few_strings_allocates_nothing():
    with pytest.raises(InvalidTensor, match="takes at least"):
        array_of(RawTensor("x", "BYTES", (2**40, 2**20), struct.pack("<I", 0)), "inputs[0]")
