from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn

from servers.serving.errors import InvalidTensor
from servers.serving.json_answer import predictions_json
from servers.serving.json_values import array_of, bfloat16_bits, bfloat16_values
from servers.serving.signature import ELEMENT_TYPES, TensorSpec

INTEGERS = sorted(name for name, element in ELEMENT_TYPES.items() if element.kind == "int")
FLOATS = ["FP16", "FP32", "FP64"]


def spec(datatype: str, *shape: int) -> TensorSpec:
    return TensorSpec("x", datatype, shape or (-1, -1))


def attempt(read: Callable[[], np.ndarray[Any, Any]]) -> tuple[np.ndarray[Any, Any] | None, InvalidTensor | None]:
    try:
        return read(), None
    except InvalidTensor as error:
        return None, error


@st.composite
def model_values(draw: st.DrawFn) -> tuple[str, np.ndarray[Any, Any]]:
    """Tensors that a model may give, also those that JSON has no numbers for."""
    datatype = draw(st.sampled_from(sorted(ELEMENT_TYPES)))
    shape = draw(stn.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4))
    if datatype == "BYTES":
        texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
        count = math.prod(shape)
        array = np.array([*draw(st.lists(texts, min_size=count, max_size=count)), None], dtype=object)[:-1]
        return datatype, array.reshape(shape)
    return datatype, draw(stn.arrays(ELEMENT_TYPES[datatype].dtype, shape))


@given(model_values(), st.booleans())
def test_what_a_model_gives_as_json_can_be_given_back_to_a_model_bit_for_bit(typed, has_strings):
    datatype, array = typed
    output = TensorSpec("y", datatype, array.shape)
    answer = json.loads(predictions_json([(output, array)], name="m", version=1, digest="d", prediction_id="p"))["predictions"]
    assume(has_strings or '"' not in json.dumps(answer))

    back = array_of(answer, spec(datatype, *(-1 for _ in array.shape)), "instances", has_strings=has_strings)

    if datatype == "BYTES":
        assert back.tolist() == array.tolist()
    else:
        values = (bfloat16_values(array), bfloat16_values(back)) if datatype == "BF16" else (array, back)
        assert back.dtype == array.dtype
        np.testing.assert_array_equal(*values)  # NaN has many bits and one name


@given(stn.arrays(np.float32, stn.array_shapes(max_dims=2, max_side=4)))
def test_bfloat16_is_the_nearest_with_ties_to_even(array):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    with np.errstate(all="ignore"):
        expected = array.astype(ml_dtypes.bfloat16).astype(np.float32)

    np.testing.assert_array_equal(bfloat16_values(bfloat16_bits(array)), expected)


@pytest.mark.parametrize(
    ("datatype", "value", "expected"),
    [
        ("FP32", [[1, 2.5], [True, 4]], [[1.0, 2.5], [1.0, 4.0]]),
        ("FP32", [["NaN", "Infinity"], ["-Infinity", None]], [[math.nan, math.inf], [-math.inf, math.nan]]),
        ("INT64", [[1, 2.0], [True, -4]], [[1, 2], [1, -4]]),
        ("UINT64", [[2**64 - 1, 0]], [[2**64 - 1, 0]]),
        ("INT64", [[-(2**63), 2**63 - 1]], [[-(2**63), 2**63 - 1]]),
        ("BOOL", [[True, False]], [[True, False]]),
        ("BYTES", [["a\0", ""], ["1", "null"]], [["a\0", ""], ["1", "null"]]),
        ("FP32", [[], []], [[], []]),
        ("INT8", [[]], [[]]),
        ("FP16", [[65504, 1e-10]], [[65504.0, 0.0]]),
    ],
)
def test_values_are_taken_as_people_write_them(datatype, value, expected):
    array = array_of(value, spec(datatype), "instances")

    assert array.dtype == ELEMENT_TYPES[datatype].dtype
    np.testing.assert_array_equal(array, np.array(expected, dtype=ELEMENT_TYPES[datatype].dtype))


