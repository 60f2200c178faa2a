"""Which Delta type a delivered Arrow type becomes, and which type holds the values of two."""

from __future__ import annotations

import pyarrow as pa
from pyarrow import types

from servers.ingestion.column_names import check_column_name
from servers.ingestion.table_errors import InvalidColumn

INSTANT = pa.timestamp("us", tz="UTC")
"""A point in time."""
WALL_TIME = pa.timestamp("us")
"""What a clock shows, nobody knows where."""

_MAX_DECIMAL_DIGITS = 38
_INTEGERS = (pa.int8(), pa.int16(), pa.int32(), pa.int64())
_INTEGER_DIGITS = {pa.int8(): 3, pa.int16(): 5, pa.int32(): 10, pa.int64(): 19}
_UNSIGNED = {pa.uint8(): pa.int16(), pa.uint16(): pa.int32(), pa.uint32(): pa.int64(), pa.uint64(): pa.int64()}


def checked_schema(schema: pa.Schema) -> pa.Schema:
    """Returns the schema a table has for a delivery: every type as Delta knows it, every column nullable.

    Args:
        schema: Of the delivery.

    Returns:
        A schema with the same names. A column of type null stays so: nobody knows its type yet.

    Raises:
        InvalidColumn: If a name or a type cannot be stored.
    """
    seen: dict[str, str] = {}
    for name in schema.names:
        check_column_name(name)
        if (other := seen.setdefault(name.casefold(), name)) is not name or schema.names.count(name) > 1:
            raise InvalidColumn(name, f"and column {other!r} have the same name, as case does not count", "rename one of them")
    return pa.schema([pa.field(field.name, delta_type(field.type, field.name)) for field in schema])


def delta_type(arrow_type: pa.DataType, column: str) -> pa.DataType:
    """Returns the type a column gets in a new table.

    deltalake itself turns uint64 into int64 by wrapping around, and dies of nanoseconds, time zones, float16 and others.

    Args:
        arrow_type: As delivered.
        column: Its name, for the error.

    Raises:
        InvalidColumn: If Delta has no type for it.
    """
    if arrow_type in _UNSIGNED:
        return _UNSIGNED[arrow_type]
    if types.is_float16(arrow_type):
        return pa.float32()
    if types.is_dictionary(arrow_type):
        return delta_type(arrow_type.value_type, column)
    if is_text(arrow_type):
        return pa.string()
    if is_binary(arrow_type):
        return pa.binary()
    if types.is_date(arrow_type):
        return pa.date32()
    if types.is_timestamp(arrow_type):
        return WALL_TIME if arrow_type.tz is None else INSTANT
    if types.is_decimal(arrow_type) and arrow_type.precision <= _MAX_DECIMAL_DIGITS and 0 <= arrow_type.scale <= arrow_type.precision:
        return pa.decimal128(arrow_type.precision, arrow_type.scale)
    if is_list(arrow_type):
        return pa.list_(pa.field("element", delta_type(arrow_type.value_type, column)))
    if types.is_map(arrow_type):
        return pa.map_(delta_type(arrow_type.key_type, column), delta_type(arrow_type.item_type, column))
    if types.is_struct(arrow_type):
        _check_names_within(arrow_type, column)
        return pa.struct([pa.field(field.name, delta_type(field.type, column)) for field in arrow_type])
    if arrow_type in _INTEGERS or types.is_floating(arrow_type) or types.is_boolean(arrow_type) or types.is_null(arrow_type):
        return arrow_type
    remedy = "allowed are booleans, numbers (decimals up to 38 digits), text, bytes, dates, timestamps, lists, maps, structs; send text"
    raise InvalidColumn(column, f"has the type {arrow_type}, which tables do not have", remedy)


def _check_names_within(struct: pa.StructType, column: str) -> None:
    """Refuses names that deltalake 1.6 cuts at a NUL, or cannot tell apart, as case does not count."""
    seen: dict[str, str] = {}
    for field in struct:
        if "\0" in field.name:
            raise InvalidColumn(column, f"has a field {field.name!r}, which cannot be stored", "give it a name without a NUL character")
        folded = field.name.casefold()
        if folded in seen:
            problem = f"has fields {seen[folded]!r} and {field.name!r}, which have the same name, as case does not count"
            raise InvalidColumn(column, problem, "rename one of them")
        seen[folded] = field.name


