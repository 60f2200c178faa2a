"""Vectors: all features of one entity in one piece of bytes, written and read many at a time.

| bytes | what |
|---|---|
| 8 + 8 | event time and write time, see `recency` |
| 16 | fingerprint of the schema |
| – | values of fixed width, the widest types first, within a type in the schema's order; zero where null |
| 4 each | where each value of variable width ends, counted from the end of the fixed part |
| ⌈features ÷ 8⌉ | which features are null, the lowest bit first |
| – | values of variable width in the schema's order; empty where null |

All but the times is little-endian. A list of texts is their count, the length of each (4 bytes each), and their UTF-8.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np

from servers.features.online.columns import Column, Lists, Strings, offsets_of
from servers.features.online.errors import InvalidFeatureValue
from servers.features.online.feature_types import Feature, VectorSchema
from servers.features.online.recency import TIMES_BYTES, time_prefix

__all__ = ["MAX_VECTOR_BYTES", "DecodedVectors", "RowState", "decode_vectors", "encode_vectors"]

MAX_VECTOR_BYTES = 1 << 20
"""Largest vector that is made by default, in bytes."""

_SIGN = np.uint64(1 << 63)
_FINGERPRINT_END = TIMES_BYTES + 16
_COUNT = np.dtype("<u4")
_TEXT_LISTS = "list<string>"


class RowState(IntEnum):
    """What a vector turned out to be."""

    READ = 1
    """All of its values were read."""
    ABSENT = 2
    """There is none."""
    TOO_OLD = 3
    """Its event time is before the one that was asked for. None of its values was read."""
    FOREIGN = 4
    """Not a vector of this schema: another fingerprint, or bytes that were cut. None of its values was read."""


@dataclass(frozen=True, slots=True, eq=False)
class DecodedVectors:
    """Vectors as columns.

    Args:
        columns: Values by the name of the feature, in the schema's order. Null in every row that is not READ.
        is_null: `(features, rows) bool`; the columns' own, together.
        states: `(rows,) uint8` of `RowState`.
        event_times_us: `(rows,) int64`, microseconds since 1970-01-01 UTC; 0 where ABSENT or FOREIGN.
        write_times_us: `(rows,) int64`, likewise.
    """

    columns: Mapping[str, Column]
    is_null: np.ndarray[Any, Any]
    states: np.ndarray[Any, Any]
    event_times_us: np.ndarray[Any, Any]
    write_times_us: np.ndarray[Any, Any]


def encode_vectors(
    schema: VectorSchema,
    columns: Sequence[Column],
    event_times_us: np.ndarray[Any, Any],
    write_times_us: np.ndarray[Any, Any],
    *,
    max_vector_bytes: int = MAX_VECTOR_BYTES,
) -> list[bytes]:
    """Return a vector for each row.

    Args:
        schema: What they hold.
        columns: Values of each feature, in the schema's order.
        event_times_us: `(rows,) int64`, microseconds since 1970-01-01 UTC.
        write_times_us: `(rows,) int64`, likewise.
        max_vector_bytes: Largest vector.

    Raises:
        InvalidFeatureValue: If the columns are not those of the schema or not equally long, or a vector is too large.
    """
    layout = _layout_of(schema)
    rows = len(event_times_us)
    given = [column.type for column in columns]
    if given != [feature.type for feature in schema.features] or {rows, len(write_times_us)} != {rows, *map(len, columns)}:
        raise InvalidFeatureValue(
            f"{rows:,} vectors of {[feature.type.name for feature in schema.features][:20]} take columns of these types and that many rows;"
            f" got {[f'{column.type.name} ({len(column):,})' for column in columns][:20]}"
        )
    heads = np.zeros(rows, layout.dtype)
    heads["event_time"], heads["write_time"] = _turned(event_times_us), _turned(write_times_us)
    heads["fingerprint"] = np.void(schema.fingerprint)
    nulls = np.column_stack([column.is_null for column in columns])
    heads["nulls"] = np.packbits(nulls, axis=1, bitorder="little")
    for place, column in zip(layout.places, columns, strict=True):
        if place.group is not None:
            heads[place.group][:, place.index] = _without_nulls(column)
    bodies = [_bodies(column) for place, column in zip(layout.places, columns, strict=True) if place.group is None]
    if bodies:
        ends = np.cumsum([np.fromiter(map(len, body), np.int64, rows) for body in bodies], axis=0)
        _check_sizes(ends[-1] + layout.head_bytes, max_vector_bytes)
        heads["ends"] = ends.T
    elif rows:
        _check_sizes(np.array([layout.head_bytes]), max_vector_bytes)
    raw, width = heads.tobytes(), layout.head_bytes
    # Slices of Python are copies of whole values: gathering the same bytes by an index array of numpy takes longer.
    whole = [raw[start : start + width] for start in range(0, rows * width, width)]
    return [b"".join(row) for row in zip(whole, *bodies, strict=True)] if bodies else whole


def decode_vectors(schema: VectorSchema, vectors: Sequence[bytes | None], *, oldest_event_time_us: int | None = None) -> DecodedVectors:
    """Return vectors as columns.

    Args:
        schema: What they should hold. One that holds something else is FOREIGN, and is not read.
        vectors: The vectors; None where there is none.
        oldest_event_time_us: Vectors of earlier events are TOO_OLD and not read, in microseconds since 1970-01-01 UTC; by default all
            are read.
    """
    layout = _layout_of(schema)
    oldest = b"" if oldest_event_time_us is None else time_prefix(oldest_event_time_us)
    width, blank, fingerprint = layout.head_bytes, layout.blank, schema.fingerprint
    heads: list[bytes] = []
    states = bytearray()
    # Python 3.11 looks a member of an enumeration up for half as long as the rest of a row takes.
    read, absent, too_old, foreign = (int(state) for state in (RowState.READ, RowState.ABSENT, RowState.TOO_OLD, RowState.FOREIGN))
    for vector in vectors:
        if vector is None:
            heads.append(blank)
            states.append(absent)
        elif vector[TIMES_BYTES:_FINGERPRINT_END] != fingerprint or len(vector) < width:
            heads.append(blank)
            states.append(foreign)
        elif vector[:8] < oldest:
            heads.append(vector[:TIMES_BYTES] + blank[TIMES_BYTES:])
            states.append(too_old)
        else:
            heads.append(vector if len(vector) == width else vector[:width])
            states.append(read)
    table = np.frombuffer(b"".join(heads), layout.dtype)
    row_states = np.frombuffer(states, np.uint8).copy()
    _mark_cut(layout, table, vectors, row_states)
    variable = {feature.name: _variable_values(layout, table, vectors, row_states, place, feature) for place, feature in layout.variable}
    # Last, since a cut list of texts is found only when it is read.
    is_null = np.unpackbits(table["nulls"], axis=1, count=len(schema.features), bitorder="little").view(np.bool_).T
    is_unread = row_states != read
    if is_unread.any():
        is_null = is_null | is_unread
    fixed = {group: table[group].T for group in layout.groups}
    columns = {
        feature.name: Column(feature.type, nulls, variable[feature.name] if place.group is None else fixed[place.group][place.index])
        for place, feature, nulls in zip(layout.places, schema.features, is_null, strict=True)
    }
    has_times = (row_states == read) | (row_states == too_old)
    event_times, write_times = (np.where(has_times, _turned_back(table[name]), 0) for name in ("event_time", "write_time"))
    return DecodedVectors(columns, is_null, row_states, event_times, write_times)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a feature is: a column of a group of the head, or, without a group, a number among the values of variable width."""

    group: str | None
    index: int
    dtype: np.dtype[Any] | None


