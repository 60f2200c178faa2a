"""What can be wrong with a suite, with the data's form, and with one expectation on one table."""

from __future__ import annotations

from enum import StrEnum

from servers.runtime.errors import InvalidArgument


class InvalidSuite(InvalidArgument):
    """A suite that cannot be used, whatever the data; INVALID_ARGUMENT."""

    reason = "INVALID_EXPECTATION_SUITE"


class UnknownExpectation(InvalidSuite):
    """An expectation's type that there is none of; the message names the closest."""

    reason = "UNKNOWN_EXPECTATION"


class InvalidExpectation(InvalidSuite):
    """An expectation whose arguments are missing, unknown, contradictory or of a wrong type."""

    reason = "INVALID_EXPECTATION"


class InvalidRowCondition(InvalidExpectation):
    """A row condition outside the subset that is understood."""

    reason = "INVALID_ROW_CONDITION"


class SuiteTooLarge(InvalidSuite):
    """A suite beyond the limits of `limits.py`."""

    reason = "EXPECTATION_SUITE_TOO_LARGE"


class InvalidBatches(InvalidArgument):
    """Record batches that do not make one table; INVALID_ARGUMENT."""

    reason = "INVALID_RECORD_BATCHES"


class Reason(StrEnum):
    """Why an expectation could not run on this table. It counts as failed."""

    COLUMN_NOT_FOUND = "COLUMN_NOT_FOUND"
    TYPE_NOT_SUPPORTED = "TYPE_NOT_SUPPORTED"
    BOUND_OF_ANOTHER_TYPE = "BOUND_OF_ANOTHER_TYPE"
    VALUES_NOT_PARSEABLE = "VALUES_NOT_PARSEABLE"
    ENGINE_ERROR = "ENGINE_ERROR"


class CannotRun(Exception):
    """Raised by a rule that does not fit the table; becomes a failed result.

    Args:
        reason: Which kind of misfit.
        message: Which column, what it is, and what would fit.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
