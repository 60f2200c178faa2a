"""Path templates of `google.api.http`, as far as the contracts use them: `/api/v1/models/{model}:verify`, `/files/{path=**}`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from google.api import http_pb2

_VARIABLE = re.compile(r"\{([a-z0-9_.]+)(?:=(\*\*|\*))?\}")
_ONE_SEGMENT = "[^/]+"
_REST = ".+"
# A colon in the last segment begins a custom verb, so a variable that ends a template has none. A percent-encoded one is a colon like any.
_LAST_SEGMENT = "[^/:]+"
_LAST_REST = "(?:.+/)?[^/:]+"


def http_rules(rule: http_pb2.HttpRule) -> Iterator[tuple[str, str, str]]:
    """Yields verb, template and body field of a method's REST paths."""
    kind = rule.WhichOneof("pattern")
    if kind == "custom":
        yield rule.custom.kind.upper(), rule.custom.path, rule.body
    elif kind is not None:
        yield kind.upper(), getattr(rule, kind), rule.body
    for additional in rule.additional_bindings:
        yield from http_rules(additional)


def pattern_of(template: str) -> str:
    """Returns a regular expression, without groups, that matches the paths of a template. RE2 and `re` read it alike."""
    return _translated(template, lambda _field, segments: segments)


Variables = tuple[tuple[str, str], ...]
"""What stands in a path for each field, still percent-encoded."""


class PathTemplate:
    """Finds the variables of a path.

    Args:
        template: The template.
    """

    def __init__(self, template: str) -> None:
        # What is written out goes before what a variable takes, segment by segment: `/models/stats` before `/models/{model}`.
        self.rank = tuple(2 if "=**" in segment else "{" in segment for segment in template.split("/"))
        self._fields: list[str] = []
        self._pattern = re.compile(_translated(template, self._group))

    def match(self, path: str) -> Variables | None:
        """Returns the variables, as they stand in the path, by field; None where the path is another."""
        found = self._pattern.fullmatch(path)
        return None if found is None else tuple(zip(self._fields, found.groups(), strict=True))

    def _group(self, field: str, segments: str) -> str:
        self._fields.append(field)
        return f"({segments})"


def _translated(template: str, variable: Callable[[str, str], str]) -> str:
    pieces: list[str] = []
    end = 0
    for found in _VARIABLE.finditer(template):
        is_last = found.end() == len(template)
        one, rest = (_LAST_SEGMENT, _LAST_REST) if is_last else (_ONE_SEGMENT, _REST)
        pieces += (re.escape(template[end : found.start()]), variable(found[1], rest if found[2] == "**" else one))
        end = found.end()
    return "".join((*pieces, re.escape(template[end:])))
