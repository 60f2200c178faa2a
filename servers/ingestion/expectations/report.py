"""What a suite found in a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from servers.ingestion.expectations.errors import Reason
from servers.ingestion.expectations.suite import Expectation, Severity


class Status(StrEnum):
    """The verdict on a table."""

    PASSED = "PASSED"
    WARNING = "WARNING"
    FAILED = "FAILED"


@dataclass(frozen=True)
class UnexpectedRow:
    """A row that breaks a rule.

    Args:
        row: Its number in the input, from 0.
        column: The column; several joined by ", ".
        value: The value; of several columns, a mapping by name.
        rule: The expectation's type.
    """

    row: int
    column: str
    value: Any
    rule: str


@dataclass(frozen=True)
class ExpectationResult:
    """What became of one expectation.

    Args:
        expectation: Which one.
        success: Whether it is met. One that could not run is not.
        observed_value: The statistic, where it is about one.
        element_count: Rows looked at, where it is about rows.
        missing_count: Those of them left out because values are missing; None where the rule is about missing values.
        unexpected_count: Those of them that break the rule.
        unexpected_rows: The first of these.
        details: What else there is to say.
        reason: Why it could not run; None where it could.
        message: The same for people.
    """

    expectation: Expectation
    success: bool
    observed_value: Any = None
    element_count: int | None = None
    missing_count: int | None = None
    unexpected_count: int | None = None
    unexpected_rows: tuple[UnexpectedRow, ...] = ()
    details: Mapping[str, object] = field(default_factory=dict)
    reason: Reason | None = None
    message: str = ""

    @property
    def unexpected_percent(self) -> float | None:
        """Percentage of the rows that count which break the rule; None where none count. 0 to 100."""
        if self.element_count is None or self.unexpected_count is None:
            return None
        counted = self.element_count - (self.missing_count or 0)
        return self.unexpected_count / counted * 100 if counted else None

    @property
    def unexpected_percent_total(self) -> float | None:
        """Percentage of all rows looked at which break the rule; None where there are none. 0 to 100."""
        if not self.element_count or self.unexpected_count is None:
            return None
        return self.unexpected_count / self.element_count * 100

    @property
    def missing_percent(self) -> float | None:
        """Percentage of rows left out because values are missing. 0 to 100."""
        if not self.element_count or self.missing_count is None:
            return None
        return self.missing_count / self.element_count * 100


@dataclass(frozen=True)
class Statistics:
    """Counts over a report.

    Args:
        evaluated: Expectations in the suite.
        successful: Those that are met.
        could_not_run: Those that failed because they do not fit the table.
    """

    evaluated: int
    successful: int
    could_not_run: int

    @property
    def success_percent(self) -> float | None:
        """Percentage of expectations that are met; None without any. 0 to 100."""
        return self.successful / self.evaluated * 100 if self.evaluated else None


@dataclass(frozen=True)
class Report:
    """What a suite found in a table.

    Args:
        suite_name: Name of the suite.
        results: One an expectation, in the suite's order.
        row_count: Rows of the table.
        fail_at: The mildest severity that makes the table FAILED.
    """

    suite_name: str
    results: tuple[ExpectationResult, ...]
    row_count: int
    fail_at: Severity = Severity.CRITICAL

    @property
    def success(self) -> bool:
        """Whether every expectation is met, of whatever severity, as in GX."""
        return all(result.success for result in self.results)

    @property
    def status(self) -> Status:
        """FAILED from `fail_at` on, WARNING from `warning` on; what is only `info` leaves the table PASSED."""
        worst = max((result.expectation.severity.rank for result in self.results if not result.success), default=-1)
        if worst >= self.fail_at.rank:
            return Status.FAILED
        return Status.WARNING if worst >= Severity.WARNING.rank else Status.PASSED

    @property
    def statistics(self) -> Statistics:
        """Counts over the results."""
        met = sum(result.success for result in self.results)
        return Statistics(len(self.results), met, sum(result.reason is not None for result in self.results))
