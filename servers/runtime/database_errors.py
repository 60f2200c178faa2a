"""Recognises a database that is down, locked or full, so that callers know a retry helps.

Everything else a database raises (a missing table, a wrong statement) is a bug, and stays INTERNAL.
"""

from __future__ import annotations

import sqlite3
import sys

from servers.runtime.errors import DomainError, ResourceExhausted, Unavailable

_SQLITE_RETRYABLE = frozenset(
    {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PROTOCOL}
)
# https://www.postgresql.org/docs/current/errcodes-appendix.html: connection, insufficient resources, operator
# intervention, and transactions that lost against another.
_POSTGRESQL_RETRYABLE = ("08", "53", "57", "40")
_POSTGRESQL_FULL = frozenset({"53100", "53200"})
# https://dev.mysql.com/doc/mysql-errors/8.4/en/: cannot connect, gone away, lost, too many connections, shutdown, lock wait
# time-out, deadlock, read-only.
_MYSQL_RETRYABLE = frozenset({1040, 1053, 1205, 1213, 1290, 2002, 2003, 2006, 2013, 2014, 2055})
_MYSQL_FULL = frozenset({1021, 1114})


def from_database(error: BaseException) -> DomainError | None:
    """Turns an error of SQLAlchemy into the domain error it stands for.

    Args:
        error: Anything raised.

    Returns:
        `Unavailable` or `ResourceExhausted`; None for everything that a retry does not help.
    """
    sqlalchemy_errors = sys.modules.get("sqlalchemy.exc")
    if sqlalchemy_errors is None:
        return None
    if isinstance(error, sqlalchemy_errors.TimeoutError):
        return _unavailable()
    if not isinstance(error, sqlalchemy_errors.DBAPIError):
        return None
    if error.connection_invalidated:
        return _unavailable()
    return _from_driver(error.orig)


def _from_driver(cause: BaseException | None) -> DomainError | None:
    sqlite_code = getattr(cause, "sqlite_errorcode", None)
    if sqlite_code is not None:
        primary = sqlite_code & 0xFF
        if primary == sqlite3.SQLITE_FULL:
            return _full()
        return _unavailable() if primary in _SQLITE_RETRYABLE else None
    if type(cause).__module__.startswith("psycopg"):
        return _from_postgresql(cause)
    if type(cause).__module__.startswith("pymysql"):
        code = cause.args[0] if cause is not None and cause.args else None
        if code in _MYSQL_FULL:
            return _full()
        return _unavailable() if code in _MYSQL_RETRYABLE else None
    return None


def _from_postgresql(cause: BaseException | None) -> DomainError | None:
    state = getattr(cause, "sqlstate", None)
    if state in _POSTGRESQL_FULL:
        return _full()
    if state is None:
        # psycopg has no SQLSTATE where no server answered.
        return _unavailable() if type(cause).__name__ in {"OperationalError", "ConnectionTimeout", "InterfaceError"} else None
    return _unavailable() if state.startswith(_POSTGRESQL_RETRYABLE) else None


def _unavailable() -> Unavailable:
    return Unavailable("The database does not answer; try again.", reason="DATABASE_UNAVAILABLE", retry_after_s=1)


def _full() -> ResourceExhausted:
    return ResourceExhausted(
        "The database's disk is full; free space or enlarge it, then repeat the call.", reason="STORAGE_FULL", retry_after_s=30
    )