@pytest.mark.parametrize("has_strings", [True, False])
@pytest.mark.parametrize(
    ("datatype", "value", "place", "message"),
    [
        ("FP32", [[1, 2], [3]], "x[1]", "got a list of 1; 2 are expected here"),
        ("FP32", [[1, 2], 3], "x[1]", "got 3 where a list is expected: it is not nested deep enough"),
        ("FP32", [[1, [2]]], "x[0][1]", "got a list of 1 where a value is expected: it is nested too deep"),
        ("FP32", [[1, {"a": 1}]], "x[0][1]", "got an object where"),
        ("FP32", 5, "x", "got 5 where a list is expected"),
        ("FP32", None, "x", "got null where a list is expected"),
        ("FP32", {"a": 1}, "x", "got an object where a list is expected"),
        ("INT64", [[1, 2.5]], "x[0][1]", "expects an integer .*got 2.5"),
        ("INT64", [[1, None]], "x[0][1]", "expects an integer .*got null"),
        ("INT64", [[2**63, 0]], "x[0][0]", "9223372036854775808 is out of the range of INT64"),
        ("UINT64", [[2**63, -1]], "x[0][1]", "-1 is out of the range of UINT64"),
        ("UINT64", [[1e30]], "x[0][0]", "1e[+]30 is out of the range"),
        ("INT8", [[1, 127, 128]], "x[0][2]", "128 is out of the range of INT8"),
        ("FP32", [[1, 1e39]], "x[0][1]", "1e[+]39 is out of the range of FP32"),
        ("FP16", [[65504, 65520]], "x[0][1]", "out of the range of FP16"),
        ("BOOL", [[True, 1]], "x[0][1]", "expects true or false .*got 1"),
        ("BYTES", [["a", 1]], "x[0][1]", "expects a string .*got 1"),
        ("BYTES", [["a", None]], "x[0][1]", "expects a string .*got null"),
    ],
)
def test_what_does_not_fit_is_refused_at_its_place(datatype, value, place, message, has_strings):
    with pytest.raises(InvalidTensor, match=message) as raised:
        array_of(value, spec(datatype), "x", has_strings=has_strings)

    assert raised.value.field_violations[0][0] == place
    assert "input `x` expects" in raised.value.message


@pytest.mark.parametrize(
    ("datatype", "value", "message"),
    [
        ("FP32", [["1.5"]], 'expects a number .*got "1.5"'),
        ("INT64", [["1"]], 'expects an integer .*got "1"'),
        ("FP32", [["nan"]], 'got "nan"'),
    ],
)
def test_a_string_is_no_number(datatype, value, message):
    with pytest.raises(InvalidTensor, match=message):
        array_of(value, spec(datatype), "x")


def test_a_fixed_extent_is_named_where_a_row_misses_it():
    with pytest.raises(InvalidTensor, match=r"input `x` expects FP32 \[-1, 3\]; got a list of 2; 3 are expected here") as raised:
        array_of([[1, 2, 3], [1, 2, 3], [1, 2]], spec("FP32", -1, 3), "instances")

    assert raised.value.field_violations[0][0] == "instances[2]"


def test_one_long_string_among_many_numbers_takes_no_room_for_all_of_them():
    value = [[0.5] * 100_000, ["x" * 1_000_000, *[0.5] * 99_999]]

    with pytest.raises(InvalidTensor, match=r"expects a number"):  # numpy alone would ask for 800 GB
        array_of(value, spec("FP32"), "instances")


numbers = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | numbers | st.text(max_size=4)
json_values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3))


@given(json_values, st.sampled_from(sorted(ELEMENT_TYPES)), st.lists(st.integers(-1, 3), max_size=3))
def test_whatever_json_comes_it_is_a_tensor_that_fits_or_refused_at_a_place(value, datatype, shape):
    parsed = orjson.loads(json.dumps(value))
    wanted = spec(datatype, *shape) if shape else TensorSpec("x", datatype, ())
    has_strings = '"' in json.dumps(value)
    array, refusal = attempt(lambda: array_of(parsed, wanted, "instances", has_strings=has_strings))

    if array is not None:
        assert wanted.admits(array.shape)
        assert array.dtype == ELEMENT_TYPES[datatype].dtype
    else:
        assert refusal is not None
        assert refusal.field_violations[0][0].startswith("instances")


@pytest.mark.parametrize("value", [1e300, -3.4e38, 3.4028235e38])
def test_a_number_beyond_bfloat16_is_refused_and_never_made_infinite(value):
    with pytest.raises(InvalidTensor, match="is out of the range of BF16"):
        array_of([1.0, value], TensorSpec("x", "BF16", (-1,)), "inputs")
