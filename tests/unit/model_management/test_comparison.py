from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_management import DatasetReference, Lineage, ModelVersion, Signature, TensorSpec, VersionState
from model_management.comparison import compare, is_compatible

NOW = datetime(2026, 1, 1, tzinfo=UTC)
VERSION = ModelVersion("default", "m", 1, VersionState.READY, NOW, NOW)
SPECS = st.builds(
    TensorSpec, st.sampled_from("abc"), st.sampled_from(["FP32", "INT64"]), st.lists(st.sampled_from([-1, 1, 3]), max_size=2).map(tuple)
)
SIGNATURES = st.builds(
    Signature,
    st.lists(SPECS, max_size=3, unique_by=lambda spec: spec.name).map(tuple),
    st.lists(SPECS, max_size=3, unique_by=lambda spec: spec.name).map(tuple),
)


@given(SIGNATURES)
def test_every_signature_takes_its_own_place(signature):
    assert is_compatible(signature, signature)


@given(SIGNATURES, SIGNATURES, SIGNATURES)
def test_taking_the_place_is_transitive(first, second, third):
    if is_compatible(first, second) and is_compatible(second, third):
        assert is_compatible(first, third)


def spec(name, shape, datatype="FP32"):
    return TensorSpec(name, datatype, shape)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (Signature((spec("x", (1, 3)),)), Signature((spec("x", (-1, 3)),)), True),
        (Signature((spec("x", (-1, 3)),)), Signature((spec("x", (1, 3)),)), False),
        (Signature((spec("x", (3,)),)), Signature((spec("x", (3,), "FP64"),)), False),
        (Signature((spec("x", (3,)),)), Signature((spec("x", (3,)), spec("y", (3,)))), False),
        (Signature((), (spec("y", (-1,)),)), Signature((), (spec("y", (1,)),)), True),
        (Signature((), (spec("y", (1,)),)), Signature((), (spec("y", (-1,)),)), False),
        (Signature((), (spec("y", (1,)),)), Signature(()), False),
    ],
)
def test_a_second_may_take_more_and_give_more_but_not_less(first, second, expected):
    assert is_compatible(first, second) is expected


def test_differences_name_the_field_and_both_values():
    other = replace(
        VERSION,
        version=2,
        metrics={"auc": 0.5},
        lineage=Lineage((DatasetReference("flights", "s3://x", "v1"),), run_id="r"),
        create_time=datetime(2027, 1, 1, tzinfo=UTC),
    )
    found = {difference.field: (difference.value, difference.other_value) for difference in compare(VERSION, other).differences}
    assert found == {"metrics.auc": ("", "0.5"), "lineage.datasets.flights": ("", "s3://x v1"), "lineage.run_id": ("", "r")}


def test_nothing_is_known_to_be_compatible_without_signatures():
    assert not compare(VERSION, VERSION).is_signature_compatible
