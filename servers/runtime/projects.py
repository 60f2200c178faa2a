"""Finds the projects a request touches, so that a permission is checked in each of them.

A request names its project in `project`, or in a resource it carries (`model.project`, `binding.project`). Where both exist, both count:
otherwise a caller could be checked in one project and write into another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

_FIELD = "project"
_MAX_DEPTH = 4


@dataclass(frozen=True)
class _Nested:
    """A message field below which a project may be named."""

    field: str
    is_repeated: bool
    inner: _Shape


@dataclass(frozen=True)
class _Shape:
    """Where a message type names projects."""

    has_project: bool
    nested: tuple[_Nested, ...]


def projects_reader(request_class: type[Message] | None) -> Callable[[Any, str], Sequence[str]]:
    """Compiles what to read from requests of a class.

    Args:
        request_class: Class of the requests; None where the contract is not ours.

    Returns:
        A function from a request and the project so far (`default`, or that of the messages before it in a stream) to the request's
        projects, one or more, its own first. An empty project inherits from the message around it, and in the end is the project so far.
    """
    shape = None if request_class is None else _shape(request_class.DESCRIPTOR, depth=0)
    if shape is None:
        return lambda _request, inherited: (inherited,)
    if not shape.nested:
        return lambda request, inherited: (request.project or inherited,)

    def read(request: Any, inherited: str) -> Sequence[str]:
        own = (request.project or inherited,) if shape.has_project else ()
        around = own[0] if own else inherited
        below = (project for nested in shape.nested for project in _below(request, nested, around))
        return tuple(dict.fromkeys((*own, *below))) or (inherited,)

    return read


def _shape(descriptor: Any, depth: int) -> _Shape | None:
    own = descriptor.fields_by_name.get(_FIELD)
    has_project = own is not None and own.type == FieldDescriptor.TYPE_STRING and not own.is_repeated
    nested = []
    if depth < _MAX_DEPTH:
        for field in descriptor.fields:
            kind = field.message_type
            if kind is None or kind.GetOptions().map_entry or kind.full_name.startswith("google."):
                continue
            inner = _shape(kind, depth + 1)
            if inner is not None:
                nested.append(_Nested(field.name, field.is_repeated, inner))
    return _Shape(has_project, tuple(nested)) if has_project or nested else None


def _below(message: Any, nested: _Nested, inherited: str) -> Iterator[str]:
    if nested.is_repeated:
        items = getattr(message, nested.field)
    else:
        items = (getattr(message, nested.field),) if message.HasField(nested.field) else ()
    for item in items:
        project = inherited
        if nested.inner.has_project:
            project = item.project or inherited
            yield project
        for deeper in nested.inner.nested:
            yield from _below(item, deeper, project)
