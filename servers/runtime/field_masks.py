"""`update_mask`: which fields an update changes (contracts, point 7).

Empty means the fields that are populated, `*` means all that can be changed. A path may go into a message (`card.summary`) or
name a map entry's whole map (`labels`).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from servers.runtime.errors import InvalidArgument


def updated_fields(mask: FieldMask, message: Message, *, immutable: Collection[str] = (), identity: Collection[str] = ()) -> frozenset[str]:
    """The paths that an update changes.

    Args:
        mask: The request's `update_mask`.
        message: The resource in the request.
        immutable: Fields that no update may name: output-only and immutable ones.
        identity: Fields that say which resource it is (`name`, `project`, `etag`); sent along, never changed, never an error.

    Returns:
        Field paths without those in `identity`.

    Raises:
        InvalidArgument: A path does not exist or cannot be changed, reason UPDATE_MASK_INVALID.
    """
    fixed = {*immutable, *identity}
    changeable = [field.name for field in message.DESCRIPTOR.fields if field.name not in fixed]
    if list(mask.paths) == ["*"]:
        return frozenset(changeable)
    if not mask.paths:
        # A client that sends back what it read carries the output-only fields too; they are skipped, as AIP-161 asks.
        return frozenset(field.name for field, _ in message.ListFields() if field.name in changeable)
    for path in mask.paths:
        _check(path, message, frozenset(immutable), changeable)
    return frozenset(path for path in mask.paths if path.split(".")[0] not in identity)


def apply_update(paths: Collection[str], source: Message, target: Message) -> None:
    """Copies the named fields of one message into another. A message or map field is replaced as a whole.

    Args:
        paths: From `updated_fields`.
        source: The resource in the request.
        target: The resource as it is; changed in place.
    """
    for path in paths:
        *parents, name = path.split(".")
        from_message, to_message = source, target
        for parent in parents:
            from_message, to_message = getattr(from_message, parent), getattr(to_message, parent)
        _copy(name, from_message, to_message)


def _copy(name: str, source: Message, target: Message) -> None:
    field = source.DESCRIPTOR.fields_by_name[name]
    target.ClearField(name)
    value: Any = getattr(source, name)
    if field.is_repeated:
        getattr(target, name).MergeFrom(value)
    elif field.message_type is not None:
        if source.HasField(name):
            getattr(target, name).CopyFrom(value)
    elif not field.has_presence or source.HasField(name):
        setattr(target, name, value)


def _check(path: str, message: Message, immutable: frozenset[str], changeable: Collection[str]) -> None:
    if path == "*":
        raise _refused(path, "`*` stands alone in an update_mask", changeable)
    descriptor: Any = message.DESCRIPTOR
    for position, name in enumerate(path.split(".")):
        field: FieldDescriptor | None = descriptor.fields_by_name.get(name) if descriptor is not None else None
        if field is None:
            raise _refused(path, f"{message.DESCRIPTOR.name} has no field {path!r}", changeable)
        if position == 0 and name in immutable:
            raise _refused(path, f"{path!r} cannot be changed", changeable)
        descriptor = None if field.is_repeated else field.message_type


def _refused(path: str, what: str, changeable: Collection[str]) -> InvalidArgument:
    text = f"{what}; fields that can be changed: {', '.join(changeable)}."
    return InvalidArgument(text, field_violations=[("update_mask", text)], metadata={"path": path}, reason="UPDATE_MASK_INVALID")
