from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from servers.runtime.errors import DomainError
from servers.serving.errors import InvalidPredictBody, InvalidTensor, PredictionTooLarge
from servers.serving.json_body import BodyParser, PredictBody, feeds_of
from servers.serving.signature import Signature, TensorSpec

PARSER = BodyParser(max_bytes=10_000_000, max_rows=1000)
ONE = Signature((TensorSpec("x", "FP32", (-1, 2), ("N", "")),), ())
TABLE = Signature(
    (TensorSpec("carrier", "BYTES", (-1, 1)), TensorSpec("distance", "FP32", (-1, 1)), TensorSpec("month", "INT64", (-1, 1))), ()
)


def feeds(signature: Signature, body: object) -> dict[str, Any]:
    return {name: array.tolist() for name, array in feeds_of(signature, PARSER.parse(json.dumps(body).encode())).items()}


def test_rows_become_the_one_input():
    assert feeds(ONE, {"instances": [[1, 2], [3, 4]]}) == {"x": [[1, 2], [3, 4]]}


def test_rows_of_objects_become_columns_whose_single_values_need_no_brackets():
    rows = [{"month": 1, "carrier": "AA", "distance": 10.5}, {"distance": None, "carrier": "", "month": 2}]

    columns = feeds(TABLE, {"instances": rows})

    assert columns["carrier"] == [["AA"], [""]]
    assert columns["month"] == [[1], [2]]
    assert columns["distance"][0] == [10.5]
    assert np.isnan(columns["distance"][1][0])


def test_rows_of_objects_may_have_the_brackets():
    rows = [{"month": [1], "carrier": ["AA"], "distance": [10.5]}]

    assert feeds(TABLE, {"instances": rows}) == {"carrier": [["AA"]], "distance": [[10.5]], "month": [[1]]}


def test_columns_by_name():
    body = {"inputs": {"carrier": [["AA"]], "distance": [[1]], "month": [[2]]}}

    assert feeds(TABLE, body) == {"carrier": [["AA"]], "distance": [[1]], "month": [[2]]}


def test_bare_columns_where_there_is_one_input():
    assert feeds(ONE, {"inputs": [[1, 2]]}) == {"x": [[1, 2]]}


@pytest.mark.parametrize("data", [[1, 2, 3, 4], [[1, 2], [3, 4]]])
def test_tensors_take_their_data_flat_or_nested(data):
    tensor = {"name": "x", "datatype": "FP32", "shape": [2, 2], "data": data}

    assert feeds(ONE, {"tensors": [tensor]}) == {"x": [[1, 2], [3, 4]]}


def test_a_vector_takes_bare_rows():
    signature = Signature((TensorSpec("x", "FP32", (-1,)),), ())

    assert feeds(signature, {"instances": [1, 2, 3]}) == {"x": [1, 2, 3]}


def test_no_rows_make_an_empty_batch_where_the_row_is_known():
    assert feeds_of(ONE, PARSER.parse(b'{"instances": []}'))["x"].shape == (0, 2)


