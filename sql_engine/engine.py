"""Opens SQLite, PostgreSQL and MySQL or MariaDB so that the same transactions mean the same on each."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from sql_engine.companions import companions_of
from sql_engine.errors import DatabaseUrlError
from sql_engine.sqlite_writer import BUSY_TIMEOUT_MS, SqliteWriter
from sql_engine.urls import engine_url

__all__ = ["after_commit", "begin_write", "connect", "is_conflict", "write"]

_Result = TypeVar("_Result")

_PAUSE_S = 0.01
"""Between two attempts to set the journal mode, in seconds."""

_ATTEMPTS = 8
_PRAGMAS = (
    "synchronous=FULL",
    # Pages of 4 KiB. With 1,000, as SQLite has it, creating a version took 2.9 instead of 2.7 ms (one comparison, there and back).
    "wal_autocheckpoint=4000",
    "foreign_keys=ON",
    f"busy_timeout={BUSY_TIMEOUT_MS}",
)
_WRITER = "sql_engine_writer"
_AFTER_COMMIT = "sql_engine_after_commit"
_SCHEMA = re.compile(r"[a-z][a-z0-9_]{0,62}", re.ASCII)
# PostgreSQL: serialization_failure, deadlock_detected. MySQL: deadlock found, and on MariaDB "record has changed since last read".
_POSTGRESQL_CONFLICTS = frozenset({"40001", "40P01"})
_MYSQL_CONFLICTS = frozenset({1213, 1020})


def connect(url: str | URL, *, schema: str | None = None, pool_size: int = 8) -> Engine:
    """Open a database; the file, schema or database that `schema` stands for is created where it does not exist.

    SQLite runs in WAL mode with ``synchronous=FULL``: a commit that returned survives a power cut. PostgreSQL and MySQL run at
    READ COMMITTED, so lock what you read to write (``with_for_update()``), which SQLite does not need: its writers come one by one.

    Args:
        url: See `sql_engine.engine_url`.
        schema: Keeps several components apart in one database; lower-case letters, digits and ``_``.
        pool_size: Connections kept open; as many again may be opened for a while.

    Raises:
        DatabaseUrlError: If URL or schema cannot be read.
        DriverMissing: If the driver of the database is not installed.
    """
    if schema is not None and not _SCHEMA.fullmatch(schema):
        raise DatabaseUrlError(f"{schema!r} is no schema name; allowed are lower-case letters, digits and _, beginning with a letter")
    target = engine_url(url, schema)
    dialect = target.get_backend_name()
    if dialect == "sqlite":
        return _sqlite(target, pool_size)
    if dialect == "postgresql":
        return _postgresql(target, schema, pool_size)
    return _mysql(target, pool_size)


@contextmanager
def begin_write(engine: Engine) -> Iterator[Connection]:
    """Run a block in a transaction that may write, committed at its end.

    On SQLite it takes the write lock at once: a transaction that begins by reading would fail with "database is locked" when another
    one writes before it does. Companions (see `accompanied`) that wait for a transaction join this one.
    """
    companions = companions_of(engine)
    writer: SqliteWriter | None = engine.get_execution_options().get(_WRITER)
    with engine.connect() if writer is None else writer.connection() as connection, connection.begin():
        calls: dict[tuple[Callable[..., object], tuple[object, ...]], None] = {}
        connection.info[_AFTER_COMMIT] = calls
        for companion in companions:
            companion.write(connection)
        yield connection
    for companion in companions:
        companion.is_written = True
    for call, arguments in calls:
        call(*arguments)


def after_commit(connection: Connection, call: Callable[..., object], *arguments: object) -> None:
    """Have a function called once others see what a transaction has written, and not where it is rolled back.

    Args:
        connection: Within a transaction of `begin_write` or `write`.
        call: The function, called once for the same arguments. It returns at once and raises nothing.
        arguments: What it gets.
    """
    connection.info[_AFTER_COMMIT][call, arguments] = None


def write(engine: Engine, work: Callable[[Connection], _Result], *, attempts: int = _ATTEMPTS) -> _Result:
    """Run a function in a transaction that may write, and again where it lost against another transaction.

    Args:
        engine: Where.
        work: The function. It runs again after a deadlock, a failed serialisation or a unique key that somebody else took meanwhile,
            so it must do nothing that a rollback does not undo.
        attempts: How often it runs at most.

    Returns:
        What `work` returned in the run that was committed.
    """
    for attempt in range(attempts):
        try:
            with begin_write(engine) as connection:
                return work(connection)
        except DBAPIError as error:
            if attempt + 1 == attempts or not is_conflict(error):
                raise
    raise AssertionError("unreachable")  # pragma: no cover - the loop returns or raises


def is_conflict(error: DBAPIError) -> bool:
    """Return whether a transaction lost against another one and may win when it runs again."""
    if isinstance(error, IntegrityError):
        return True
    if getattr(error.orig, "sqlstate", None) in _POSTGRESQL_CONFLICTS:
        return True
    arguments: tuple[Any, ...] = getattr(error.orig, "args", ())
    return type(error.orig).__module__.startswith("pymysql") and bool(arguments) and arguments[0] in _MYSQL_CONFLICTS


def _sqlite(url: URL, pool_size: int) -> Engine:
    folder = Path(str(url.database)).parent
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    engine = create_engine(
        url,
        pool_size=pool_size,
        max_overflow=pool_size,
        # A connection forgets the pages it holds when another one writes: with writers in turn, a call read 33 pages again instead of 3.
        pool_use_lifo=True,
        connect_args={"timeout": BUSY_TIMEOUT_MS / 1000},
    )
    engine.update_execution_options(**{_WRITER: SqliteWriter(engine)})

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        # The driver must not begin transactions of its own (https://docs.sqlalchemy.org/en/20/dialects/sqlite.html).
        connection.isolation_level = None
        with closing(connection.cursor()) as cursor:
            _into_wal(cursor)
            for pragma in _PRAGMAS:
                cursor.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # Straight to the driver: what SQLAlchemy does around a statement takes ten times as long as this one.
        driver: Any = connection.connection.driver_connection
        driver.execute(f"BEGIN {connection.get_execution_options().get('sqlite_begin', 'DEFERRED')}").close()

    return engine


def _into_wal(cursor: sqlite3.Cursor) -> None:
    """Sets the journal mode. While others do the same to a new database, SQLite refuses it at once, busy time-out or not."""
    deadline = time.monotonic() + BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE_S)
        else:
            return


def _postgresql(url: URL, schema: str | None, pool_size: int) -> Engine:
    if schema is None:
        return _server_engine(url, pool_size, {})
    # Created by a connection of its own: a search_path may name what does not exist yet.
    bootstrap = create_engine(url, poolclass=NullPool)
    with bootstrap.begin() as connection:
        # CREATE SCHEMA IF NOT EXISTS still fails where two do it at once.
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('sql_engine.schema'))"))
        connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {schema}"))
    return _server_engine(url, pool_size, {"options": f"-csearch_path={schema}"})


def _mysql(url: URL, pool_size: int) -> Engine:
    database = str(url.database).replace("`", "")
    bootstrap = create_engine(url.set(database=""), poolclass=NullPool)
    with bootstrap.begin() as connection:
        exists = connection.execute(text("SELECT 1 FROM information_schema.schemata WHERE schema_name = :name"), {"name": database}).first()
        if exists is None:
            connection.execute(text(f"CREATE DATABASE IF NOT EXISTS `{database}` CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"))
        is_mariadb = "mariadb" in str(connection.execute(text("SELECT VERSION()")).scalar()).lower()
    # Their collations have different names, and either answers to the other's URL.
    url = url.set(drivername="mariadb+pymysql" if is_mariadb else "mysql+pymysql")
    # All times are UTC, and a value too long is an error instead of a truncation.
    init = "SET time_zone='+00:00', sql_mode='STRICT_ALL_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE,ERROR_FOR_DIVISION_BY_ZERO'"
    return _server_engine(url, pool_size, {"init_command": init})


def _server_engine(url: URL, pool_size: int, connect_args: dict[str, Any]) -> Engine:
    # pre_ping: a connection that a restart or an idle time-out of the server cut is replaced instead of failing a request.
    return create_engine(
        url, pool_size=pool_size, max_overflow=pool_size, pool_pre_ping=True, isolation_level="READ COMMITTED", connect_args=connect_args
    )
