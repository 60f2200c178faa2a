"""A check: aggregates to be computed in the common scan, and the conclusion from their values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import polars as pl


@dataclass(frozen=True)
class Observation:
    """What a check saw.

    Args:
        success: Whether the expectation is met.
        observed_value: The statistic, where it is about one.
        element_count: Rows that were looked at, where it is about rows.
        considered_count: Those of them that count: not missing, not ignored.
        unexpected_count: Those of them that break the rule.
        has_missing: Whether the rule leaves missing values out, so that their number is told.
        details: What else there is to say.
    """

    success: bool
    observed_value: object = None
    element_count: int | None = None
    considered_count: int | None = None
    unexpected_count: int | None = None
    has_missing: bool = False
    details: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class ColumnCheck:
    """A check of a table or a column as a whole.

    Args:
        aggregates: One value each, from the common scan.
        conclude: Judges their values.
    """

    aggregates: tuple[pl.Expr, ...]
    conclude: Callable[..., Observation]


@dataclass(frozen=True)
class RowCheck:
    """A check of each row.

    Args:
        columns: What to show of a row that breaks it.
        unexpected: True for these rows; false or null for all others.
        element_count: Rows that are looked at.
        considered_count: Those that count.
        mostly: Share of those that count which has to be right.
        has_missing: Whether the rule leaves missing values out.
    """

    columns: tuple[str, ...]
    unexpected: pl.Expr
    element_count: pl.Expr
    considered_count: pl.Expr
    mostly: float
    has_missing: bool = True

    @property
    def aggregates(self) -> tuple[pl.Expr, ...]:
        """Rows that are looked at, that count, and that break the rule."""
        return self.element_count, self.considered_count, self.unexpected.sum()

    def conclude(self, elements: int, considered: int, unexpected: int) -> Observation:
        """Judge the counts as GX does: nothing to judge is a success."""
        is_met = considered == 0 or (considered - unexpected) / considered >= self.mostly
        return Observation(
            is_met,
            element_count=elements,
            considered_count=considered,
            unexpected_count=unexpected,
            has_missing=self.has_missing,
        )


@dataclass(frozen=True, kw_only=True)
class UniqueCheck(RowCheck):
    """A check that no two rows have the same key.

    The scan counts distinct keys. Only where there are fewer of them than rows, how many rows share theirs takes a grouping
    of its own.

    Args:
        key: The columns of the key.
        considered: Rows that count.
    """

    key: tuple[pl.Expr, ...]
    considered: pl.Expr

    @property
    def aggregates(self) -> tuple[pl.Expr, ...]:
        """Rows that are looked at, that count, and distinct keys of the latter."""
        keys = self.key[0] if len(self.key) == 1 else pl.struct(expression.alias(str(n)) for n, expression in enumerate(self.key))
        return self.element_count, self.considered_count, keys.filter(self.considered).n_unique()

    def repeated(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        """Return the query of how many rows share their key."""
        names = [f"key {n}" for n in range(len(self.key))]
        keys = frame.filter(self.considered).select(expression.alias(name) for expression, name in zip(self.key, names, strict=True))
        return keys.group_by(names).agg(pl.len().alias("rows")).select(pl.col("rows").filter(pl.col("rows") > 1).sum())


Check = ColumnCheck | RowCheck


def known(success: bool, observed_value: object = None, **details: object) -> ColumnCheck:
    """Return a check that the schema alone decides."""
    observation = Observation(success, observed_value, details=details)
    return ColumnCheck((), lambda: observation)
