"""Finds the name of the resource that a message is about, for the audit log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

_NAMES = ("name", "model", "id", "username")
_VERSION = "version"
_TEXT_OR_NUMBER = frozenset({FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_INT32, FieldDescriptor.TYPE_INT64})


def resource_reader(message_class: type[Message] | None) -> Callable[[Any], str]:
    """Compiles what to read from messages of a class.

    Args:
        message_class: Class of a request or response; None where the contract is not ours.

    Returns:
        A function from a message to `name`, `model`, `id` or `username`, of itself or of the first resource it carries, with
        `/versions/<version>` where it has a version; empty where it has no name.
    """
    if message_class is None:
        return lambda _message: ""
    own = _own_reader(message_class.DESCRIPTOR)
    nested = [(field.name, reader) for field in _messages(message_class.DESCRIPTOR) if (reader := _own_reader(field.message_type))]

    def read(message: Any) -> str:
        found = own(message) if own is not None else ""
        for field, reader in nested:
            if found:
                break
            found = reader(getattr(message, field)) if message.HasField(field) else ""
        # Databases keep no NUL.
        return found.replace("\0", "\N{SYMBOL FOR NULL}")

    return read


def _messages(descriptor: Any) -> list[Any]:
    return [
        field
        for field in descriptor.fields
        if field.message_type is not None and not field.is_repeated and not field.message_type.full_name.startswith("google.")
    ]


def _own_reader(descriptor: Any) -> Callable[[Any], str] | None:
    fields = descriptor.fields_by_name
    names = [name for name in _NAMES if name in fields and fields[name].type == FieldDescriptor.TYPE_STRING]
    if not names:
        return None
    has_version = _VERSION in fields and fields[_VERSION].type in _TEXT_OR_NUMBER and not fields[_VERSION].is_repeated

    def read(message: Any) -> str:
        version = getattr(message, _VERSION) if has_version else ""
        # The server chooses some of them: a user that is created has a user name and no id.
        found = next((value for name in names if (value := str(getattr(message, name)))), "")
        return f"{found}/versions/{version}" if found and version else found

    return read
