"""INSERT of whole rows, compiled once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Dialect, Table, insert
from sqlalchemy.dialects import postgresql, sqlite

__all__ = ["Insertion"]

_MYSQL = ("mysql", "mariadb")


class Insertion:
    """Adds rows to a table by a statement that is compiled once: half the work of one that SQLAlchemy looks up each time.

    Args:
        table: The table. Every row has all of its columns, but for a primary key that the database makes.
        dialect: The database's.
        if_absent: Whether a row whose key is taken is left out instead of failing. One that another transaction is about to add is
            waited for.
    """

    def __init__(self, table: Table, dialect: Dialect, *, if_absent: bool = False) -> None:
        compiled = _statement(table, dialect, if_absent=if_absent).compile(dialect=dialect)
        self._sql = compiled.string
        self._order = list(compiled.positiontup or ()) if compiled.positional else None
        processors = {column.name: column.type.dialect_impl(dialect).bind_processor(dialect) for column in table.columns}
        self._processors = {name: process for name, process in processors.items() if process is not None}

    def run(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> int:
        """Add rows.

        Args:
            connection: Within the transaction of the database.
            rows: Values by the name of their column.

        Returns:
            How many were added.
        """
        if not rows:
            return 0
        parameters: Any = [self._parameters(row) for row in rows]
        return connection.exec_driver_sql(self._sql, parameters if len(parameters) > 1 else parameters[0]).rowcount

    def _parameters(self, row: Mapping[str, Any]) -> Any:
        values = dict(row)
        for name, process in self._processors.items():
            if name in values:
                values[name] = process(values[name])
        return values if self._order is None else tuple(values[name] for name in self._order)


def _statement(table: Table, dialect: Dialect, *, if_absent: bool) -> Any:
    if not if_absent:
        return insert(table)
    if dialect.name in _MYSQL:
        return insert(table).prefix_with("IGNORE")
    make: Callable[[Table], Any] = postgresql.insert if dialect.name == "postgresql" else sqlite.insert
    return make(table).on_conflict_do_nothing()
