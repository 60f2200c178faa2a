from __future__ import annotations

from collections import UserDict
from datetime import UTC, date, datetime, time
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import pytest
from google.protobuf.struct_pb2 import Struct
from hypothesis import given
from hypothesis import strategies as st
from mlmesh.json_values import NotJson, fill_struct, plain_struct
from mlops.ingestion.v1 import ingestion_pb2, ingestion_service_pb2

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | TEXT | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


def struct_of(mapping: Any) -> Struct:
    struct = Struct()
    fill_struct(struct, mapping)
    return struct


@given(st.dictionaries(TEXT, JSON, max_size=4))
def test_json_comes_back_as_it_was(mapping: dict[str, Any]) -> None:
    assert plain_struct(Struct.FromString(struct_of(mapping).SerializeToString())) == mapping


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (datetime(2026, 11, 27, 12, 30, tzinfo=UTC), "2026-11-27T12:30:00+00:00"),
        (date(2026, 11, 27), "2026-11-27"),
        (time(12, 30), "12:30:00"),
        (np.int64(7), 7),
        (np.float32(0.5), 0.5),
        ((1, "a"), [1, "a"]),
        (UserDict(a=[]), {"a": []}),
        ({}, {}),
        (2**53, 2**53),
        (-0.5, -0.5),
    ],
)
def test_what_json_has_another_form_of_takes_that_form(value: object, written: object) -> None:
    assert plain_struct(struct_of({"x": value})) == {"x": written}


@pytest.mark.parametrize(
    ("value", "problem", "hint"),
    [
        (float("nan"), "nan is no number", "None"),
        (float("-inf"), "-inf is no number", "None"),
        (pd.NaT, "NaT is no moment", "None"),
        (pd.NA, "NAType", "None"),
        (2**53 + 1, r"9007199254740993 is beyond 2\^53", "NDJSON"),
        (-(2**53) - 1, r"beyond 2\^53", "NDJSON"),
        pytest.param(10**5000, r"the number is beyond 2\^53", "NDJSON", id="endless"),
        (np.uint64(2**63), r"beyond 2\^53", "NDJSON"),
        (Decimal("1.10"), "1.10 is a Decimal", "Parquet"),
        (Fraction(1, 3), "Fraction", "float"),
        (b"x", "bytes", "base64"),
        ({1, 2}, "is a set", "list"),
        ({1: "x"}, "key 1, which is not text", "text"),
        ("\ud800", "not Unicode text", "surrogate"),
    ],
)
def test_what_json_does_not_have_is_refused_with_what_to_do(value: object, problem: str, hint: str) -> None:
    with pytest.raises(NotJson, match=problem) as refused:
        struct_of({"x": value})
    assert hint in refused.value.hint
    assert refused.value.path == "x"


def test_a_refusal_says_where_the_value_stands() -> None:
    with pytest.raises(NotJson) as refused:
        struct_of({"stops": [{"name": "a"}, {"name": b"b"}]})
    assert refused.value.path == "stops[1].name"


def test_a_key_that_is_not_unicode_is_refused() -> None:
    with pytest.raises(NotJson, match="not Unicode text"):
        struct_of({"\ud800": 1})


@pytest.mark.parametrize("wrap", [lambda inner: {"x": inner}, lambda inner: [inner]], ids=["objects", "lists"])
def test_what_holds_itself_is_refused_and_what_is_taken_can_be_read(wrap: Any) -> None:
    nested: Any = 1
    for _ in range(29):
        nested = wrap(nested)
    rows = ingestion_pb2.InlineRows(rows=[struct_of({"x": nested})])
    request = ingestion_service_pb2.IngestDataRequest(source=ingestion_pb2.Source(rows=rows))
    assert ingestion_service_pb2.IngestDataRequest.FromString(request.SerializeToString()) == request
    with pytest.raises(NotJson, match="nested more than 30 levels"):
        struct_of({"x": wrap(nested)})
