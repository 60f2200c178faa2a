"""JSON objects as rows.

Messages come a few at a time, so the type of a column is that of the dataset where there is one: what a file would say by all of its
rows, a batch of messages may say otherwise by chance. Text stays text unless its column is something else.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from servers.ingestion.column_names import check_column_name
from servers.ingestion.data_process.kafka.columns import FAILURES, BadRow, Columns, overridden
from servers.ingestion.data_process.kafka.message import Unreadable
from servers.ingestion.errors import shown
from servers.ingestion.readers.columns import MAX_DEPTH
from servers.ingestion.readers.json_rows import exact_row, keeps_digits
from servers.ingestion.readers.json_types import Clash, LossyNumber, TooManyDigits, is_deeper, joined, type_of
from servers.ingestion.table_errors import InvalidColumn, ValueDoesNotFit
from servers.ingestion.tables import ContractMode, RejectionReason
from servers.ingestion.tables.column_types import common_type, is_text
from servers.ingestion.tables.conversion import REMEDY
from servers.ingestion.tables.lossless import fit

_REFUSING = (ContractMode.EVOLVE, ContractMode.FREEZE)


class JsonPayload:
    """Values that are JSON objects.

    Args:
        column_types: Types of columns instead of those found.
        types: What becomes of values that do not go with the others of their column.
        taken_names: Names of columns that messages must not have.
        most_columns: Most columns of a dataset.
    """

    def __init__(
        self, column_types: Mapping[str, pa.DataType], types: ContractMode, taken_names: Collection[str], most_columns: int
    ) -> None:
        self._column_types = column_types
        self._types = types
        self._taken_names = {name.casefold() for name in taken_names}
        self._most_columns = most_columns

    def parsed(self, value: bytes) -> dict[str, Any]:
        """Returns the object.

        Raises:
            Unreadable: It is none.
        """
        try:
            row = orjson.loads(value)
        except orjson.JSONDecodeError as error:
            raise Unreadable(f"not valid JSON: {error.msg} (character {error.colno})") from None
        if type(row) is not dict:
            raise Unreadable(f"not a JSON object but {shown(row)}")
        if not row:
            raise Unreadable("an object without fields")
        if value.count(b"[") + value.count(b"{") > MAX_DEPTH and is_deeper(row, MAX_DEPTH):
            raise Unreadable(f"lists and objects are nested more than {MAX_DEPTH} levels deep")
        if keeps_digits(value):
            return row
        try:
            return exact_row(value)
        except ValueError:
            raise Unreadable("there is a number with thousands of digits") from None

    def columns(self, rows: Sequence[dict[str, Any]], table: pa.Schema | None) -> Columns:
        """Returns a column for each name that a row has."""
        columns = Columns()
        names = self._names(rows, table, columns.bad)
        usable = [{} if number in columns.bad else row for number, row in enumerate(rows)] if columns.bad else rows
        for name in names:
            known = None if table is None or name not in table.names else table.field(name).type
            columns.add(name, self._column(name, [row.get(name) for row in usable], known, columns))
        return columns

    def _names(self, rows: Sequence[dict[str, Any]], table: pa.Schema | None, bad: dict[int, BadRow]) -> list[str]:
        names = list(dict.fromkeys(chain.from_iterable(rows)))
        spellings = {} if table is None else {name.casefold(): name for name in table.names}
        if all(self._refusal(name, spellings) is None for name in names):
            return names
        spellings = {} if table is None else {name.casefold(): name for name in table.names}
        for number, row in enumerate(rows):
            # A row that is left out must not decide how those after it have to write a name.
            within = dict(spellings)
            refusals = ((name, why) for name in row if (why := self._refusal(name, within)) is not None)
            if (refusal := next(refusals, None)) is not None:
                bad[number] = BadRow(refusal[0][:255], refusal[1])
            else:
                spellings = within
        return list(dict.fromkeys(chain.from_iterable(row for number, row in enumerate(rows) if number not in bad)))

    def _refusal(self, name: str, spellings: dict[str, str]) -> str | None:
        """Says why a name cannot be a column; else notes it."""
        folded = name.casefold()
        if folded in self._taken_names:
            return f"column {shown(name)} is where the message comes from, so nothing else can be called so"
        if (known := spellings.get(folded)) is not None:
            return None if known == name else f"column {shown(name)} is called {shown(known)}, and case does not tell columns apart"
        if len(spellings) >= self._most_columns:
            return f"column {shown(name)} would be one more than the {self._most_columns} that a dataset may have"
        try:
            check_column_name(name)
        except InvalidColumn as error:
            return error.message
        spellings[folded] = name
        return None

    def _column(self, name: str, values: list[Any], known: pa.DataType | None, columns: Columns) -> pa.Array:
        wanted = self._column_types.get(name)
        target = known if wanted is None else wanted
        if target is not None and is_text(target):
            return pa.array([_as_text(value) for value in values], pa.string())
        array = _alike(values, target)
        if array is None:
            array = self._mixed(name, values, target, columns)
        return array if wanted is None else overridden(name, array, wanted, columns.bad)

    def _mixed(self, name: str, values: list[Any], target: pa.DataType | None, columns: Columns) -> pa.Array:
        """Returns values of several types as those of one: that of the dataset, or else of the first value."""
        found, others, bad = pa.null(), [], columns.bad
        for row, value in enumerate(values):
            try:
                together = joined(found, type_of(value))
            except Clash:
                others.append(row)
            except TooManyDigits as error:
                bad.setdefault(row, BadRow(name, f"{error.text[:100]} has more digits than a number keeps"))
            else:
                if _has_names_twice(together):
                    bad.setdefault(row, BadRow(name, f"{shown(value)} has names that differ in case only"))
                else:
                    found = together
        if is_text(found):
            return pa.array([None if row in bad else _as_text(value) for row, value in enumerate(values)], pa.string())
        left_out = {*others, *bad}
        array = _built([None if row in left_out else value for row, value in enumerate(values)], found, target)
        return self._with_others(name, array, values, others, target or array.type, columns) if others else array

    def _with_others(
        self, name: str, array: pa.Array, values: list[Any], others: list[int], target: pa.DataType, columns: Columns
    ) -> pa.Array:
        """Adds values of other types where they are the same as text, such as "5" among numbers."""
        is_other = np.zeros(len(values), dtype=np.bool_)
        is_other[others] = True
        texts = pa.array([_as_text(value) if is_other[row] else None for row, value in enumerate(values)], pa.string())
        fitted = fit(texts, target)
        misfits = [] if fitted.misfits is None else np.flatnonzero(fitted.misfits.to_numpy(zero_copy_only=False)).tolist()
        for row in misfits:
            if self._types in _REFUSING:
                raise ValueDoesNotFit(name, row, str(_as_text(values[row])), str(target), REMEDY)
            if self._types is ContractMode.DISCARD_ROW:
                columns.bad.setdefault(row, BadRow(name, _as_text(values[row]), RejectionReason.VALUE_DOES_NOT_FIT.value))
                columns.texts.setdefault(name, pa.array([_as_text(value) for value in values], pa.string()))
        wider = common_type(target, array.type) or target
        return pc.if_else(pa.array(is_other), fit(fitted.values, wider).values, fit(array, wider).values)


def _alike(values: list[Any], target: pa.DataType | None) -> pa.Array | None:
    """Returns values of one type; None where they are not, or where Arrow does not find out."""
    kinds = set(map(type, values)) - {type(None)}
    if not kinds:
        return pa.nulls(len(values))
    try:
        if kinds == {str}:
            return pa.array(values, pa.string())
        if kinds == {bool}:
            return pa.array(values, pa.bool_())
        if kinds == {int}:
            return pa.array(values, pa.int64())
        if kinds <= {int, float}:
            return pa.array(values, pa.float64())
        if kinds in ({dict}, {list}):
            found = pa.array(values)
            # Arrow takes true among floats for 1.0.
            is_plain = not _has_floats(found.type) and not _has_names_twice(found.type)
            return _built(values, found.type, target) if is_plain else None
    except FAILURES:
        pass
    return None


def _built(values: list[Any], found: pa.DataType, target: pa.DataType | None) -> pa.Array:
    """Returns values without what nobody knows a type of: objects without fields, and fields that are null in all of them."""
    if target is not None and pa.types.is_nested(target) and pa.types.is_nested(found):
        # The dataset does know.
        fitted = fit(pa.array(values, found), target)
        if fitted.misfits is None:
            return fitted.values
    known = _without_unknown(found)
    return pa.nulls(len(values)) if known is None else pa.array(values, known)


def _without_unknown(given: pa.DataType) -> pa.DataType | None:
    if pa.types.is_null(given):
        return None
    if pa.types.is_struct(given):
        fields = [(field.name, known) for field in given if (known := _without_unknown(field.type)) is not None]
        return pa.struct(fields) if fields else None
    if pa.types.is_list(given):
        element = _without_unknown(given.value_type)
        return None if element is None else pa.list_(element)
    return given


def _has_floats(given: pa.DataType) -> bool:
    if pa.types.is_struct(given):
        return any(_has_floats(field.type) for field in given)
    return _has_floats(given.value_type) if pa.types.is_list(given) else bool(pa.types.is_floating(given))


def _has_names_twice(given: pa.DataType) -> bool:
    """Whether there are names that no table tells apart, or that have a NUL."""
    if pa.types.is_struct(given):
        names = [field.name for field in given]
        is_plain = len({name.casefold() for name in names}) == len(names) and not any("\0" in name for name in names)
        return not is_plain or any(_has_names_twice(field.type) for field in given)
    return pa.types.is_list(given) and _has_names_twice(given.value_type)


def _as_text(value: Any) -> str | None:
    """A value as JSON writes it; text without quotes."""
    if value is None or isinstance(value, str):
        return value
    return value.text if isinstance(value, LossyNumber) else json.dumps(value, ensure_ascii=False, default=lambda number: number.text)
