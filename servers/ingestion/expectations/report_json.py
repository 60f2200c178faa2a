"""Reports as validation results of Great Expectations 1.x."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any

from servers.ingestion.expectations.report import ExpectationResult, Report
from servers.ingestion.expectations.suite_json import expectation_to_json


def report_to_json(report: Report) -> dict[str, Any]:
    """Return a report in the form of a GX validation result, ready for any JSON writer.

    Args:
        report: What was found.

    Returns:
        GX's object. `meta.mlmesh` adds what GX has no place for: status, row count, and for each result why it could not run.
    """
    statistics = report.statistics
    return {
        "success": report.success,
        "results": list(map(_result, report.results)),
        "suite_name": report.suite_name,
        "suite_parameters": {},
        "statistics": {
            "evaluated_expectations": statistics.evaluated,
            "successful_expectations": statistics.successful,
            "unsuccessful_expectations": statistics.evaluated - statistics.successful,
            "success_percent": statistics.success_percent,
        },
        "meta": {"mlmesh": {"status": str(report.status), "row_count": report.row_count, "could_not_run": statistics.could_not_run}},
        "id": None,
    }


def _result(result: ExpectationResult) -> dict[str, Any]:
    return {
        "success": result.success,
        "expectation_config": expectation_to_json(result.expectation),
        "result": {} if result.reason else _observations(result),
        "meta": {"mlmesh": {"reason": str(result.reason)}} if result.reason else {},
        "exception_info": {
            "raised_exception": result.reason is not None,
            "exception_message": result.message or None,
            "exception_traceback": None,
        },
    }


def _observations(result: ExpectationResult) -> dict[str, Any]:
    told: dict[str, Any] = {}
    if result.observed_value is not None or result.element_count is None:
        told["observed_value"] = json_value(result.observed_value)
    if result.element_count is not None:
        rows = result.unexpected_rows
        told |= {
            "element_count": result.element_count,
            "unexpected_count": result.unexpected_count,
            "unexpected_percent": result.unexpected_percent,
            "partial_unexpected_list": [json_value(row.value) for row in rows],
            "partial_unexpected_index_list": [row.row for row in rows],
        }
        if result.missing_count is not None:
            told |= {
                "missing_count": result.missing_count,
                "missing_percent": result.missing_percent,
                "unexpected_percent_total": result.unexpected_percent_total,
                "unexpected_percent_nonmissing": result.unexpected_percent,
            }
    details = {name: json_value(value) for name, value in result.details.items()}
    # GX has these beside the observed value, and everything else under `details`.
    beside = {name for name in details if name.endswith(("_count", "_list"))}
    told |= {name: details.pop(name) for name in sorted(beside)}
    return told | ({"details": details} if details else {})


def json_value(value: Any) -> Any:
    """Return a value of a table as JSON: dates as ISO 8601, decimals as text, what is no finite number as text."""
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {str(key): json_value(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(entry) for entry in value]
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    return str(value) if isinstance(value, Decimal | timedelta) else value
