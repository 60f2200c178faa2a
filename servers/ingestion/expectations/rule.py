"""The register of rules: for each expectation's type its arguments, and how it becomes a check of a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from servers.ingestion.expectations.arguments import Argument, choice, optional, share
from servers.ingestion.expectations.checks import Check
from servers.ingestion.expectations.column import Table
from servers.ingestion.expectations.row_condition import row_condition

Compile = Callable[[Table, Mapping[str, Any]], Check]
Contradiction = Callable[[Mapping[str, Any]], str | None]


@dataclass(frozen=True)
class Rule:
    """What an expectation's type means.

    Args:
        type: Its name in Great Expectations.
        arguments: Its arguments by name.
        compile: Makes the check of a table; gets every argument, with defaults.
        contradiction: Says what is wrong with arguments that are right one by one; None where nothing is.
    """

    type: str
    arguments: Mapping[str, Argument]
    compile: Compile
    contradiction: Contradiction


RULES: dict[str, Rule] = {}

_CONDITION = {
    "row_condition": optional(row_condition),
    "condition_parser": optional(choice("great_expectations", "great_expectations__experimental__", "pandas")),
}
_MOSTLY = {"mostly": optional(share, 1.0)}


def _consistent(_: Mapping[str, Any]) -> None:
    return None


def rule(
    type: str,
    arguments: Mapping[str, Argument],
    *,
    mostly: bool = False,
    condition: bool = True,
    contradiction: Contradiction = _consistent,
) -> Callable[[Compile], Compile]:
    """Register the function below as the meaning of an expectation's type.

    Args:
        type: Its name in Great Expectations.
        arguments: Its own arguments.
        mostly: Whether it judges rows, and so takes `mostly`.
        condition: Whether it takes `row_condition`.
        contradiction: What may be wrong with arguments together.

    Returns:
        The decorator.
    """

    def register(compile_: Compile) -> Compile:
        every = {**arguments, **(_MOSTLY if mostly else {}), **(_CONDITION if condition else {})}
        RULES[type] = Rule(type, every, compile_, contradiction)
        return compile_

    return register


def bounds_contradict(arguments: Mapping[str, Any]) -> str | None:
    """Return what is wrong with `min_value` and `max_value`: none of them, or the wrong way round."""
    low, high = arguments["min_value"], arguments["max_value"]
    if low is None and high is None:
        return "min_value and max_value cannot both be missing"
    if low is not None and high is not None:
        if isinstance(low, str) != isinstance(high, str):
            return "min_value and max_value are of different types"
        if low > high:
            return f"min_value {low} is above max_value {high}"
    return None
