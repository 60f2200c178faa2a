"""Suites as Great Expectations writes them: read in the form of 1.x or the older one, written in that of 1.x."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from servers.ingestion.expectations import limits
from servers.ingestion.expectations.errors import InvalidSuite, SuiteTooLarge
from servers.ingestion.expectations.suite import Expectation, Suite

# They say how GX should run and report, not what is expected.
_ABOUT_RUNNING = frozenset({"batch_id", "catch_exceptions", "include_config", "result_format", "auto", "profiler_config", "windows"})


def suite_from_json(document: bytes | str | Mapping[str, Any]) -> Suite:
    """Read a suite.

    Args:
        document: GX's JSON, at most 4 MiB, or what it parses to.

    Returns:
        The suite. Arguments that only concern GX's running (`result_format`, `catch_exceptions`, …) are left out.

    Raises:
        InvalidSuite: It is no such JSON, or an expectation of it is wrong (the message names its place); INVALID_ARGUMENT.
    """
    parsed: Any = document
    if not isinstance(document, Mapping):
        if len(document) > limits.MAX_SUITE_BYTES:
            raise SuiteTooLarge(f"The suite's JSON has {len(document)} bytes; at most {limits.MAX_SUITE_BYTES} are accepted.")
        try:
            parsed = orjson.loads(document)
        except orjson.JSONDecodeError as error:
            raise InvalidSuite(f"The suite is not JSON: {error}.") from None
    match parsed:
        case {"expectations": list(entries)} if "name" in parsed or "expectation_suite_name" in parsed:
            if len(entries) > limits.MAX_EXPECTATIONS:
                raise SuiteTooLarge(f"The suite has {len(entries)} expectations; at most {limits.MAX_EXPECTATIONS} are accepted.")
            name: Any = parsed.get("name", parsed.get("expectation_suite_name"))
            meta, identifier = _object(parsed, "meta"), parsed.get("id", parsed.get("ge_cloud_id"))
            return Suite(name, tuple(map(_expectation, range(len(entries)), entries)), meta, identifier, parsed.get("notes"))
    raise InvalidSuite('A suite is an object with "name" (or "expectation_suite_name") and a list "expectations".')


def _expectation(place: int, entry: Any) -> Expectation:
    if not isinstance(entry, Mapping):
        raise InvalidSuite(
            f"Expectation {place} of the suite is not an object.", field_violations=[(f"expectations[{place}]", "not an object")]
        )
    kwargs = {name: value for name, value in _object(entry, "kwargs").items() if name not in _ABOUT_RUNNING}
    identifier = entry.get("id", entry.get("ge_cloud_id"))
    severity: Any = entry.get("severity") or "critical"
    type_: Any = entry.get("type", entry.get("expectation_type"))
    try:
        return Expectation(type_, kwargs, _object(entry, "meta"), severity, identifier, entry.get("notes"))
    except InvalidSuite as error:
        violations = [(f"expectations[{place}].{path}", what) for path, what in error.field_violations]
        raise type(error)(
            f"Expectation {place} of the suite: {error.message}", metadata=error.metadata, field_violations=violations
        ) from None


def _object(entry: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = entry.get(name)
    if value is not None and not isinstance(value, Mapping):
        raise InvalidSuite(f"{name} has to be an object.", field_violations=[(name, "not an object")])
    return value or {}


def expectation_to_json(expectation: Expectation) -> dict[str, Any]:
    """Return an expectation in the form of GX 1.x."""
    written: dict[str, Any] = {
        "type": expectation.type,
        "kwargs": dict(expectation.kwargs),
        "meta": dict(expectation.meta),
        "severity": str(expectation.severity),
    }
    return written | {key: value for key, value in (("id", expectation.id), ("notes", expectation.notes)) if value is not None}


def suite_to_json(suite: Suite) -> dict[str, Any]:
    """Return a suite in the form of GX 1.x, ready for any JSON writer."""
    return {
        "name": suite.name,
        "expectations": list(map(expectation_to_json, suite.expectations)),
        "meta": dict(suite.meta),
        "notes": suite.notes,
        "id": suite.id,
    }
