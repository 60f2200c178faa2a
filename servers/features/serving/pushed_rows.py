"""Pushed rows: read, checked, and made into keys and vectors before anything is stored. Imports pyarrow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
from google.protobuf.struct_pb2 import Struct
from mlops.features.v1 import feature_serving_service_pb2 as pb

from servers.features.definitions.records import ViewVersion
from servers.features.online import Column, Feature, FeatureType, OnlineRow, encode_vectors, entity_keys, feature_type, python_values
from servers.features.online.arrow_columns import arrow_type, column_of
from servers.features.online.errors import InvalidEntityKey, InvalidFeatureValue
from servers.features.serving.arrow_arrays import arrow_array
from servers.features.serving.errors import EventTimeInFuture, InvalidPushedRows, TooManyPushedRows
from servers.features.serving.pushed_json import Read, read_moment, reader_of

__all__ = ["PushLimits", "PushedRows", "pushed_rows"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_DAY_US = 86_400_000_000
_EARLIEST_US = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
_LATEST_US = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
_MOMENT = pa.timestamp("us", "UTC")
_SHOWN = 30


@dataclass(frozen=True)
class PushLimits:
    """What a push may be.

    Args:
        rows: Most rows.
        future_s: How far its times may be in the future, in seconds.
    """

    rows: int = 10_000
    future_s: float = 300.0


@dataclass(frozen=True)
class PushedRows:
    """Rows of a view that are right.

    Args:
        online: For the online store.
        newest_event_time: Of them.
        arrays: Their columns as the source has them.
    """

    online: list[OnlineRow]
    newest_event_time: datetime
    arrays: Mapping[str, pa.Array]

    def arrow_file(self, types: Mapping[str, str]) -> bytes:
        """Returns the rows as a file of Arrow's IPC format.

        Args:
            types: Types of the columns in the dataset, as Arrow writes them, as far as they are known: times become what they are there.

        Raises:
            InvalidPushedRows: INVALID_ARGUMENT: the dataset has days in a column of times, and a time is none.
        """
        arrays = {name: _as_in_dataset(name, array, types.get(name, "")) for name, array in self.arrays.items()}
        batch = pa.record_batch(arrays)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, batch.schema) as writer:
            writer.write_batch(batch)
        return bytes(sink.getvalue())


def pushed_rows(view: ViewVersion, request: pb.PushFeaturesRequest, limits: PushLimits, now: datetime) -> PushedRows:
    """Reads the rows of a push.

    Args:
        view: Of which they are.
        request: Has them.
        limits: What it may be.
        now: The time; also when rows were written that do not say it.

    Raises:
        InvalidPushedRows: INVALID_ARGUMENT: a row or a column is not as the view has it.
        TooManyPushedRows: INVALID_ARGUMENT.
        EventTimeInFuture: INVALID_ARGUMENT.
    """
    types = _column_types(view)
    if request.HasField("arrow_stream"):
        given = _of_arrow(request.arrow_stream, types, limits)
    else:
        given = _of_json(request.rows.rows, types, limits)
    now_us = (now - _EPOCH) // _MICROSECOND
    columns = {name: _column(name, its_type, given[name]) for name, its_type in types.items() if its_type is not None}
    event_times, write_times = _times(view, given, now_us)
    for name, times in ((view.spec.event_time_column, event_times), (view.spec.write_time_column, write_times)):
        if name:
            _check_times(name, times, now_us, limits)
    online = [OnlineRow(*row) for row in zip(_keys(view, columns), _vectors(view, given, columns, event_times, write_times), strict=True)]
    arrays = {name: arrow_array(column) for name, column in columns.items()}
    arrays.setdefault(view.spec.event_time_column, pa.array(event_times).cast(_MOMENT))
    if view.spec.write_time_column:
        arrays[view.spec.write_time_column] = pa.array(write_times).cast(_MOMENT)
    return PushedRows(online, _EPOCH + int(event_times.max()) * _MICROSECOND, arrays)


def _column_types(view: ViewVersion) -> dict[str, FeatureType | None]:
    """Types of the columns that rows have, by name; None where it is a time of the row alone."""
    types: dict[str, FeatureType | None] = {}
    for key in view.keys:
        types.setdefault(key.column, feature_type(key.join_key.type))
    for feature in view.spec.features:
        types.setdefault(feature.column or feature.name, feature_type(feature.type))
    types.setdefault(view.spec.event_time_column, None)
    if view.spec.write_time_column:
        types.setdefault(view.spec.write_time_column, None)
    return types


def _of_json(rows: Sequence[Struct], types: Mapping[str, FeatureType | None], limits: PushLimits) -> dict[str, pa.Array]:
    _check_count(len(rows), limits)
    readers: dict[str, Read] = {name: read_moment if its_type is None else reader_of(its_type) for name, its_type in types.items()}
    values: dict[str, list[Any]] = {name: [] for name in types}
    for number, row in enumerate(rows):
        fields = row.fields
        if unknown := set(fields) - types.keys():
            raise InvalidPushedRows(f"the view has no such column; it has {_listed(types)}", row=number, column=min(unknown))
        for name, read in readers.items():
            value = fields.get(name)
            if value is None or value.WhichOneof("kind") == "null_value":
                values[name].append(None)
                continue
            try:
                values[name].append(read(value))
            except ValueError as error:
                raise InvalidPushedRows(str(error), row=number, column=name) from None
    return {name: pa.array(values[name], _MOMENT if its_type is None else arrow_type(its_type)) for name, its_type in types.items()}


def _of_arrow(stream: bytes, types: Mapping[str, FeatureType | None], limits: PushLimits) -> dict[str, pa.Array]:
    batches: list[pa.RecordBatch] = []
    rows = 0
    try:
        with pa.ipc.open_stream(stream) as reader:
            names = reader.schema.names
            _check_columns(names, types)
            for batch in reader:
                rows += batch.num_rows
                _check_count(rows, limits, is_whole=False)
                # What comes from elsewhere may point outside of its buffers.
                batch.validate(full=True)
                batches.append(batch)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InvalidPushedRows(f"arrow_stream is no stream of Arrow's IPC format: {str(error)[:200]}") from None
    _check_count(rows, limits)
    table = pa.Table.from_batches(batches)
    given = {name: table.column(name).combine_chunks() for name in names}
    return {name: given[name] if name in given else pa.nulls(rows) for name in types}


def _check_columns(names: Sequence[str], types: Mapping[str, FeatureType | None]) -> None:
    for name in names:
        if name not in types:
            raise InvalidPushedRows(f"the view has no such column; it has {_listed(types)}", column=name)
        if names.count(name) > 1:
            raise InvalidPushedRows("it comes twice", column=name)


def _check_count(rows: int, limits: PushLimits, *, is_whole: bool = True) -> None:
    if rows > limits.rows:
        raise TooManyPushedRows(rows, limits.rows)
    if is_whole and not rows:
        raise InvalidPushedRows("there are no rows; push at least one")


def _listed(types: Mapping[str, object]) -> str:
    return ", ".join(list(types)[:_SHOWN]) + (f" and {len(types) - _SHOWN} more" if len(types) > _SHOWN else "")


def _column(name: str, its_type: FeatureType, array: pa.Array) -> Column:
    try:
        return column_of(Feature(name, its_type), array)
    except InvalidFeatureValue as error:
        row = _first_bad(array, lambda part: column_of(Feature(name, its_type), part))
        raise InvalidPushedRows(error.message, row=row, column=name) from None


def _first_bad(array: pa.Array, read: Callable[[pa.Array], object]) -> int | None:
    """Number of the first value that cannot be read; None where it is the type of all of them."""

    def is_read(count: int) -> bool:
        try:
            read(array.slice(0, count))
        except (InvalidFeatureValue, pa.ArrowInvalid):
            return False
        return True

    good, bad = 0, len(array)
    if not is_read(0):
        return None
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if is_read(middle) else (good, middle)
    return good


def _times(view: ViewVersion, given: Mapping[str, pa.Array], now_us: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Event times and write times, `(rows,) int64`, microseconds since 1970-01-01 UTC."""
    spec = view.spec
    array = _moments(spec.event_time_column, given[spec.event_time_column])
    if array.null_count:
        row = array.is_null().index(True).as_py()
        raise InvalidPushedRows("the event time is missing; every row needs one", row=row, column=spec.event_time_column)
    event_times = array.cast(pa.int64()).to_numpy()
    if not spec.write_time_column:
        return event_times, np.full(len(event_times), now_us)
    written = _moments(spec.write_time_column, given[spec.write_time_column])
    return event_times, written.cast(pa.int64()).fill_null(now_us).to_numpy()


