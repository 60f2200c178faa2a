"""Vectors in PostgreSQL, one row an entity."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from queue import LifoQueue
from typing import Any

import psycopg
from sqlalchemy import (
    ARRAY,
    URL,
    Column,
    ColumnElement,
    Connection,
    Engine,
    LargeBinary,
    MetaData,
    PoolProxiedConnection,
    Table,
    Text,
    any_,
    bindparam,
    delete,
    func,
    literal,
    literal_column,
    make_url,
    or_,
    select,
    true,
    union_all,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from servers.features.online.errors import EntityKeyCollision, OnlineStoreFull, OnlineStoreUnavailable
from servers.features.online.keys import is_hashed, slot_of
from servers.features.online.recency import time_prefix
from servers.features.online.store import OnlineRow, Written, batches_of, encoded_view
from servers.runtime.database_errors import from_database
from servers.runtime.errors import ResourceExhausted
from sql_engine import ExactText, connect, migrate, write

__all__ = ["PostgresqlOnlineStore"]

_MIGRATIONS = Path(__file__).parent / "postgresql_migrations"
_BATCH_ROWS = 1000
_BATCH_BYTES = 4 << 20
_STEP_ROWS = 5000
_READERS = 8
_BYTES = ARRAY(LargeBinary)

_VECTORS = Table(
    "online_vectors",
    MetaData(),
    Column("view", ExactText(), primary_key=True),
    Column("slot", LargeBinary, primary_key=True),
    Column("long_key", LargeBinary),
    Column("vector", LargeBinary, nullable=False),
)


class PostgresqlOnlineStore:
    """Vectors in a PostgreSQL database, in a schema of their own.

    Args:
        url: `postgresql://…`. Comes from the settings.
        schema: Its schema, made where it does not exist.
        timeout_s: Longest wait for a connection and for a read, in seconds.

    Raises:
        sql_engine.DatabaseUrlError: If the URL cannot be read.
        sql_engine.DriverMissing: If the driver is not installed.
        sql_engine.MigrationError: If the table is newer than this program.
        OnlineStoreUnavailable: If the server does not answer.
    """

    def __init__(self, url: str, *, schema: str = "features_online", timeout_s: float = 2.0) -> None:
        self._timeout_ms = max(1, round(timeout_s * 1000))
        with _typed():
            self._engine = connect(_with_timeouts(make_url(url), self._timeout_ms), schema=schema, pool_size=_READERS)
            migrate(self._engine, _MIGRATIONS)
        # Connections that are kept for reads: taking one from the pool, looking whether it lives, and a transaction of its own are three
        # round trips more than the read.
        self._readers: LifoQueue[PoolProxiedConnection | None] = LifoQueue()
        for _ in range(_READERS):
            self._readers.put(None)

    def write(self, view: str, rows: Iterable[OnlineRow]) -> Written:
        """See `OnlineStore`. A batch is one statement in a transaction of its own."""
        encoded_view(view)
        total = Written(0, 0)
        for batch in batches_of(rows, _BATCH_ROWS, _BATCH_BYTES):
            with _typed():
                written = write(self._engine, partial(_upsert, view, _newest(batch)))
            total += Written(written, len(batch) - written)
        return total

    def read(self, view: str, keys: Sequence[bytes]) -> list[bytes | None]:
        """See `OnlineStore`."""
        return self.read_many({view: keys})[view]

    def read_many(self, keys: Mapping[str, Sequence[bytes]]) -> dict[str, list[bytes | None]]:
        """See `OnlineStore`. One statement, so all vectors are of one moment."""
        slots = {view: [slot_of(key) for key in wanted] for view, wanted in keys.items() if encoded_view(view)}
        if not any(slots.values()):
            return {view: [] for view in keys}
        parameters: dict[str, Any] = {}
        for number, (view, wanted) in enumerate(slots.items()):
            parameters |= {f"view_{number}": view, f"slots_{number}": wanted}
        found = {
            (number, slot): (key, vector) for number, slot, key, vector in self._fetched(_reading(self._engine, len(slots)), parameters)
        }
        return {
            view: [_vector_for(key, found.get((number, slot))) for key, slot in zip(wanted, slots[view], strict=True)]
            for number, (view, wanted) in enumerate(keys.items())
        }

    def delete(self, view: str, keys: Sequence[bytes]) -> int:
        """See `OnlineStore`."""
        encoded_view(view)
        slots = [slot_of(key) for key in keys]
        is_own = or_(_VECTORS.c.long_key.is_(None), _VECTORS.c.long_key == any_(literal(list(keys), _BYTES)))
        is_named = (_VECTORS.c.view == view) & (_VECTORS.c.slot == any_(literal(slots, _BYTES)))
        return self._removed(delete(_VECTORS).where(is_named, is_own))

    def remove_older(self, view: str, before_us: int) -> int:
        """See `OnlineStore`."""
        return self._remove(view, func.substring(_VECTORS.c.vector, 1, 8) < literal(time_prefix(before_us), LargeBinary))

    def drop(self, view: str) -> None:
        """See `OnlineStore`. Readers see it go piece by piece."""
        self._remove(view, true())

    def count(self, view: str) -> int:
        """See `OnlineStore`."""
        encoded_view(view)
        with _typed(), self._engine.connect() as connection:
            return int(connection.scalar(select(func.count()).select_from(_VECTORS).where(_VECTORS.c.view == view)) or 0)

    def check(self) -> None:
        """See `OnlineStore`."""
        self.read("check", [b""])

    def close(self) -> None:
        """See `OnlineStore`."""
        for _ in range(_READERS):
            reader = self._readers.get()
            if reader is not None:
                reader.close()
            self._readers.put(None)
        self._engine.dispose()

    def _remove(self, view: str, is_condemned: ColumnElement[bool]) -> int:
        encoded_view(view)
        some = select(_VECTORS.c.slot).where(_VECTORS.c.view == view, is_condemned).limit(_STEP_ROWS)
        # The condition again: a newer vector may come between the search and the deletion.
        statement = delete(_VECTORS).where(_VECTORS.c.view == view, _VECTORS.c.slot.in_(some), is_condemned)
        removed = 0
        while count := self._removed(statement):
            removed += count
        return removed

    def _removed(self, statement: Any) -> int:
        with _typed():
            return write(self._engine, lambda connection: int(connection.execute(statement).rowcount))

    def _fetched(self, sql: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        reader = self._readers.get()
        try:
            if reader is not None:
                try:
                    return _rows(reader, sql, parameters)
                except psycopg.Error:
                    # Perhaps cut by a restart of the server. If there is more to it, a new connection will tell.
                    reader.invalidate()
                    reader = None
            with _typed():
                reader = self._new_reader()
            with _typed():
                return _rows(reader, sql, parameters)
        except BaseException:
            if reader is not None:
                reader.invalidate()
                reader = None
            raise
        finally:
            self._readers.put(reader)

    def _new_reader(self) -> PoolProxiedConnection:
        reader = self._engine.raw_connection()
        connection: Any = reader.driver_connection
        connection.autocommit = True
        connection.execute(f"SET statement_timeout = {self._timeout_ms}")
        return reader


def _with_timeouts(url: URL, timeout_ms: int) -> URL:
    limits = {"connect_timeout": str(-(-timeout_ms // 1000)), "tcp_user_timeout": str(timeout_ms)}
    return url.update_query_dict({name: value for name, value in limits.items() if name not in url.query})


def _rows(reader: PoolProxiedConnection, sql: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    # Straight to the driver, and in binary: half the time, and as text every byte would take two.
    connection: Any = reader.driver_connection
    rows: list[tuple[Any, ...]] = connection.execute(sql, parameters, binary=True).fetchall()
    return rows


@lru_cache(maxsize=64)
def _reading(engine: Engine, views: int) -> str:
    columns = (_VECTORS.c.slot, _VECTORS.c.long_key, _VECTORS.c.vector)
    selects = [
        select(literal_column(str(number)), *columns).where(
            _VECTORS.c.view == bindparam(f"view_{number}", type_=Text), _VECTORS.c.slot == any_(bindparam(f"slots_{number}", type_=_BYTES))
        )
        for number in range(views)
    ]
    return str(union_all(*selects).compile(dialect=engine.dialect))


def _newest(batch: Sequence[OnlineRow]) -> list[tuple[bytes, bytes, bytes]]:
    """Returns slot, key and newest vector of each entity; in order, so that writers wait for each other instead of blocking each other."""
    newest: dict[bytes, tuple[bytes, bytes]] = {}
    for key, vector in batch:
        slot = slot_of(key)
        other, kept = newest.get(slot, (key, b""))
        if other != key:
            raise _collision()
        newest[slot] = (key, max(vector, kept))
    return [(slot, key, vector) for slot, (key, vector) in sorted(newest.items())]


def _upsert(view: str, rows: Sequence[tuple[bytes, bytes, bytes]], connection: Connection) -> int:
    arrays = {
        "slot": [slot for slot, _, _ in rows],
        "long_key": [key if is_hashed(slot) else None for slot, key, _ in rows],
        "vector": [vector for _, _, vector in rows],
    }
    given = (
        func.unnest(*(bindparam(name, values, type_=_BYTES) for name, values in arrays.items()))
        .table_valued(*arrays, name="given")
        .render_derived()
    )
    insertion = insert(_VECTORS).from_select(["view", *arrays], select(bindparam("view", view, type_=Text), *given.c))
    new = insertion.excluded
    is_newer = (_VECTORS.c.vector < new.vector) & _VECTORS.c.long_key.is_not_distinct_from(new.long_key)
    statement = insertion.on_conflict_do_update(index_elements=["view", "slot"], set_={"vector": new.vector}, where=is_newer)
    # SQLAlchemy counts rows of an INSERT only where it is told to.
    written = int(connection.execute(statement, execution_options={"preserve_rowcount": True}).rowcount)
    if hashed := {slot: key for slot, key, _ in rows if is_hashed(slot)}:
        kept = select(_VECTORS.c.slot, _VECTORS.c.long_key).where(
            _VECTORS.c.view == view, _VECTORS.c.slot == any_(literal(list(hashed), _BYTES))
        )
        if any(hashed[slot] != key for slot, key in connection.execute(kept)):
            raise _collision()
    return written


def _vector_for(key: bytes, found: tuple[bytes | None, bytes] | None) -> bytes | None:
    return found[1] if found is not None and found[0] in (None, key) else None


def _collision() -> EntityKeyCollision:
    return EntityKeyCollision("two entity keys have the same SHA-256; change the join keys of one")


@contextmanager
def _typed() -> Iterator[None]:
    try:
        yield
    except psycopg.OperationalError:
        raise OnlineStoreUnavailable("PostgreSQL does not answer in time") from None
    except (DBAPIError, PoolTimeout) as error:
        known = from_database(error)
        if isinstance(known, ResourceExhausted):
            raise OnlineStoreFull("the disk of the online store's PostgreSQL is full; free space, then repeat the call") from None
        if known is not None:
            raise OnlineStoreUnavailable("PostgreSQL does not answer, or refuses the credentials") from None
        raise
