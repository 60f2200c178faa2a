"""Path templates of `google.api.http` as OpenAPI paths."""

from __future__ import annotations

import re
from dataclasses import dataclass

from google.protobuf.descriptor import Descriptor, FieldDescriptor

_VARIABLE = re.compile(r"\{(?P<field>[a-z0-9_]+(?:\.[a-z0-9_]+)*)(?:=(?P<pattern>[^{}]*))?\}")


class UnsupportedTemplate(ValueError):
    """A template that OpenAPI cannot say, or that does not fit its request."""


@dataclass(frozen=True)
class PathVariable:
    """A field of the request that the path carries.

    Attributes:
        path: Path of the field in the request, for example `model.name`.
        name: Name of the parameter. Tools trip over dots in it, and paths that differ in names only must not, so it is the field's own.
        spans_segments: Whether its value may contain `/`.
    """

    path: str
    name: str
    spans_segments: bool


@dataclass(frozen=True)
class Template:
    """A path template, read.

    Attributes:
        path: As OpenAPI writes it, for example `/api/v1/models/{name}:restore`.
        variables: In the order of the path.
    """

    path: str
    variables: tuple[PathVariable, ...]


def parse(template: str) -> Template:
    """Reads a template of `google.api.http`.

    Variables take one segment (`{name}`, `{name=*}`) or the rest of the path (`{name=**}`); a verb (`:restore`) may follow.

    Raises:
        UnsupportedTemplate: A variable has another pattern, or a wildcard stands outside of a variable.
    """
    variables = []
    fields = [found["field"] for found in _VARIABLE.finditer(template)]
    names = _parameter_names(fields)
    for found in _VARIABLE.finditer(template):
        pattern = found["pattern"] or "*"
        if pattern not in ("*", "**"):
            raise UnsupportedTemplate(f"{template}: variable {found['field']!r} has the pattern {pattern!r}; allowed are `*` and `**`")
        variables.append(PathVariable(path=found["field"], name=names[found["field"]], spans_segments=pattern == "**"))
    path = _VARIABLE.sub(lambda found: "{" + names[found["field"]] + "}", template)
    rest = _VARIABLE.sub("", template)
    if not template.startswith("/") or set(rest) & set("{}*"):
        raise UnsupportedTemplate(f"{template}: expected `/segment/{{variable}}/...`, wildcards only inside of variables")
    return Template(path=path, variables=tuple(variables))


def _parameter_names(fields: list[str]) -> dict[str, str]:
    own = [field.rpartition(".")[2] for field in fields]
    return {field: name if own.count(name) == 1 else field.replace(".", "_") for field, name in zip(fields, own, strict=True)}


def resolve(request: Descriptor, path: str) -> FieldDescriptor:
    """Returns the field that a path such as `model.name` leads to.

    Raises:
        UnsupportedTemplate: The request has no such field, or it is not a single scalar.
    """
    described: Descriptor | None = request
    field: FieldDescriptor | None = None
    for name in path.split("."):
        field = described.fields_by_name.get(name) if described is not None else None
        if field is None:
            raise UnsupportedTemplate(f"{request.full_name} has no field {path!r}")
        described = field.message_type
    if field is None or field.is_repeated or field.message_type is not None:
        raise UnsupportedTemplate(f"{request.full_name}.{path} is no single scalar, so no path can carry it")
    return field


def shape(template: str) -> str:
    """Returns a template without the names of its variables; two templates of one shape match the same paths."""
    return _VARIABLE.sub(lambda found: "{" + (found["pattern"] or "*") + "}", template)