@pytest.mark.parametrize(
    ("signature", "body", "field", "message"),
    [
        (ONE, {"instances": 5}, "instances", "a list with one entry a row; got 5"),
        (ONE, {"instances": [[1, 2], {"x": [1, 2]}]}, "instances[1]", "got an object where a list is expected"),
        (ONE, {"instances": [{"x": [1, 2]}, [1, 2]]}, "instances[1]", "the first instance is an object, so every one has to be"),
        (ONE, {"instances": [{"z": [1, 2]}]}, "instances[0].z", "no input `z`; its inputs are `x`"),
        (ONE, {"instances": [{"x": [1, "a"]}]}, "instances[0].x[1]", 'expects a number .*got "a"'),
        (ONE, {"instances": [{"x": [1, 2]}, {"x": [1]}]}, "instances[1].x", "got a list of 1; 2 are expected"),
        (TABLE, {"instances": [[1, 2]]}, "instances[0]", "has 3 inputs, so each instance is an object keyed by input name: `carrier`"),
        (TABLE, {"instances": [{"carrier": "a", "distance": 1}]}, "instances[0].month", r"`month` \(INT64 \[-1, 1\]\) is missing"),
        (TABLE, {"instances": [{"carrier": "a", "distance": 1, "month": "May"}]}, "instances[0].month", 'expects an integer .*got "May"'),
        (TABLE, {"inputs": [[1]]}, "inputs", "`inputs` is an object with one entry an input"),
        (TABLE, {"inputs": {"carrier": [["a"]], "distance": [[1]]}}, "inputs.month", "is missing"),
        (ONE, {"inputs": {"x": [[1, 2], [3]]}}, "inputs.x[1]", "got a list of 1; 2 are expected"),
        (ONE, {"tensors": {}}, "tensors", "is a list of objects"),
        (ONE, {"tensors": [1]}, "tensors[0]", "expected an object"),
        (ONE, {"tensors": []}, "tensors.x", "`x` .* is missing"),
        (ONE, {"tensors": [{"name": "x"}]}, "tensors[0].datatype", "`datatype` is missing; a tensor has name, datatype, shape, data"),
        (
            ONE,
            {"tensors": [{"name": "x", "datatype": "F32", "shape": [1, 2], "data": [1, 2]}]},
            "tensors[0].datatype",
            'expects FP32 .*got "F32"; datatypes are BOOL',
        ),
        (ONE, {"tensors": [{"name": 5, "datatype": "FP32", "shape": [1, 2], "data": []}]}, "tensors[0].name", "no input 5"),
        (
            ONE,
            {"tensors": [{"name": "x", "datatype": "FP32", "shape": [-1, 2], "data": []}]},
            "tensors[0].shape",
            "whole numbers, 0 or more",
        ),
        (ONE, {"tensors": [{"name": "x", "datatype": "FP32", "shape": [1, 3], "data": []}]}, "tensors[0].shape", r"got FP32 \[1, 3\]"),
        (ONE, {"tensors": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1]}]}, "tensors[0].data", "1 values do not make"),
        (ONE, {"tensors": [{"name": "x", "datatype": "FP32", "shape": [2, 2], "data": [[1, 2]]}]}, "tensors[0].data", "nested as"),
    ],
)
def test_inputs_that_do_not_fit_are_refused_at_their_place(signature, body, field, message):
    with pytest.raises(InvalidTensor, match=message) as raised:
        feeds(signature, body)

    assert raised.value.field_violations[0][0] == field


@pytest.mark.parametrize(
    ("body", "field", "message"),
    [
        (b"", "body", "not valid JSON"),
        (b"{", "body", "not valid JSON"),
        (b'{"instances": [[NaN]]}', "body", 'write them as "NaN"'),
        (b"[1]", "body", "expected an object such as"),
        (b'{"rows": []}', "rows", "unknown field `rows`; known are instances, inputs, tensors"),
        (b'{"instances": [], "project": "a"}', "project", "`project` is a query parameter"),
        (b"{}", "instances", "exactly one of instances, inputs, tensors is required; got none"),
        (b'{"instances": [], "inputs": {}}', "inputs", "got instances and inputs"),
        (b'{"instances": [], "version": 0}', "version", "expected a version number, 1 or more; got 0"),
        (b'{"instances": [], "version": true}', "version", "got true"),
        (b'{"instances": [], "version": 1.5}', "version", "got 1.5"),
        (b'{"instances": [], "alias": 5}', "alias", "expected a string"),
        (b'{"instances": [], "model": ""}', "model", "expected a string of 1 to 255 characters"),
        (b'{"instances": [], "output_names": "y"}', "output_names", "expected a list of output names"),
        (b"[" * 100_000, "body", "not valid JSON"),
    ],
)
def test_a_body_that_is_no_prediction_is_refused(body, field, message):
    with pytest.raises(InvalidPredictBody, match=message) as raised:
        PARSER.parse(body)

    assert raised.value.field_violations[0][0] == field


