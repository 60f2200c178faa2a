"""Values as Feast's messages have them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from google.protobuf.unknown_fields import UnknownFieldSet
from mlops.features.v1 import feature_serving_service_pb2 as pb

from servers.features.feast import contract
from servers.features.feast.errors import InvalidFeastRequest, ValueWithoutFeastKind
from servers.features.feast.online_features import Asked, Served
from servers.features.feast.served_columns import PRESENT, plain_values
from servers.features.serving.errors import InvalidEntities

__all__ = ["answer_message", "asked_by", "columns_of", "json_value", "read_value_column"]

_MOST = (1 << 63) - 1
_TEXTS = ("string_val", "uuid_val", "time_uuid_val", "json_val", "decimal_val")

_TAKEN: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "bool": ("bool_values", ("bool_val",)),
    "int64": ("int64_values", ("int64_val", "int32_val")),
    "float64": ("double_values", ("double_val", "float_val", "int64_val", "int32_val")),
    "string": ("string_values", _TEXTS),
    "bytes": ("bytes_values", ("bytes_val",)),
    "date": ("string_values", ("string_val",)),
    "timestamp": ("timestamp_values", ("unix_timestamp_val",)),
}
"""Field of `Values` by type, and the kinds that are taken for it."""

_GIVEN: Mapping[str, str] = {
    "bool": "bool_val",
    **dict.fromkeys(("int8", "int16", "int32", "uint8", "uint16"), "int32_val"),
    **dict.fromkeys(("int64", "uint32", "uint64"), "int64_val"),
    "float32": "float_val",
    "float64": "double_val",
    "string": "string_val",
    "date": "string_val",
    "bytes": "bytes_val",
    "timestamp": "unix_timestamp_val",
    "list<int64>": "int64_list_val",
    "list<float32>": "float_list_val",
    "list<float64>": "double_list_val",
    "list<string>": "string_list_val",
}
"""Kind by type; a decimal is `decimal_val`."""


def asked_by(request: Any) -> Asked:
    """Returns what a `GetOnlineFeaturesRequest` asks for."""
    return Asked(request.feature_service, request.features.val, request.full_feature_names, request.include_feature_view_version_metadata)


def columns_of(request: Any) -> dict[str, Any]:
    """Returns the values of a `GetOnlineFeaturesRequest` by name."""
    return {**{name: column.val for name, column in request.request_context.items()}, **_entities(request)}


def _entities(request: Any) -> dict[str, Any]:
    # Maps have no order, and the answer should have the same each time.
    return {name: request.entities[name].val for name in sorted(request.entities)}


def read_value_column(name: str, its_type: str, column: Sequence[Any]) -> pb.Values:
    """Returns the values of a column as `ServeFeatures` takes them.

    Args:
        name: Of the join key or request input.
        its_type: Its type.
        column: Values of Feast's.

    Raises:
        InvalidEntities: INVALID_ARGUMENT: a value is not of the type.
    """
    field, kinds = _TAKEN[its_type]
    found = [value.WhichOneof("val") for value in column]
    for row, kind in enumerate(found):
        if kind not in kinds:
            got = kind or "a value without a kind, or of one that no feature has"
            raise InvalidEntities("entities", f"{name!r} is {its_type}, which comes as {' or '.join(kinds)}; row {row} is {got}")
    plain = [getattr(value, kind) for value, kind in zip(column, found, strict=True)]
    answer = pb.Values()
    target = getattr(answer, field)
    target.SetInParent()
    target.values.extend([Timestamp(seconds=seconds) for seconds in plain] if its_type == "timestamp" else plain)
    return answer


def answer_message(served: Served, entities: Mapping[str, Any]) -> Any:
    """Returns the answer of GetOnlineFeatures: the join keys as they came, then the features."""
    answer = contract.GetOnlineFeaturesResponse()
    answer.metadata.feature_names.val.extend([*served.join_keys, *served.names])
    for name, version in served.versions.items():
        answer.metadata.feature_view_metadata.add(name=name, version=version)
    for name in served.join_keys:
        vector = answer.results.add()
        vector.values.extend(entities[name])
        vector.statuses.extend([PRESENT] * len(entities[name]))
        for _ in entities[name]:
            vector.event_timestamps.add()
    before: pb.ServedFeature | None = None
    for feature in served.features:
        vector = answer.results.add()
        vector.values.extend(_values(feature))
        # The numbers of the statuses are the same in both.
        vector.statuses.extend(feature.statuses)
        if before is not None and before.event_times == feature.event_times:
            vector.event_timestamps.extend(answer.results[-2].event_timestamps)
        elif feature.event_times:
            for time in feature.event_times:
                vector.event_timestamps.add(seconds=time.seconds, nanos=time.nanos)
        else:
            for _ in feature.statuses:
                vector.event_timestamps.add()
        before = feature
    return answer


def _values(feature: pb.ServedFeature) -> list[Any]:
    values, value = plain_values(feature), contract.Value
    make = _maker("decimal_val" if feature.type.startswith("decimal(") else _GIVEN[feature.type])
    if feature.type == "uint64" and max(values, default=0) > _MOST:
        raise ValueWithoutFeastKind(feature.name)
    if all(status == PRESENT for status in feature.statuses):
        return list(map(make, values))
    return [make(plain) if status == PRESENT else value() for plain, status in zip(values, feature.statuses, strict=True)]


def _maker(kind: str) -> Callable[[Any], Any]:
    value = contract.Value
    if kind.endswith("_list_val"):
        return lambda plain: value(**{kind: {"val": plain}})
    return lambda plain: value(**{kind: plain})


def json_value(column: str, value: Any) -> Any:
    """Returns a value of Feast's as its JSON has it, but for bytes, which stay bytes.

    Raises:
        InvalidFeastRequest: INVALID_ARGUMENT: it is of a kind that no feature has.
    """
    kind = value.WhichOneof("val")
    if kind is None and len(UnknownFieldSet(value)):
        raise InvalidFeastRequest(
            f'typed_features["{column[:100]}"]', "is of a kind that no feature has: a map, a set, a nested list, or a time with its zone"
        )
    if kind is None or kind == "null_val":
        return None
    plain = getattr(value, kind)
    return list(plain.val) if kind.endswith("_list_val") else plain
