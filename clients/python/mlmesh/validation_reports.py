"""What expectations found in data. Types, arguments and results have the names of Great Expectations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlops.ingestion.v1 import validation_pb2

from mlmesh.fields import enum_name
from mlmesh.json_values import plain_struct, plain_value


@dataclass(frozen=True)
class UnexpectedRow:
    """A row that breaks an expectation.

    Args:
        row: Number of the row in the data; the first is 1.
        column: Its column; several are joined by `, `.
        value: The value as JSON has it; of several columns a dict.
    """

    row: int
    column: str
    value: Any


@dataclass(frozen=True)
class ExpectationResult:
    """What became of one expectation.

    Args:
        type: Its type, for example `expect_column_values_to_be_between`.
        kwargs: Its arguments.
        severity: How bad it is when it is not met: `info`, `warning` or `critical`.
        success: Whether it is met.
        observed_value: The statistic, where the expectation is about one; else None.
        element_count: Rows looked at, where it is about rows; else None.
        missing_count: Those of them left out because values are missing; else None.
        unexpected_count: Those of them that break it; else None.
        unexpected_rows: The first of these.
        reason: Why it could not run, for example `COLUMN_MISSING`; empty where it could.
        message: The same in words.
    """

    type: str
    kwargs: dict[str, Any]
    severity: str
    success: bool
    observed_value: Any
    element_count: int | None
    missing_count: int | None
    unexpected_count: int | None
    unexpected_rows: tuple[UnexpectedRow, ...]
    reason: str
    message: str


@dataclass(frozen=True)
class ValidationReport:
    """What a suite found in data.

    Args:
        suite_name: Name of the suite.
        status: The verdict: `passed`, `warning` or `failed`.
        row_count: Rows of the data.
        successful_count: Expectations that are met.
        results: One an expectation, in the order of the suite.
    """

    suite_name: str
    status: str
    row_count: int
    successful_count: int
    results: tuple[ExpectationResult, ...]

    @property
    def is_usable(self) -> bool:
        """Whether the data may be used: no expectation of severity `critical` is broken."""
        # A verdict that a newer mesh may add is not taken for a good one.
        return self.status in {"passed", "warning"}


def report_value(message: validation_pb2.ValidationReport) -> ValidationReport:
    """Reads a report."""
    return ValidationReport(
        suite_name=message.suite_name,
        status=enum_name(validation_pb2.ValidationStatus, message.status),
        row_count=message.row_count,
        successful_count=message.successful_count,
        results=tuple(map(_result_value, message.results)),
    )


def _result_value(message: validation_pb2.ExpectationResult) -> ExpectationResult:
    return ExpectationResult(
        type=message.type,
        kwargs=plain_struct(message.kwargs),
        severity=enum_name(validation_pb2.Severity, message.severity),
        success=message.success,
        observed_value=plain_value(message.observed_value) if message.HasField("observed_value") else None,
        element_count=message.element_count if message.HasField("element_count") else None,
        missing_count=message.missing_count if message.HasField("missing_count") else None,
        unexpected_count=message.unexpected_count if message.HasField("unexpected_count") else None,
        unexpected_rows=tuple(UnexpectedRow(one.row, one.column, plain_value(one.value)) for one in message.unexpected_rows),
        reason=message.reason,
        message=message.message,
    )
