"""Checks every request message against the `buf.validate` rules of its contract."""

from __future__ import annotations

from typing import Any

from protovalidate import Validator, Violation

from servers.runtime.calls import Behaviour, Call, Method, checking
from servers.runtime.errors import InvalidArgument


class ValidationInterceptor:
    """Refuses requests that break a rule, naming each field and rule. One validator a server: it caches compiled rules."""

    def __init__(self) -> None:
        self._validator = Validator()

    def wrap(self, method: Method, inner: Behaviour) -> Behaviour:
        """Gives a behaviour that sees only valid requests."""
        if method.request_class is None:
            return inner
        # Compiles the rules now: a rule that does not compile stops the start, and the first call is as fast as the second.
        self._validator.collect_violations(method.request_class())
        return checking(method, inner, self._check)

    def _check(self, request: Any, _call: Call) -> None:
        violations = self._validator.collect_violations(request)
        if violations:
            raise _refusal(violations)


def _refusal(violations: list[Violation]) -> InvalidArgument:
    fields = [(_path(violation), violation.proto.message or violation.proto.rule_id) for violation in violations]
    first_field, first_text = fields[0]
    more = f" (and {len(fields) - 1} more)" if len(fields) > 1 else ""
    return InvalidArgument(f"{first_field or 'request'}: {first_text}{more}", field_violations=fields, reason="REQUEST_INVALID")


def _path(violation: Violation) -> str:
    """The field path as a caller writes it: `model.labels["a"].items[2]`."""
    path = ""
    field = violation.proto.field
    for element in field.elements if field is not None else ():
        path += ("." if path else "") + (element.field_name or "")
        path += _subscript(element)
    return path


def _subscript(element: Any) -> str:
    subscript = element.subscript
    if subscript is None:
        return ""
    value = getattr(subscript, "value", subscript)
    return f'["{value}"]' if isinstance(value, str) else f"[{value}]"