def test_a_body_says_which_version_and_which_outputs():
    body = PARSER.parse(b'{"inputs": {}, "model": "m", "version": "3", "output_names": ["y"]}')

    assert (body.model, body.version, body.output_names) == ("m", 3, ("y",))


def test_sizes_are_capped():
    parser = BodyParser(max_bytes=1000, max_rows=2)

    with pytest.raises(PredictionTooLarge, match="1001 bytes; at most 1000"):
        parser.open(b" " * 1001)
    with pytest.raises(PredictionTooLarge, match="3 instances; at most 2"):
        parser.open(b'{"instances": [1, 2, 3]}')


OPTIONAL = Signature((TensorSpec("x", "FP32", (-1, 2)), TensorSpec("t", "FP32", (1,), is_optional=True)), ())


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ({"instances": [[1, 2]]}, ["x"]),
        ({"instances": [{"x": [1, 2]}]}, ["x"]),
        ({"inputs": [[1, 2]]}, ["x"]),
        ({"inputs": {"x": [[1, 2]], "t": [3]}}, ["x", "t"]),
        ({"tensors": [{"name": "x", "datatype": "FP32", "shape": [0, 2], "data": []}]}, ["x"]),
    ],
)
def test_an_input_with_a_value_of_its_own_may_be_left_out(body, names):
    assert list(feeds(OPTIONAL, body)) == names


def test_an_input_that_is_one_for_all_rows_is_not_given_a_row():
    with pytest.raises(InvalidTensor, match=r"instances\[0\]\.t: input `t` is one for all rows; send `inputs`"):
        feeds(OPTIONAL, {"instances": [{"x": [1, 2], "t": [3]}]})


json_scalars = st.none() | st.booleans() | st.integers(-(2**64), 2**64) | st.floats(allow_nan=False) | st.text(max_size=5)
keys = st.sampled_from(["x", "name", "datatype", "shape", "data"]) | st.text(max_size=3)
json_documents = st.recursive(
    json_scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
)
bodies = st.dictionaries(
    st.sampled_from(["instances", "inputs", "tensors", "model", "version", "alias", "stage", "output_names"]), json_documents, max_size=3
)


def refusal_of(signature: Signature, body: bytes) -> DomainError | None:
    try:
        feeds_of(signature, PARSER.parse(body))
    except DomainError as error:
        return error
    return None


@given(bodies, st.sampled_from([ONE, TABLE]))
def test_whatever_json_comes_it_is_answered_or_refused_naming_a_field(document, signature):
    refusal = refusal_of(signature, json.dumps(document).encode())

    assert refusal is None or (isinstance(refusal, (InvalidPredictBody, InvalidTensor)) and refusal.field_violations)


@given(st.binary(max_size=200))
def test_whatever_bytes_come_they_are_refused_with_a_reason(body):
    refusal = refusal_of(ONE, body)

    assert refusal is None or refusal.field_violations


def strings_below(value: object) -> bool:
    if isinstance(value, dict):
        return bool(value.keys()) or any(map(strings_below, value.values()))
    return isinstance(value, str) or (isinstance(value, list) and any(map(strings_below, value)))


@given(bodies)
def test_strings_among_the_values_are_never_overlooked(document):
    parsed: PredictBody | None = None
    try:
        parsed = PARSER.parse(json.dumps(document).encode())
    except DomainError:
        return
    values = parsed.values
    if isinstance(values, dict):
        hidden = any(map(strings_below, values.values()))
    elif parsed.form == "tensors" and isinstance(values, list):
        hidden = any(strings_below(tensor.get("data")) for tensor in values if isinstance(tensor, dict))
    else:
        hidden = strings_below(values)
    assert parsed.has_strings or not hidden