def _moments(name: str, array: pa.Array) -> pa.Array:
    kinds = pa.types
    if kinds.is_null(array.type):
        return array.cast(_MOMENT)
    if not (kinds.is_timestamp(array.type) or kinds.is_date(array.type)):
        raise InvalidPushedRows(f"a column of {array.type} has no times; it is a timestamp or a date", column=name)

    def read(part: pa.Array) -> pa.Array:
        # A wall clock is taken for UTC.
        zone = part.type.tz if kinds.is_timestamp(part.type) else None
        return part.cast(pa.timestamp("us", zone)).cast(pa.int64()).cast(_MOMENT)

    try:
        return read(array)
    except pa.ArrowInvalid:
        raise InvalidPushedRows("a time has more than microseconds, or is out of range", row=_first_bad(array, read), column=name) from None


def _check_times(name: str, times: np.ndarray[Any, Any], now_us: int, limits: PushLimits) -> None:
    is_out = (times < _EARLIEST_US) | (times > _LATEST_US)
    if is_out.any():
        raise InvalidPushedRows("the time is not within the years 1 to 9999", row=int(is_out.argmax()), column=name)
    is_later = times > now_us + int(limits.future_s * 1_000_000)
    if is_later.any():
        row = int(is_later.argmax())
        raise EventTimeInFuture(row, name, (_EPOCH + int(times[row]) * _MICROSECOND).isoformat(), limits.future_s)


