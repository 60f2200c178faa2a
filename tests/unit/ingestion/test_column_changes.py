"""What may become of columns."""

from __future__ import annotations

import pytest

from servers.ingestion.column_changes import ColumnChanges
from servers.ingestion.table_errors import ColumnTaken, InvalidColumn, InvalidSchemaChange, NoColumnLeft
from servers.runtime.errors import DomainError

COLUMNS = ["a", "b", "c", "Zürich 🛬"]


@pytest.mark.parametrize(
    ("renamed", "dropped", "expected"),
    [
        ({"a": "z"}, [], {"a": "z", "b": "b", "c": "c", "Zürich 🛬": "Zürich 🛬"}),
        ({"a": "b", "b": "a"}, [], {"a": "b", "b": "a", "c": "c", "Zürich 🛬": "Zürich 🛬"}),
        ({"a": "b", "b": "c", "c": "d"}, [], {"a": "b", "b": "c", "c": "d", "Zürich 🛬": "Zürich 🛬"}),
        ({"a": "b"}, ["b"], {"a": "b", "c": "c", "Zürich 🛬": "Zürich 🛬"}),
        ({"a": "A", "Zürich 🛬": "🛫"}, ["c"], {"a": "A", "b": "b", "Zürich 🛬": "🛫"}),
        ({}, ["c", "b", "a"], {"Zürich 🛬": "Zürich 🛬"}),
    ],
)
def test_columns_stay_in_their_order_with_their_new_names(renamed: dict[str, str], dropped: list[str], expected: dict[str, str]) -> None:
    staying = ColumnChanges(renamed, dropped).applied(COLUMNS)

    assert list(staying.items()) == list(expected.items())


@pytest.mark.parametrize(
    ("renamed", "dropped", "error", "said"),
    [
        ({}, [], InvalidSchemaChange, "nothing is to be changed"),
        ({"a": "z"}, ["a"], InvalidSchemaChange, "'a'"),
        ({"a": "a"}, [], InvalidSchemaChange, "called already"),
        ({"a": "z", "b": "Z"}, [], InvalidSchemaChange, "cannot both become"),
        ({"a": ""}, [], InvalidColumn, "cannot be stored"),
        ({"a": "tick`"}, [], InvalidColumn, "backtick"),
        ({"a": "new\nline"}, [], InvalidColumn, "control character"),
        ({"a": "x" * 256}, [], InvalidColumn, "255"),
        ({"gone": "z"}, [], InvalidColumn, "'a', 'b', 'c'"),
        ({}, ["A"], InvalidColumn, "is not in the table"),
        ({"a": "b"}, [], ColumnTaken, "'b'"),
        ({"a": "B"}, [], ColumnTaken, "'b'"),
        ({"a": "c", "b": "a"}, [], ColumnTaken, "'c'"),
        ({}, COLUMNS, NoColumnLeft, "at least one"),
    ],
)
def test_what_cannot_be_is_refused_with_its_reason(
    renamed: dict[str, str], dropped: list[str], error: type[DomainError], said: str
) -> None:
    with pytest.raises(error, match=said):
        ColumnChanges(renamed, dropped).applied(COLUMNS)