def common_type(table_type: pa.DataType, delivered: pa.DataType) -> pa.DataType | None:
    """Returns the type a column is widened to, so that it holds its old values and the delivered ones.

    Whole numbers beside floats become float64, which is exact up to 2^53: whoever widens checks the values.

    Args:
        table_type: A Delta type.
        delivered: Any Arrow type that `delta_type` knows.

    Returns:
        A Delta type; None where no type holds both without a change of meaning.
    """
    other = pa.decimal128(20, 0) if types.is_uint64(delivered) else delta_type(delivered, "")
    if table_type == other or types.is_null(other):
        return table_type
    numbers = {table_type, other}
    if numbers <= set(_INTEGERS):
        return max(numbers, key=_INTEGERS.index)
    if any(map(types.is_floating, numbers)) and all(types.is_floating(each) or each in _INTEGERS for each in numbers):
        return pa.float32() if numbers <= {pa.float32(), pa.int8(), pa.int16()} else pa.float64()
    if any(map(types.is_decimal, numbers)) and all(types.is_decimal(each) or each in _INTEGERS for each in numbers):
        return _common_decimal(*numbers)
    if numbers == {pa.date32(), WALL_TIME}:
        return WALL_TIME
    return _common_nested(table_type, other)


def _common_decimal(left: pa.DataType, right: pa.DataType) -> pa.DataType | None:
    digits_before, digits_after = 0, 0
    for each in (left, right):
        before, after = (each.precision - each.scale, each.scale) if types.is_decimal(each) else (_INTEGER_DIGITS[each], 0)
        digits_before, digits_after = max(digits_before, before), max(digits_after, after)
    digits = digits_before + digits_after
    return pa.decimal128(digits, digits_after) if digits <= _MAX_DECIMAL_DIGITS else None


def _common_nested(left: pa.DataType, right: pa.DataType) -> pa.DataType | None:
    if types.is_list(left) and types.is_list(right):
        element = common_type(left.value_type, right.value_type)
        return None if element is None else pa.list_(pa.field("element", element))
    if types.is_map(left) and types.is_map(right) and left.key_type == right.key_type:
        item = common_type(left.item_type, right.item_type)
        return None if item is None else pa.map_(left.key_type, item)
    return _common_struct(left, right) if types.is_struct(left) and types.is_struct(right) else None


def _common_struct(left: pa.DataType, right: pa.DataType) -> pa.DataType | None:
    """Fields of both, those of the table first; an object that lacks one has null there."""
    fields: dict[str, pa.DataType | None] = {field.name: field.type for field in left}
    for field in right:
        known = fields.get(field.name)
        if known is not None:
            fields[field.name] = common_type(known, field.type)
        elif not types.is_null(field.type):
            fields[field.name] = field.type
    is_unique = len({name.casefold() for name in fields}) == len(fields)
    return pa.struct(list(fields.items())) if is_unique and all(each is not None for each in fields.values()) else None


def is_binary(arrow_type: pa.DataType) -> bool:
    """Says whether values are bytes."""
    layouts = (types.is_binary, types.is_large_binary, types.is_fixed_size_binary, types.is_binary_view)
    return any(is_layout(arrow_type) for is_layout in layouts)


def is_list(arrow_type: pa.DataType) -> bool:
    """Says whether values are lists."""
    return any(is_layout(arrow_type) for is_layout in (types.is_list, types.is_large_list, types.is_fixed_size_list))


def is_text(arrow_type: pa.DataType) -> bool:
    """Says whether values are text."""
    return any(is_layout(arrow_type) for is_layout in (types.is_string, types.is_large_string, types.is_string_view))


def is_number(arrow_type: pa.DataType) -> bool:
    """Says whether values are numbers."""
    return any(is_kind(arrow_type) for is_kind in (types.is_integer, types.is_floating, types.is_decimal))
