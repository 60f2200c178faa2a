from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_management.signature import DATATYPES, Signature, TensorSpec

NAMES = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=40)
SPECS = st.builds(TensorSpec, NAMES, st.sampled_from(sorted(DATATYPES)), st.lists(st.integers(-1, 9), max_size=4).map(tuple))
UNIQUE = st.lists(SPECS, max_size=5, unique_by=lambda spec: spec.name).map(tuple)


@given(st.builds(Signature, UNIQUE, UNIQUE))
def test_a_signature_survives_json(signature: Signature) -> None:
    assert Signature.from_dict(json.loads(json.dumps(signature.to_dict()))) == signature


@pytest.mark.parametrize(
    ("name", "datatype", "shape", "what"),
    [
        ("", "FP32", (), "name"),
        ("a\n", "FP32", (), "name"),
        ("x" * 513, "FP32", (), "name"),
        ("x", "float32", (), "allowed are"),
        ("x", "FP32", (-2,), "dimension"),
    ],
)
def test_a_tensor_that_cannot_be_served_is_refused(name: str, datatype: str, shape: tuple[int, ...], what: str) -> None:
    with pytest.raises(ValueError, match=what):
        TensorSpec(name, datatype, shape)


def test_a_name_occurs_once_among_the_inputs() -> None:
    spec = TensorSpec("x", "FP32", (-1,))
    with pytest.raises(ValueError, match=r"twice: \['x'\]"):
        Signature((spec, spec), ())
    assert Signature((spec,), (spec,)).inputs == Signature((spec,), (spec,)).outputs


@pytest.mark.parametrize(
    "value", [{}, {"name": "x"}, {"name": "x", "datatype": "FP32", "shape": "12"}, {"name": 1, "datatype": "FP32", "shape": []}]
)
def test_malformed_json_is_refused(value: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="a tensor is an object"):
        TensorSpec.from_dict(value)
