"""Record batches of Arrow to columns and keys. Imports pyarrow, so only processes that work on data import it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from servers.features.online.columns import Column, Lists, Strings
from servers.features.online.errors import InvalidEntityKey, InvalidFeatureValue
from servers.features.online.feature_types import Feature, FeatureType, VectorSchema
from servers.features.online.keys import MAX_KEY_BYTES, JoinKey, JoinKeyType, entity_keys
from servers.features.online.vectors import MAX_VECTOR_BYTES, encode_vectors

__all__ = ["arrow_type", "column_of", "keys_of_batch", "vectors_of_batch"]

_TIMESTAMP = pa.timestamp("us", "UTC")
_SCALARS = {
    "bool": pa.bool_(),
    "date": pa.date32(),
    "timestamp": _TIMESTAMP,
    "string": pa.large_string(),
    "bytes": pa.large_binary(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    **{f"{sign}int{bits}": getattr(pa, f"{sign}int{bits}")() for sign in ("", "u") for bits in (8, 16, 32, 64)},
}


def vectors_of_batch(
    schema: VectorSchema,
    batch: pa.RecordBatch,
    event_time: str,
    write_times_us: np.ndarray[Any, Any],
    *,
    max_vector_bytes: int = MAX_VECTOR_BYTES,
) -> list[bytes]:
    """Return a vector for each row of a batch.

    Args:
        schema: What they hold; the batch has a column of each feature's name.
        batch: The rows.
        event_time: Column with the event times, which have a zone and no nulls.
        write_times_us: `(rows,) int64`, microseconds since 1970-01-01 UTC.
        max_vector_bytes: Largest vector.

    Raises:
        InvalidFeatureValue: If a column is missing, a value cannot be cast to its feature's type without loss, a list has a null in it, an
            event time is null or has no zone, or a vector is too large.
    """
    columns = [column_of(feature, _column(batch, feature.name)) for feature in schema.features]
    times = _column(batch, event_time)
    if times.null_count:
        raise InvalidFeatureValue(f"the event time `{event_time}` is null in {times.null_count:,} rows; every row needs one")
    column = column_of(Feature(event_time, FeatureType("timestamp", np.dtype("<i8"))), times)
    assert isinstance(column.values, np.ndarray)  # noqa: S101 - a timestamp has a fixed width
    return encode_vectors(schema, columns, column.values, write_times_us, max_vector_bytes=max_vector_bytes)


def keys_of_batch(
    join_keys: Sequence[JoinKey], batch: pa.RecordBatch, names: Sequence[str], *, max_key_bytes: int = MAX_KEY_BYTES
) -> list[bytes]:
    """Return the entity's key for each row of a batch.

    Args:
        join_keys: The parts of the key, in the entity's order.
        batch: The rows.
        names: The column of each part.
        max_key_bytes: Longest key.

    Raises:
        InvalidEntityKey: If a column is missing, or has nulls or another type.
    """
    columns: list[Any] = []
    for join_key, name in zip(join_keys, names, strict=True):
        if name not in batch.schema.names:
            raise InvalidEntityKey(f"column `{name}` of join key `{join_key.name}` is missing; there are {batch.schema.names[:50]}")
        columns.append(_key_column(join_key, batch.column(name)))
    return entity_keys(join_keys, columns, max_key_bytes=max_key_bytes)


def arrow_type(feature_type: FeatureType) -> pa.DataType:
    """Return the type that a column of a feature has, or can be cast to without loss."""
    if feature_type.is_decimal:
        precision = int(feature_type.name.removeprefix("decimal(").partition(",")[0])
        return pa.decimal128(precision, feature_type.scale)
    if feature_type.is_list:
        return pa.large_list(_SCALARS[feature_type.name.removeprefix("list<").removesuffix(">")])
    return _SCALARS[feature_type.name]


def column_of(feature: Feature, array: pa.Array) -> Column:
    """Return a column of Arrow.

    Raises:
        InvalidFeatureValue: If a value cannot be cast to the feature's type without loss, or a list has a null in it.
    """
    wanted = arrow_type(feature.type)
    cast = _cast(feature, array, wanted)
    is_null = cast.is_null().to_numpy(zero_copy_only=False)
    if feature.type.is_list:
        values = cast.values
        used = (
            values.slice(cast.offsets[0].as_py(), cast.offsets[-1].as_py() - cast.offsets[0].as_py()) if len(cast) else values.slice(0, 0)
        )
        if used.null_count and cast.flatten().null_count:
            raise InvalidFeatureValue(f"feature `{feature.name}` is {feature.type.name}; a list of it has a null in it, which is not kept")
        offsets = _offsets(cast)
        elements = _strings(used) if feature.type.element is None else _fixed(used, feature.type.element)
        return Column(feature.type, is_null, Lists(offsets, elements))
    if feature.type.dtype is None:
        return Column(feature.type, is_null, _strings(cast))
    return Column(feature.type, is_null, _fixed(cast, feature.type.dtype))


def _column(batch: pa.RecordBatch, name: str) -> pa.Array:
    if name not in batch.schema.names:
        raise InvalidFeatureValue(f"column `{name}` is missing; there are {batch.schema.names[:50]}")
    return batch.column(name)


def _cast(feature: Feature, array: pa.Array, wanted: pa.DataType) -> pa.Array:
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    given = array.type
    is_allowed = given == wanted or pa.types.is_null(given) or _is_like(given, wanted)
    if not is_allowed:
        raise InvalidFeatureValue(f"feature `{feature.name}` is {feature.type.name}; a column of {given} is not")
    try:
        cast = array.cast(wanted)
    except pa.ArrowInvalid as error:
        raise InvalidFeatureValue(f"feature `{feature.name}` is {feature.type.name}, and a value is not: {str(error)[:200]}") from None
    _check_overflow(feature, array, cast)
    return cast


def _check_overflow(feature: Feature, given: pa.Array, cast: pa.Array) -> None:
    if feature.type.is_list and not pa.types.is_null(given.type):
        given, cast = given.flatten(), cast.flatten()
    # Arrow makes infinity of a number that is too large, and says nothing.
    if pa.types.is_floating(cast.type) and pa.types.is_floating(given.type) and cast.type.bit_width < given.type.bit_width:
        is_lost = pc.and_(pc.is_inf(cast), pc.is_finite(given))
        if pc.any(is_lost).as_py():
            raise InvalidFeatureValue(f"feature `{feature.name}` is {feature.type.name}, and a value is too large for it")


def _is_like(given: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether values of a type are values of another one: casts of Arrow go further, such as from text to numbers."""
    types = pa.types
    if types.is_large_list(wanted):
        is_list = types.is_list(given) or types.is_large_list(given) or types.is_fixed_size_list(given)
        inner = given.value_type if is_list else None
        return bool(is_list) and (inner == wanted.value_type or types.is_null(inner) or _is_like(inner, wanted.value_type))
    if types.is_timestamp(wanted):
        return bool(types.is_timestamp(given)) and given.tz is not None
    kinds: tuple[tuple[Any, tuple[Any, ...]], ...] = (
        (types.is_decimal, (types.is_decimal,)),
        (types.is_large_string, (types.is_string, types.is_string_view)),
        (types.is_large_binary, (types.is_binary, types.is_fixed_size_binary, types.is_binary_view)),
        # Rounding a float64 to a float32 is what whoever declares float32 asks for.
        (types.is_floating, (types.is_floating, types.is_integer)),
        (types.is_integer, (types.is_integer,)),
        (types.is_date, (types.is_date,)),
    )
    return any(is_kind(wanted) and any(is_given(given) for is_given in givens) for is_kind, givens in kinds)


