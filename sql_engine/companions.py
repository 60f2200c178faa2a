"""Rows that become visible together with what somebody else writes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from sqlalchemy import Connection, Engine

__all__ = ["Companion", "accompanied", "companions_of"]


@dataclass(eq=False)
class Companion:
    """Rows that wait for a transaction to join.

    Args:
        engine: The database whose transactions it joins.
        write: Writes the rows. Where it raises, the transaction that it joined is rolled back. It runs again where that transaction does.
        is_written: Whether a transaction that it joined was committed.
    """

    engine: Engine
    write: Callable[[Connection], object]
    is_written: bool = False


_companions: ContextVar[tuple[Companion, ...]] = ContextVar("sql_engine_companions", default=())


@contextmanager
def accompanied(engine: Engine, write: Callable[[Connection], object]) -> Iterator[Companion]:
    """Have rows written at the start of the first transaction that this block writes with `begin_write` or `write`, and committed with it.

    So two things that belong together cost one commit and cannot come apart, though neither knows of the other.

    Args:
        engine: The database; transactions on others are left alone.
        write: Writes the rows; see `Companion`.

    Yields:
        The companion, which tells whether the block has written.
    """
    companion = Companion(engine, write)
    token = _companions.set((*_companions.get(), companion))
    try:
        yield companion
    finally:
        _companions.reset(token)


def companions_of(engine: Engine) -> list[Companion]:
    """Return those that wait for a transaction on a database, in the order in which they were announced."""
    return [companion for companion in _companions.get() if companion.engine is engine and not companion.is_written]
