"""Recognises a database that is full or away; everything else it raises is a bug and goes through."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from model_management.errors import MetadataUnavailable, StorageFull

__all__ = ["typed_errors"]

# https://www.postgresql.org/docs/current/errcodes-appendix.html: disk_full, configuration_limit_exceeded.
_POSTGRESQL_FULL = frozenset({"53100", "53400"})
# https://mariadb.com/kb/en/mariadb-error-codes/: disk full, table is full.
_MYSQL_FULL = frozenset({1021, 1114})
_SQLITE_AWAY = frozenset(
    {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}
)


@contextmanager
def typed_errors() -> Iterator[None]:
    """Turn what a database raises when it is full or does not answer into the registry's errors.

    Raises:
        StorageFull: If its disk is full.
        MetadataUnavailable: If it cannot be reached, or did not come to the turn of this transaction.
    """
    try:
        yield
    except PoolTimeout as error:
        raise MetadataUnavailable("all connections are busy; try again") from error
    except DBAPIError as error:
        cause = error.orig
        if _is_full(cause):
            raise StorageFull("for metadata") from error
        if error.connection_invalidated or _is_away(cause):
            raise MetadataUnavailable(f"{type(cause).__name__}: {str(cause)[:200]}") from error
        raise


def _is_full(cause: BaseException | None) -> bool:
    if getattr(cause, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL:
        return True
    return getattr(cause, "sqlstate", None) in _POSTGRESQL_FULL or _mysql_code(cause) in _MYSQL_FULL


def _is_away(cause: BaseException | None) -> bool:
    sqlite_code = getattr(cause, "sqlite_errorcode", None)
    if sqlite_code is not None:
        return sqlite_code & 0xFF in _SQLITE_AWAY
    # 2xxx are errors of MySQL's client: cannot connect, gone away, lost.
    code = _mysql_code(cause)
    if code is not None:
        return code >= 2000 or code in {1040, 1053, 1205, 1290}
    state = getattr(cause, "sqlstate", "")
    return type(cause).__module__.startswith("psycopg") and (state is None or state[:2] in {"08", "57"})


def _mysql_code(cause: BaseException | None) -> int | None:
    if cause is None or not type(cause).__module__.startswith("pymysql"):
        return None
    code = cause.args[0] if cause.args else None
    return code if isinstance(code, int) else None
