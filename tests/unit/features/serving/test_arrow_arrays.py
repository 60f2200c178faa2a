"""Columns and arrays are each other's way back."""

from __future__ import annotations

from datetime import UTC
from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from servers.features.online import Feature, feature_type, python_values
from servers.features.online.arrow_columns import arrow_type, column_of
from servers.features.serving.arrow_arrays import arrow_array

_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "bool": st.booleans(),
    "uint64": st.integers(0, 2**64 - 1),
    "int8": st.integers(-128, 127),
    "float32": st.floats(width=32, allow_nan=False),
    "date": st.dates(),
    "timestamp": st.datetimes(timezones=st.just(UTC)),
    "decimal(38, 10)": st.decimals(-(10**20), 10**20, places=10),
    "string": st.text(st.characters(codec="utf-8"), max_size=5),
    "bytes": st.binary(max_size=5),
    "list<float64>": st.lists(st.floats(allow_nan=False), max_size=3),
    "list<string>": st.lists(st.text(st.characters(codec="utf-8"), max_size=3), max_size=3),
}


@given(st.data(), st.sampled_from(list(_VALUES)))
def test_an_array_made_of_a_column_has_its_values(data: st.DataObject, name: str) -> None:
    values = data.draw(st.lists(st.none() | _VALUES[name], max_size=20))
    its_type = feature_type(name)
    feature, array = Feature("x", its_type), pa.array(values, arrow_type(its_type))
    for part in (array, array[1:-1]):
        made = arrow_array(column_of(feature, part))
        made.validate(full=True)
        assert made.type == arrow_type(its_type)
        assert made.to_pylist() == part.to_pylist()
        assert python_values(column_of(feature, made)) == python_values(column_of(feature, part))
