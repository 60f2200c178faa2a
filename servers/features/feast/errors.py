"""Errors of Feast's protocol, and the shape in which its HTTP clients read errors."""

from __future__ import annotations

from collections.abc import Iterable

import orjson
from google.rpc import error_details_pb2, status_pb2

from servers.runtime.errors import FailedPrecondition, InvalidArgument, NotFound
from servers.runtime.lane.wires import error_fields

__all__ = ["FeatureNameCollision", "InvalidFeastRequest", "PushSourceNotFound", "ValueWithoutFeastKind", "rest_error"]

_SHOWN = 20

# Feast's client raises the class that is named, and the base of all for what is not here.
_CLASSES = {
    "FEATURE_NAME_COLLISION": "FeatureNameCollisionError",
    "FEATURE_SERVICE_NOT_FOUND": "FeatureServiceNotFoundException",
    "FEATURE_SERVICE_VERSION_NOT_FOUND": "FeatureServiceNotFoundException",
    "FEATURE_VIEW_NOT_FOUND": "FeatureViewNotFoundException",
    "FEATURE_VIEW_VERSION_NOT_FOUND": "FeatureViewVersionNotFound",
    "PERMISSION_DENIED": "FeastPermissionError",
    "PUSH_SOURCE_NOT_FOUND": "PushSourceNotFoundException",
}
_ANY = "FeastError"


class InvalidFeastRequest(InvalidArgument):
    """A request is not one of Feast's protocol, whatever there is in the store.

    Args:
        field: Path of the field.
        message: What is wrong, what is allowed and what to do.
    """

    reason = "INVALID_FEAST_REQUEST"

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}", field_violations=[(field, message)])


class FeatureNameCollision(InvalidArgument):
    """Several features would have one name in the answer."""

    reason = "FEATURE_NAME_COLLISION"

    def __init__(self, names: Iterable[str], *, has_full_names: bool) -> None:
        shown = sorted(names)[:_SHOWN]
        advice = (
            "ask for each once"
            if has_full_names
            else "ask for each once, and with full_feature_names where views have features of one name"
        )
        super().__init__(f"several features would be named {', '.join(shown)}; {advice}", metadata={"names": ",".join(shown)})


class PushSourceNotFound(NotFound):
    """No view takes rows of the push source."""

    reason = "PUSH_SOURCE_NOT_FOUND"

    def __init__(self, project: str, name: str, label: str) -> None:
        super().__init__(
            f"in project {project!r} no feature view has the label {label} = {name[:255]!r}, and none has this name; "
            "`mlmesh features import-feast` sets the label, and so does UpdateFeatureView",
            metadata={"project": project, "name": name[:255]},
        )


class ValueWithoutFeastKind(FailedPrecondition):
    """A value is one that Feast's messages cannot have."""

    reason = "VALUE_WITHOUT_FEAST_KIND"

    def __init__(self, feature: str) -> None:
        super().__init__(
            f"feature {feature!r} is uint64 and has a value above 2^63 - 1, for which Feast's messages have no kind; "
            "ask for it over HTTP, or with ServeFeatures",
            metadata={"feature": feature},
        )


def rest_error(status: status_pb2.Status) -> bytes:
    """The body of an error: a text with JSON in it, of which Feast's client makes an exception; besides the fields of all errors."""
    feast = {"module": "feast.errors", "class": _CLASSES.get(_reason_of(status), _ANY)}
    return orjson.dumps(orjson.dumps({**feast, **error_fields(status)}).decode())


def _reason_of(status: status_pb2.Status) -> str:
    info = error_details_pb2.ErrorInfo()
    return next((info.reason for detail in status.details if detail.Unpack(info)), "")
