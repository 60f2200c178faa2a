"""Arrow's many types as the ones that a Delta table holds, without losing a digit.

| from | to |
|---|---|
| text and binary of any layout (large, view, fixed size, dictionary, run-end) | `string`, `binary` |
| unsigned integers | the next signed type; `uint64` becomes `decimal128(20, 0)` |
| `float16` | `float32` |
| `date64` | `date32` |
| timestamps | `timestamp[us]`; with any zone the same instant in UTC |
| time of day | `string` in ISO 8601, such as `13:05:00.250000`: Delta has no such type |
| duration | `int64`, in microseconds: likewise |
| decimals of other widths | `decimal128` of the same precision and scale |
| lists and maps of any layout, structs | `list`, `map`, `struct` of plain types |
| `null` | `string` |
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from servers.ingestion.readers.text_types import MAX_DIGITS

_UNSIGNED = {pa.uint8(): pa.int16(), pa.uint16(): pa.int32(), pa.uint32(): pa.int64(), pa.uint64(): pa.decimal128(20, 0)}


def plain_type(given: pa.DataType) -> pa.DataType | None:
    """The type that tables hold for a type, or None if there is none (unions, intervals, more than 38 digits)."""
    kind = pa.types
    if isinstance(given, pa.BaseExtensionType):
        return plain_type(given.storage_type)
    if kind.is_dictionary(given) or kind.is_run_end_encoded(given):
        return plain_type(given.value_type)
    if kind.is_struct(given):
        fields = [(given[index].name, _plain_within(given[index].type)) for index in range(given.num_fields)]
        return pa.struct(fields) if fields and all(child for _, child in fields) else None
    if kind.is_map(given):
        key, item = _plain_within(given.key_type), _plain_within(given.item_type)
        return pa.map_(key, item) if key and item else None
    if _is_list(given) or _is_list_view(given):
        value = _plain_within(given.value_type)
        return pa.list_(value) if value else None
    return _plain_scalar(given)


def _is_list(given: pa.DataType) -> bool:
    return bool(pa.types.is_list(given) or pa.types.is_large_list(given) or pa.types.is_fixed_size_list(given))


def _is_list_view(given: pa.DataType) -> bool:
    return bool(pa.types.is_list_view(given) or pa.types.is_large_list_view(given))


def _plain_within(given: pa.DataType) -> pa.DataType | None:
    """The type for a part of another, where all that Arrow can do is to cast; and a cast forgets the unit of a duration."""
    if pa.types.is_duration(given) or pa.types.is_run_end_encoded(given) or _is_list_view(given):
        return None
    return None if isinstance(given, pa.BaseExtensionType) else plain_type(given)


def _plain_scalar(given: pa.DataType) -> pa.DataType | None:
    kind = pa.types
    if kind.is_string(given) or kind.is_large_string(given) or kind.is_string_view(given) or kind.is_null(given) or kind.is_time(given):
        return pa.string()
    if kind.is_binary(given) or kind.is_large_binary(given) or kind.is_fixed_size_binary(given) or kind.is_binary_view(given):
        return pa.binary()
    if kind.is_decimal(given):
        return (
            pa.decimal128(given.precision, given.scale) if given.precision <= MAX_DIGITS and 0 <= given.scale <= given.precision else None
        )
    if kind.is_timestamp(given):
        return pa.timestamp("us", "UTC" if given.tz else None)
    if kind.is_date(given):
        return pa.date32()
    if kind.is_duration(given):
        return pa.int64()
    if kind.is_float16(given):
        return pa.float32()
    if kind.is_signed_integer(given) or kind.is_floating(given) or kind.is_boolean(given):
        return given
    return _UNSIGNED.get(given)


def plain_array(values: pa.Array, target: pa.DataType) -> pa.Array:
    """An array in the type that `plain_type` gives for its own, or in one that a caller wants.

    Raises:
        pyarrow.ArrowException: If a value would lose something.
    """
    if values.type == target:
        return values
    if isinstance(values, pa.ExtensionArray):
        return plain_array(values.storage, target)
    kind = pa.types
    if kind.is_run_end_encoded(values.type):
        return plain_array(pc.run_end_decode(values), target)
    if _is_list_view(values.type):
        # Arrow 26 casts it to an array without its last offset.
        ends = pc.cumulative_sum(pc.list_value_length(values).fill_null(0).cast(pa.int32()))
        offsets = pa.concat_arrays([pa.array([0], pa.int32()), ends])
        return plain_array(pa.ListArray.from_arrays(offsets, values.flatten(), mask=values.is_null()), target)
    if kind.is_duration(values.type) and kind.is_int64(target):
        return values.cast(pa.duration("us")).cast(target)
    return values.cast(target)


def notes(field: pa.Field) -> Iterator[str]:
    """What a person should know about a column whose type has no counterpart."""
    if pa.types.is_time(field.type):
        yield f"column {field.name!r}: times of day become text such as 13:05:00.250000"
    if pa.types.is_duration(field.type):
        yield f"column {field.name!r}: durations become whole microseconds"