@dataclass(frozen=True, slots=True)
class _Layout:
    dtype: np.dtype[Any]
    groups: tuple[str, ...]
    places: tuple[_Place, ...]
    variable: tuple[tuple[_Place, Feature], ...]
    blank: bytes

    @property
    def head_bytes(self) -> int:
        return self.dtype.itemsize


@lru_cache(maxsize=1024)
def _layout_of(schema: VectorSchema) -> _Layout:
    groups: dict[str, np.dtype[Any]] = {}
    counts: dict[str, int] = {}
    places: list[_Place] = []
    variable = 0
    for feature in schema.features:
        dtype = feature.type.dtype
        if dtype is None:
            places.append(_Place(None, variable, None))
            variable += 1
            continue
        group = f"values of {dtype.str}"
        groups[group] = dtype
        places.append(_Place(group, counts.get(group, 0), dtype))
        counts[group] = counts.get(group, 0) + 1
    fields: list[tuple[str, Any] | tuple[str, Any, tuple[int]]] = [("event_time", ">u8"), ("write_time", ">u8"), ("fingerprint", "V16")]
    fields += [(group, groups[group], (counts[group],)) for group in sorted(groups, key=lambda group: (-groups[group].itemsize, group))]
    fields += [("ends", _COUNT, (variable,))] if variable else []
    fields.append(("nulls", "u1", (-(-len(schema.features) // 8),)))
    dtype = np.dtype(fields)
    pairs = tuple((place, feature) for place, feature in zip(places, schema.features, strict=True) if place.group is None)
    return _Layout(dtype, tuple(groups), tuple(places), pairs, bytes(dtype.itemsize))


def _turned(times_us: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return times_us.astype(np.int64, casting="safe").view(np.uint64) ^ _SIGN


def _turned_back(times: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return (times.astype(np.uint64) ^ _SIGN).view(np.int64)


def _check_sizes(sizes: np.ndarray[Any, Any], max_vector_bytes: int) -> None:
    if len(sizes) and (largest := int(sizes.max())) > max_vector_bytes:
        raise InvalidFeatureValue(
            f"a vector has at most {max_vector_bytes:,} bytes; the one of row {int(sizes.argmax())} would have {largest:,}"
        )


def _without_nulls(column: Column) -> np.ndarray[Any, Any]:
    values: Any = column.values
    # What stands under a null is anything; the same row has to be the same bytes.
    return np.where(column.is_null, np.zeros(1, column.type.dtype), values) if column.is_null.any() else np.asarray(values)


def _bodies(column: Column) -> list[bytes]:
    values = column.values
    if isinstance(values, Strings):
        bodies = values.pieces()
    elif isinstance(values, Lists) and isinstance(values.elements, Strings):
        bodies = _text_list_bodies(values, values.elements)
    elif isinstance(values, Lists) and column.type.element is not None:
        dtype = column.type.element
        bodies = Strings(values.offsets * dtype.itemsize, np.asarray(values.elements, dtype).tobytes()).pieces()
    else:
        raise TypeError(f"values of {column.type.name} are not kept as {type(values).__name__}")
    for row in np.flatnonzero(column.is_null).tolist():
        bodies[row] = b""
    return bodies


def _text_list_bodies(lists: Lists, texts: Strings) -> list[bytes]:
    bounds = lists.offsets.tolist()
    lengths = np.diff(texts.offsets).astype(_COUNT).tobytes()
    counts = np.diff(lists.offsets).astype(_COUNT).tobytes()
    ends, data = texts.offsets.tolist(), bytes(texts.data)
    return [
        counts[row * 4 : row * 4 + 4] + lengths[start * 4 : end * 4] + data[ends[start] : ends[end]]
        for row, (start, end) in enumerate(pairwise(bounds))
    ]


def _mark_cut(layout: _Layout, table: np.ndarray[Any, Any], vectors: Sequence[bytes | None], states: np.ndarray[Any, Any]) -> None:
    sizes = np.fromiter((0 if vector is None else len(vector) for vector in vectors), np.int64, len(vectors))
    is_whole = sizes == layout.head_bytes
    if layout.variable:
        ends = table["ends"].astype(np.int64)
        lengths = np.diff(ends, axis=1, prepend=0)
        is_whole = (sizes == layout.head_bytes + ends[:, -1]) & (lengths >= 0).all(axis=1)
        for place, feature in layout.variable:
            if feature.type.element is not None:
                is_whole &= lengths[:, place.index] % feature.type.element.itemsize == 0
    states[(states == RowState.READ) & ~is_whole] = RowState.FOREIGN


def _variable_values(
    layout: _Layout,
    table: np.ndarray[Any, Any],
    vectors: Sequence[bytes | None],
    states: np.ndarray[Any, Any],
    place: _Place,
    feature: Feature,
) -> Strings | Lists:
    ends = table["ends"].astype(np.int64) + layout.head_bytes
    starts = ends[:, place.index - 1] if place.index else np.full(len(table), layout.head_bytes)
    is_read = (states == RowState.READ).tolist()
    rows = zip(vectors, is_read, starts.tolist(), ends[:, place.index].tolist(), strict=True)
    bodies = [vector[start:end] if read and vector is not None else b"" for vector, read, start, end in rows]
    if feature.type.name == _TEXT_LISTS:
        return _text_lists(bodies, states)
    offsets, data = offsets_of(list(map(len, bodies))), b"".join(bodies)
    if feature.type.element is None:
        strings = Strings(offsets, data)
        if feature.type.name == "string":
            _mark_no_text(strings, np.arange(len(bodies) + 1), states)
        return strings
    return Lists(offsets // feature.type.element.itemsize, np.frombuffer(data, feature.type.element))


def _text_lists(bodies: Sequence[bytes], states: np.ndarray[Any, Any]) -> Lists:
    lengths: list[np.ndarray[Any, Any]] = []
    texts: list[bytes] = []
    nothing = np.zeros(0, _COUNT)
    for row, body in enumerate(bodies):
        count = int.from_bytes(body[:4], "little")
        begin = 4 * (count + 1)
        own = np.frombuffer(body, _COUNT, count, 4) if count and begin <= len(body) else nothing
        is_whole = not body or (len(own) == count and begin + int(own.sum(dtype=np.int64)) == len(body))
        if not is_whole:
            states[row] = RowState.FOREIGN
        lengths.append(own if is_whole else nothing)
        texts.append(body[begin:] if is_whole else b"")
    offsets = offsets_of(list(map(len, lengths)))
    strings = Strings(offsets_of(np.concatenate([nothing, *lengths])), b"".join(texts))
    _mark_no_text(strings, offsets, states)
    return Lists(offsets, strings)


def _mark_no_text(strings: Strings, offsets: np.ndarray[Any, Any], states: np.ndarray[Any, Any]) -> None:
    """Finds rows of texts that are no UTF-8; looks at each only where all together are none, or one begins within a character."""
    starts = strings.offsets[:-1][np.diff(strings.offsets) > 0]
    begins_within = (np.frombuffer(strings.data, np.uint8)[starts] & 0xC0) == 0x80
    if not begins_within.any() and _is_text(strings.data):
        return
    pieces = strings.pieces()
    for row, (start, end) in enumerate(pairwise(offsets.tolist())):
        if not all(map(_is_text, pieces[start:end])):
            states[row] = RowState.FOREIGN


def _is_text(data: bytes | memoryview) -> bool:
    try:
        str(data, "utf-8")
    except UnicodeDecodeError:
        return False
    return True