def _fixed(array: pa.Array, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    if pa.types.is_boolean(array.type):
        return np.asarray(array.fill_null(False).to_numpy(zero_copy_only=False), dtype)
    # The buffer itself: to_numpy makes objects or NaN of what has nulls.
    buffer = array.buffers()[1]
    if not len(array) or buffer is None:
        return np.zeros(len(array), dtype)
    return np.frombuffer(buffer, dtype, len(array), array.offset * dtype.itemsize)


def _offsets(array: pa.Array) -> np.ndarray[Any, Any]:
    buffer = array.buffers()[1]
    if not len(array) or buffer is None:
        return np.zeros(len(array) + 1, np.int64)
    offsets: np.ndarray[Any, Any] = np.frombuffer(buffer, "<i8", len(array) + 1, array.offset * 8)
    return np.asarray(offsets - offsets[0])


def _strings(array: pa.Array) -> Strings:
    buffers = array.buffers()
    if not len(array) or buffers[1] is None or buffers[2] is None:
        return Strings(np.zeros(len(array) + 1, np.int64), b"")
    begin, end = (int(np.frombuffer(buffers[1], "<i8", 1, (array.offset + at) * 8)[0]) for at in (0, len(array)))
    return Strings(_offsets(array), memoryview(buffers[2])[begin:end])


def _key_column(join_key: JoinKey, array: pa.Array) -> Any:
    given, kind = array.type, join_key.type
    if pa.types.is_dictionary(given):
        array = array.dictionary_decode()
        given = array.type
    if array.null_count:
        raise InvalidEntityKey(f"join key `{join_key.name}` is null in {array.null_count:,} rows; an entity's key has no nulls")
    wanted = {
        JoinKeyType.BOOL: pa.bool_(),
        JoinKeyType.INT64: pa.int64(),
        JoinKeyType.STRING: pa.large_string(),
        JoinKeyType.BYTES: pa.large_binary(),
        JoinKeyType.DATE: pa.date32(),
        JoinKeyType.TIMESTAMP: _TIMESTAMP,
    }[kind]
    if given != wanted and not _is_like(given, wanted):
        raise InvalidEntityKey(f"join key `{join_key.name}` is {kind}; a column of {given} is not")
    try:
        cast = array.cast(wanted)
    except pa.ArrowInvalid as error:
        raise InvalidEntityKey(f"join key `{join_key.name}` is {kind}, and a value is not: {str(error)[:200]}") from None
    if kind in (JoinKeyType.STRING, JoinKeyType.BYTES):
        return cast.to_pylist()
    return _fixed(cast, np.dtype({JoinKeyType.BOOL: "?", JoinKeyType.DATE: "<i4"}.get(kind, "<i8")))
