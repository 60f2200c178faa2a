from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from servers.serving.json_answer import predictions_json
from servers.serving.signature import TensorSpec


def predictions(*outputs: tuple[str, str, np.ndarray[Any, Any]]) -> Any:
    specs = [(TensorSpec(name, datatype, array.shape), array) for name, datatype, array in outputs]
    return json.loads(predictions_json(specs, name="m", version=2, digest="sha256:d", prediction_id="p"))["predictions"]


def test_the_answer_says_who_answered():
    answer = json.loads(
        predictions_json([(TensorSpec("y", "FP32", (1,)), np.ones(1, "f4"))], name="m", version=2, digest="sha256:d", prediction_id="p")
    )

    assert answer == {"predictions": [1.0], "model": {"name": "m", "version": 2, "digest": "sha256:d"}, "prediction_id": "p"}


def test_one_output_answers_its_rows():
    assert predictions(("y", "FP32", np.array([[1, 2], [3, 4]], "f4"))) == [[1, 2], [3, 4]]


def test_several_outputs_answer_objects_keyed_by_output():
    label = np.array([1, 0], "i8")
    probabilities = np.array([[0.25, 0.75], [1, 0]], "f4")

    assert predictions(("label", "INT64", label), ("probabilities", "FP32", probabilities)) == [
        {"label": 1, "probabilities": [0.25, 0.75]},
        {"label": 0, "probabilities": [1.0, 0.0]},
    ]


def test_strings_and_numbers_stand_beside_each_other():
    label = np.array(["late", "ünïcødé\0"], dtype=object)

    assert predictions(("label", "BYTES", label), ("score", "FP32", np.array([1, np.nan], "f4"))) == [
        {"label": "late", "score": 1.0},
        {"label": "ünïcødé\0", "score": "NaN"},
    ]


def test_outputs_without_a_row_in_common_answer_one_entry_with_everything():
    assert predictions(("a", "FP32", np.array([1, 2], "f4")), ("b", "FP32", np.array(3, "f4"))) == [{"a": [1, 2], "b": 3}]
    assert predictions(("a", "FP32", np.array([1, 2], "f4")), ("b", "INT8", np.array([1], "i1"))) == [{"a": [1, 2], "b": [1]}]
    assert predictions(("b", "FP32", np.array(3, "f4"))) == [3]


def test_a_binary32_is_written_exactly():
    value = np.array([0.1, 1e-45, 3.4028235e38], "f4")

    assert predictions(("y", "FP32", value)) == value.tolist()


def test_numbers_that_json_lacks_are_spelt_out():
    value = np.array([np.nan, np.inf, -np.inf, 1], "f8")

    assert predictions(("y", "FP64", value)) == ["NaN", "Infinity", "-Infinity", 1.0]
    assert predictions(("y", "BF16", np.array([0x3FC0, 0x7FC0], "u2"))) == [1.5, "NaN"]


@pytest.mark.parametrize("shape", [(0,), (0, 3), (2, 0)])
def test_no_values_make_empty_lists(shape):
    assert predictions(("y", "FP32", np.zeros(shape, "f4"))) == np.zeros(shape).tolist()


def test_integers_and_booleans_stay_what_they_are():
    assert predictions(("y", "UINT64", np.array([2**64 - 1], "u8"))) == [2**64 - 1]
    assert predictions(("y", "BOOL", np.array([[True, False]]))) == [[True, False]]


def test_a_column_that_is_not_contiguous_is_written_right():
    assert predictions(("y", "FP32", np.arange(6, dtype="f4").reshape(2, 3).T)) == [[0, 3], [1, 4], [2, 5]]
