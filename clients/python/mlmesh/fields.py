"""Values of request fields as Python people write them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, TypeVar

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from mlmesh.errors import InvalidArgument

_Value = TypeVar("_Value", bound=int)


def enum_value(kind: Any, name: str | int) -> Any:
    """Returns the value of an enum by its short name.

    Args:
        kind: The enum, for example `ModelStage`.
        name: `production`, `PRODUCTION` or `MODEL_STAGE_PRODUCTION`; a number is returned as it is.

    Raises:
        InvalidArgument: There is no such value; the message lists those there are.
    """
    if isinstance(name, int):
        return name
    prefix = _prefix(kind)
    wanted = name.upper() if name.upper().startswith(prefix) else prefix + name.upper().replace("-", "_")
    try:
        return kind.Value(wanted)
    except ValueError:
        allowed = ", ".join(enum_name(kind, value) for value in kind.values() if value)
        raise InvalidArgument(f"{name!r} is none of: {allowed}", reason="ENUM_VALUE_UNKNOWN") from None


def enum_name(kind: Any, value: int) -> str:
    """Returns the short name of a value, lower case: `production`; an unknown value as its number."""
    try:
        return str(kind.Name(value)).removeprefix(_prefix(kind)).lower()
    except ValueError:
        return str(value)


def timestamp(moment: datetime | None) -> Timestamp | None:
    """Returns a moment as a timestamp.

    Raises:
        InvalidArgument: It has no time zone, so that it could mean any of 38 moments.
    """
    if moment is None:
        return None
    if moment.tzinfo is None:
        raise InvalidArgument(f"{moment} has no time zone; use for example datetime.now(timezone.utc)", reason="TIME_ZONE_MISSING")
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp


def moment_of(message: Message, name: str) -> datetime | None:
    """Returns a timestamp of a message as a moment in UTC; None where it is absent.

    Args:
        message: The message.
        name: Name of the field.
    """
    moment: datetime | None = getattr(message, name).ToDatetime(UTC) if message.HasField(name) else None
    return moment


def mask_of(changes: Iterable[str]) -> FieldMask:
    """Returns the update mask of the fields that change, and of no other.

    Raises:
        InvalidArgument: Nothing changes, which as an empty mask would mean something else.
    """
    paths = sorted(changes)
    if not paths:
        raise InvalidArgument("nothing to change was given", reason="UPDATE_EMPTY")
    return FieldMask(paths=paths)


def given(**changes: _Value | Any) -> dict[str, Any]:
    """Returns the arguments that are not None: those that the caller gave."""
    return {name: value for name, value in changes.items() if value is not None}


def _prefix(kind: EnumTypeWrapper) -> str:
    # Every enum of the contracts has `<PREFIX>_UNSPECIFIED = 0`.
    return kind.Name(0).removesuffix("UNSPECIFIED")
