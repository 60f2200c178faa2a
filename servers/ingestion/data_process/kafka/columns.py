"""Columns of values that came in messages, and the rows that have to be left out of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import pyarrow as pa

from servers.ingestion.data_process.kafka.message import MESSAGE_UNREADABLE
from servers.ingestion.errors import shown
from servers.ingestion.tables.lossless import fit
from servers.ingestion.tables.lossless import shown as shown_in

FAILURES = (pa.ArrowException, OverflowError, TypeError, ValueError)
"""What Arrow raises for a value that is not of a type."""


class BadRow(NamedTuple):
    """Why a row is left out.

    Args:
        column: The column that it is about.
        value: The value, or what is wrong with it.
        reason: Why, in UPPER_SNAKE_CASE.
    """

    column: str
    value: str | None
    reason: str = MESSAGE_UNREADABLE


@dataclass(frozen=True, slots=True)
class Columns:
    """Columns of the same length."""

    names: list[str] = field(default_factory=list)
    arrays: list[pa.Array] = field(default_factory=list)
    bad: dict[int, BadRow] = field(default_factory=dict)
    """Rows to leave out, by number."""
    texts: dict[str, pa.Array] = field(default_factory=dict)
    """Columns of which `arrays` lacks values that do not fit, with all of their values as text."""

    def add(self, name: str, array: pa.Array) -> None:
        """Adds a column."""
        self.names.append(name)
        self.arrays.append(array)


class Payload(Protocol):
    """How values of messages become rows."""

    def parsed(self, value: bytes) -> Any:
        """Returns what `columns` makes a row of.

        Raises:
            Unreadable: It is not of the format.
        """

    def columns(self, rows: Sequence[Any], table: pa.Schema | None) -> Columns:
        """Returns the columns of parsed values.

        Args:
            rows: One or more.
            table: What the dataset has; None where there is none.

        Raises:
            servers.ingestion.table_errors.ValueDoesNotFit: A value does not go with the others, and the contract refuses that.
        """


def typed(name: str, values: list[Any], wanted: pa.DataType, bad: dict[int, BadRow]) -> pa.Array:
    """Returns values of a type that is known; those that are not of it are left out with their rows."""
    try:
        return pa.array(values, wanted)
    except FAILURES:
        pass
    for row, value in enumerate(values):
        if value is not None and not _is(value, wanted):
            bad.setdefault(row, BadRow(name, f"{shown(value)} does not fit {wanted}"))
    return pa.array([None if row in bad else value for row, value in enumerate(values)], wanted)


def overridden(name: str, values: pa.Array, wanted: pa.DataType, bad: dict[int, BadRow]) -> pa.Array:
    """Returns values in the type that the subscription wants; rows whose value would lose something are left out."""
    fitted = fit(values, wanted)
    if fitted.misfits is not None:
        for row, is_misfit in enumerate(fitted.misfits.to_pylist()):
            if is_misfit:
                bad.setdefault(row, BadRow(name, f"{shown_in(values, row)} does not fit {wanted} without loss"))
    return fitted.values


def each(values: Sequence[Any], convert: Callable[[Any], Any]) -> list[Any]:
    """Converts all but the nulls."""
    return [None if value is None else convert(value) for value in values]


def _is(value: Any, wanted: pa.DataType) -> bool:
    try:
        pa.array([value], wanted)
    except FAILURES:
        return False
    return True
