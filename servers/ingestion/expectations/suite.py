"""A suite of expectations: checked when it is made, and trusted after that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import StrEnum
from typing import Any

from servers.ingestion.expectations import limits
from servers.ingestion.expectations.arguments import text
from servers.ingestion.expectations.catalogue import rule_of
from servers.ingestion.expectations.errors import InvalidExpectation, InvalidRowCondition, InvalidSuite, SuiteTooLarge


class Severity(StrEnum):
    """How bad it is when an expectation is not met."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """Its place, from the mildest on."""
        return list(Severity).index(self)


@dataclass(frozen=True)
class Expectation:
    """One expectation.

    Args:
        type: Its name in Great Expectations, for example `expect_column_values_to_be_between`.
        kwargs: Its arguments, by their names in GX, `mostly` among them. Dates and sets become the JSON that GX has for them.
        meta: Whatever belongs to it; kept, never read.
        severity: How bad it is when it is not met.
        id: Its identifier, kept.
        notes: Text for people, kept.

    Raises:
        UnknownExpectation: There is no such type; INVALID_ARGUMENT, as all of these.
        InvalidExpectation: An argument is missing, unknown, of a wrong type, or contradicts another.
    """

    type: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    meta: Mapping[str, Any] = field(default_factory=dict)
    severity: Severity = Severity.CRITICAL
    id: str | None = None
    notes: Any = None

    def __post_init__(self) -> None:
        rule = rule_of(self.type)
        object.__setattr__(self, "type", rule.type)
        object.__setattr__(self, "severity", _severity(self.severity))
        accepted: dict[str, Any] = {}
        for name, value in self.kwargs.items():
            if (argument := rule.arguments.get(name)) is None:
                close = get_close_matches(str(name), rule.arguments, n=1)
                hint = f"did you mean {close[0]}" if close else f"there are {', '.join(rule.arguments)}"
                raise InvalidExpectation(f"{self.type} has no argument {name!r}; {hint}.", field_violations=[(f"kwargs.{name}", "unknown")])
            if value is None and not argument.is_required:
                continue
            accepted[name] = self._accepted(name, value, argument.kind)
        for name, argument in rule.arguments.items():
            if argument.is_required and name not in accepted:
                raise InvalidExpectation(f"{self.type} needs the argument {name!r}.", field_violations=[(f"kwargs.{name}", "missing")])
        object.__setattr__(self, "kwargs", accepted)
        if wrong := rule.contradiction(self.arguments):
            raise InvalidExpectation(f"{self.type}: {wrong}.", field_violations=[("kwargs", wrong)])

    def _accepted(self, name: str, value: object, kind: Any) -> object:
        if isinstance(value, Mapping) and "$PARAMETER" in value:
            raise InvalidExpectation(
                f"{self.type}: {name} is a suite parameter; give its value.", field_violations=[(f"kwargs.{name}", "parameter")]
            )
        try:
            return kind(value)
        except ValueError as error:
            failure = InvalidRowCondition if name == "row_condition" else InvalidExpectation
            raise failure(f"{self.type}: {name} has to be {error}.", field_violations=[(f"kwargs.{name}", str(error))]) from None

    @property
    def arguments(self) -> Mapping[str, Any]:
        """Every argument of its type, with defaults for those not given."""
        return {name: self.kwargs.get(name, argument.default) for name, argument in rule_of(self.type).arguments.items()}

    @property
    def mostly(self) -> float:
        """Share of the values that count which has to be right; 1 unless it was given."""
        return float(self.kwargs.get("mostly", 1.0))

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that it is about, in the order of its arguments."""
        if isinstance(listed := self.kwargs.get("column_list"), list):
            return tuple(listed)
        return tuple(self.kwargs[name] for name in ("column", "column_A", "column_B") if name in self.kwargs)


def _severity(value: object) -> Severity:
    try:
        return Severity(str(value))
    except ValueError:
        raise InvalidExpectation(
            f"There is no severity {str(value)[:50]!r}; there are {', '.join(Severity)}.", field_violations=[("severity", "unknown")]
        ) from None


@dataclass(frozen=True)
class Suite:
    """Expectations of one table.

    Args:
        name: Its name.
        expectations: What is expected, in the order of the report.
        meta: Whatever belongs to it; kept, never read.
        id: Its identifier, kept.
        notes: Text for people, kept.

    Raises:
        InvalidSuite: It has no name; INVALID_ARGUMENT.
        SuiteTooLarge: It has more than 2,000 expectations; INVALID_ARGUMENT.
    """

    name: str
    expectations: tuple[Expectation, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)
    id: str | None = None
    notes: Any = None

    def __post_init__(self) -> None:
        try:
            text(self.name)
        except ValueError as error:
            raise InvalidSuite(f"The suite's name has to be {error}.", field_violations=[("name", str(error))]) from None
        object.__setattr__(self, "expectations", tuple(self.expectations))
        if len(self.expectations) > limits.MAX_EXPECTATIONS:
            raise SuiteTooLarge(f"The suite has {len(self.expectations)} expectations; at most {limits.MAX_EXPECTATIONS} are accepted.")
