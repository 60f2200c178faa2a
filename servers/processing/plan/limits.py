"""How large a plan may be."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PlanLimits:
    """Limits of one plan.

    Args:
        steps: Most steps, as written; a fitted step becomes a few nodes.
        columns: Most columns of one step's result.
        expression_characters: Longest expression.
        sql_characters: Longest SELECT.
        source_characters: Longest Python source of a function.
    """

    steps: int = 500
    columns: int = 5_000
    expression_characters: int = 20_000
    sql_characters: int = 200_000
    source_characters: int = 200_000
