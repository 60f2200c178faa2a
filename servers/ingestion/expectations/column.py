"""A column as the rules see it: missing values are null, other rows than the condition's are left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import polars as pl

from servers.ingestion.expectations.errors import CannotRun, Reason
from servers.ingestion.expectations.row_condition import Condition, holds


@dataclass(frozen=True)
class Column:
    """One column.

    Args:
        name: Its name.
        dtype: The type of `value`.
        value: Its values; null where one is missing (NaN is, as in GX on pandas) or its row is not looked at.
    """

    name: str
    dtype: pl.DataType
    value: pl.Expr

    @property
    def is_number(self) -> bool:
        """Whether it holds whole numbers, floats or decimals."""
        return self.dtype.is_numeric()

    @property
    def is_time(self) -> bool:
        """Whether it holds dates, or dates with a time."""
        return self.dtype in (pl.Date, pl.Datetime)

    @property
    def is_text(self) -> bool:
        """Whether it holds texts."""
        return self.dtype == pl.String

    @property
    def is_orderable(self) -> bool:
        """Whether one value can be above another."""
        return self.is_number or self.is_text or self.dtype in (pl.Date, pl.Datetime, pl.Time, pl.Duration)

    @property
    def is_scalar(self) -> bool:
        """Whether its values are neither lists nor records nor bytes."""
        return self.is_orderable or self.dtype in (pl.Boolean, pl.Null)

    def need(self, fits: bool, what: str) -> Column:
        """Return the column where `fits`.

        Raises:
            CannotRun: It does not; says that `what` is needed.
        """
        if not fits:
            raise CannotRun(Reason.TYPE_NOT_SUPPORTED, f"Column {self.name!r} is of type {self.dtype}; this expectation needs {what}.")
        return self


@dataclass(frozen=True)
class Table:
    """The table that an expectation looks at.

    Args:
        schema: Types of its columns.
        condition: Which rows; None for all.
    """

    schema: Mapping[str, pl.DataType]
    condition: Condition | None = None

    @property
    def rows(self) -> pl.Expr | None:
        """True for rows that are looked at, never null; None for all."""
        return None if self.condition is None else holds(self.condition, self._whole)

    @property
    def row_count(self) -> pl.Expr:
        """Number of rows that are looked at."""
        return pl.len() if (rows := self.rows) is None else rows.sum()

    def within(self, mask: pl.Expr) -> pl.Expr:
        """Return `mask`, true only for rows that are looked at."""
        return mask if (rows := self.rows) is None else rows & mask

    def column(self, name: Any) -> Column:
        """Return a column.

        Raises:
            CannotRun: There is none of this name.
        """
        whole = self._whole(name)
        if (rows := self.rows) is None:
            return whole
        return Column(whole.name, whole.dtype, pl.when(rows).then(whole.value))

    def _whole(self, name: str) -> Column:
        if (dtype := self.schema.get(name)) is None:
            close = get_close_matches(name, self.schema, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise CannotRun(Reason.COLUMN_NOT_FOUND, f"There is no column {name!r}.{hint}")
        value = pl.col(name)
        if dtype.is_float():
            return Column(name, dtype, value.fill_nan(None))
        if dtype in (pl.Categorical, pl.Enum):
            return Column(name, pl.String(), value.cast(pl.String))
        return Column(name, dtype, value)
