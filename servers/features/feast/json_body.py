"""Bodies of Feast's feature server."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from google.protobuf.timestamp_pb2 import Timestamp
from mlops.features.v1 import feature_serving_service_pb2 as pb

from servers.features.feast.errors import InvalidFeastRequest
from servers.features.feast.online_features import Asked, Served
from servers.features.feast.served_columns import PRESENT, plain_values

__all__ = ["answer_json", "asked_in", "columns_in", "document_of", "text_in"]

_STATUSES = {
    pb.VALUE_STATUS_PRESENT: "PRESENT",
    pb.VALUE_STATUS_NULL: "NULL_VALUE",
    pb.VALUE_STATUS_NOT_FOUND: "NOT_FOUND",
    pb.VALUE_STATUS_OUTSIDE_MAX_AGE: "OUTSIDE_MAX_AGE",
}
_NO_TIME = "1970-01-01T00:00:00Z"
_FLOATS = ("float_values", "double_values")


def document_of(data: bytes) -> dict[str, Any]:
    """Parses a body.

    Raises:
        InvalidFeastRequest: INVALID_ARGUMENT: it is no JSON object.
    """
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise InvalidFeastRequest("body", f"is no JSON: {error.msg} (line {error.lineno}, column {error.colno})") from None
    if not isinstance(document, dict):
        raise InvalidFeastRequest("body", "is no JSON object")
    return document


def text_in(document: Mapping[str, Any], name: str, default: str = "") -> str:
    """Returns a field that is a text; null counts as not there.

    Raises:
        InvalidFeastRequest: INVALID_ARGUMENT: it is something else.
    """
    value = document.get(name)
    if value is not None and not isinstance(value, str):
        raise InvalidFeastRequest(name, "is no text")
    return default if value is None else value


def columns_in(document: Mapping[str, Any], name: str) -> dict[str, list[Any]]:
    """Returns a field that has lists by name.

    Raises:
        InvalidFeastRequest: INVALID_ARGUMENT: it is something else.
    """
    columns = document.get(name)
    if not isinstance(columns, dict) or not all(isinstance(values, list) for values in columns.values()):
        raise InvalidFeastRequest(name, 'is no object with a list for each name, such as {"user_id": [7, 8]}')
    return columns


def asked_in(document: Mapping[str, Any]) -> Asked:
    """Returns what a body asks for.

    Raises:
        InvalidFeastRequest: INVALID_ARGUMENT: a field is wrong.
    """
    references = document.get("features")
    if references is not None and not isinstance(references, list):
        raise InvalidFeastRequest("features", "is no list of references, each `view:feature`")
    return Asked(
        feature_service=text_in(document, "feature_service"),
        references=references or (),
        has_full_names=_flag_in(document, "full_feature_names"),
        has_versions=_flag_in(document, "include_feature_view_version_metadata"),
    )


def answer_json(served: Served, entities: Mapping[str, list[Any]]) -> bytes:
    """Returns the body of an answer: the join keys as they came, then the features."""
    metadata: dict[str, Any] = {"feature_names": [*served.join_keys, *served.names]}
    if served.versions:
        metadata["feature_view_metadata"] = [{"name": name, "version": version} for name, version in served.versions.items()]
    results = [_vector(entities[name], [_STATUSES[PRESENT]], [_NO_TIME]) for name in served.join_keys]
    before: pb.ServedFeature | None = None
    times: list[str] = []
    for feature in served.features:
        # Features of a view mostly have the same times.
        if before is None or before.event_times != feature.event_times:
            times = list(map(Timestamp.ToJsonString, feature.event_times)) or [_NO_TIME]
        results.append(_vector(_values(feature), [_STATUSES[status] for status in feature.statuses], times))
        before = feature
    return orjson.dumps({"metadata": metadata, "results": results})


def _vector(values: list[Any], statuses: list[str], times: list[str]) -> dict[str, Any]:
    """What is there once counts for each row."""
    rows = len(values)
    return {
        "values": values,
        "statuses": statuses if len(statuses) == rows else statuses * rows,
        "event_timestamps": times if len(times) == rows else times * rows,
    }


def _values(feature: pb.ServedFeature) -> list[Any]:
    values = plain_values(feature)
    if feature.type == "bytes":
        values = [base64.b64encode(value).decode("ascii") for value in values]
    elif feature.values.WhichOneof("kind") in _FLOATS:
        values = _finite(values)
    elif feature.type in ("list<float32>", "list<float64>"):
        values = list(map(_finite, values))
    if all(status == PRESENT for status in feature.statuses):
        return values
    return [value if status == PRESENT else None for value, status in zip(values, feature.statuses, strict=True)]


def _finite(values: list[float]) -> list[float | str]:
    """JSON has no numbers for what is not finite; Feast writes them as protobuf does."""
    return list(values) if all(map(math.isfinite, values)) else list(_words(values))


def _words(values: Iterable[float]) -> Iterable[float | str]:
    for value in values:
        yield value if math.isfinite(value) else "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _flag_in(document: Mapping[str, Any], name: str) -> bool:
    value = document.get(name, False)
    if not isinstance(value, bool):
        raise InvalidFeastRequest(name, "is neither true nor false")
    return value