def _keys(view: ViewVersion, columns: Mapping[str, Column]) -> list[bytes]:
    for key in view.keys:
        is_null = columns[key.column].is_null
        if is_null.any():
            text = f"the join key {key.join_key.name!r} is missing; every row needs one"
            raise InvalidPushedRows(text, row=int(is_null.argmax()), column=key.column)
    values = [columns[key.column] for key in view.keys]
    parts = [each.values if isinstance(each.values, np.ndarray) else python_values(each) for each in values]
    try:
        return entity_keys([key.join_key for key in view.keys], parts)
    except InvalidEntityKey as error:
        raise InvalidPushedRows(error.message) from None


def _vectors(
    view: ViewVersion,
    given: Mapping[str, pa.Array],
    columns: Mapping[str, Column],
    event_times: np.ndarray[Any, Any],
    write_times: np.ndarray[Any, Any],
) -> list[bytes]:
    own: list[Column] = []
    for feature, spec in zip(view.schema.features, view.spec.features, strict=True):
        name = spec.column or spec.name
        known = columns[name]
        # Two features, or a feature and a key, may be of one column, and differ in their types.
        own.append(known if known.type == feature.type else _column(name, feature.type, given[name]))
    try:
        return encode_vectors(view.schema, own, event_times, write_times)
    except InvalidFeatureValue as error:
        raise InvalidPushedRows(error.message) from None


def _as_in_dataset(name: str, array: pa.Array, type_name: str) -> pa.Array:
    if not pa.types.is_timestamp(array.type):
        return array
    if type_name.startswith("date32"):
        is_day = np.asarray(array.cast(pa.int64()).fill_null(0)) % _DAY_US == 0
        if not is_day.all():
            text = "the dataset has days in this column, and this is a time of day; push midnight in UTC, or a date"
            raise InvalidPushedRows(text, row=int((~is_day).argmax()), column=name)
        return array.cast(pa.timestamp("us")).cast(pa.date32())
    return array.cast(pa.timestamp("us")) if type_name.startswith("timestamp[") and "tz=" not in type_name else array
