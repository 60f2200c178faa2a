"""What can be wrong with a plan; each has one reason and names the step."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from servers.runtime.errors import InvalidArgument

_SHOWN_CHARACTERS = 200
_NAMES_SHOWN = 20


def shown(text: str) -> str:
    """A name or an expression as a message shows it: quoted, and cut where it is long."""
    return repr(text) if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]!r}…"


def near(name: str, names: Iterable[str], *, lists_others: bool = True) -> str:
    """The end of a message about an unknown name: those that are close to it, or else the first of them all."""
    known = list(names)
    by_lower = {each.lower(): each for each in known}
    close = difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.6)
    if close:
        return f"; did you mean {' or '.join(shown(by_lower[each]) for each in close)}?"
    if not known or not lists_others:
        return "" if known else "; there are none"
    listed = ", ".join(shown(each) for each in known[:_NAMES_SHOWN])
    return f"; there are {listed}{f' and {len(known) - _NAMES_SHOWN} more' if len(known) > _NAMES_SHOWN else ''}"


class InvalidPlan(InvalidArgument):
    """A plan cannot be run, whatever the rows.

    Args:
        message: What is wrong, what is allowed and what to do, without the place.
        step: Name of the step.
        line: Line of a SQL text, from 1.
        column: Character of that line, from 1.
    """

    reason = "INVALID_PLAN"

    def __init__(self, message: str, *, step: str | None = None, line: int | None = None, column: int | None = None) -> None:
        facts = {"step": None if step is None else step[:255], "line": line, "column": column}
        places = [f"step {shown(step)}" if step is not None else "", f"line {line}, column {column}" if line is not None else ""]
        place = ", ".join(each for each in places if each)
        super().__init__(
            f"{place}: {message}" if place else message, metadata={key: str(value) for key, value in facts.items() if value is not None}
        )
        self.bare_message = message
        self.step = step
        self.line = line
        self.column = column

    def at_step(self, step: str) -> InvalidPlan:
        """The same error with the step's name."""
        return self if self.step is not None else type(self)(self.bare_message, step=step, line=self.line, column=self.column)


class PlanTooLarge(InvalidPlan):
    """A plan beyond the limits of `limits.py`."""

    reason = "PLAN_TOO_LARGE"


class InvalidStep(InvalidPlan):
    """A step's own fields cannot be used or contradict each other."""

    reason = "INVALID_STEP"


class UnknownStep(InvalidPlan):
    """An input or output names no step of the plan."""

    reason = "UNKNOWN_STEP"


class DuplicateStep(InvalidPlan):
    """Two steps have one name."""

    reason = "DUPLICATE_STEP"


class PlanCycle(InvalidPlan):
    """A step needs its own rows."""

    reason = "PLAN_CYCLE"


class UnknownInput(InvalidPlan):
    """A scan reads an input that the job has not."""

    reason = "UNKNOWN_INPUT"


class UnknownColumn(InvalidPlan):
    """An expression or field names a column that the step's input has not."""

    reason = "UNKNOWN_COLUMN"


class AmbiguousColumn(InvalidPlan):
    """A name of a SELECT may mean the columns of several relations."""

    reason = "AMBIGUOUS_COLUMN"


class DuplicateColumn(InvalidPlan):
    """Two columns of a step's result, or of an input, have one name (case does not count)."""

    reason = "DUPLICATE_COLUMN"


class InvalidExpression(InvalidPlan):
    """A text is no expression of the kind that the step needs."""

    reason = "INVALID_EXPRESSION"


class VolatileFunction(InvalidExpression):
    """A function whose value depends on more than its arguments, so the same job could give other rows."""

    reason = "VOLATILE_FUNCTION"


class TypeMismatch(InvalidPlan):
    """The types of columns do not go with an operator, a function, a key or a union."""

    reason = "TYPE_MISMATCH"


class UnsupportedType(InvalidPlan):
    """A column has a type that cannot travel between engines."""

    reason = "UNSUPPORTED_TYPE"


class InvalidSql(InvalidPlan):
    """A text is not one SELECT."""

    reason = "INVALID_SQL"


class UnsupportedSql(InvalidSql):
    """A SELECT has a construct that plans do not know; the message names it and what to use instead."""

    reason = "UNSUPPORTED_SQL"
