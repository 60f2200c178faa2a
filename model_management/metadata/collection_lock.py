"""Keeps garbage collection and whoever refers to old blobs apart, on every database."""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, text

from model_management.errors import MetadataUnavailable

__all__ = ["database_lock"]

WAIT_S = 120
"""How long MySQL waits for the lock, in seconds; the others wait as long as its holder lives."""

_PLACES = threading.BoundedSemaphore(4)
"""Each keeps a connection for the lock while its block needs another: of too many the pool would have none left for any of them."""


@contextmanager
def database_lock(engine: Engine, *, exclusive: bool) -> Iterator[None]:
    """Hold the lock that belongs to a database, shared or exclusive; its holder's death frees it.

    Args:
        engine: The database.
        exclusive: Whether nobody else may hold it. MySQL's named locks are always exclusive.

    Raises:
        MetadataUnavailable: If it was not free in time.
    """
    if engine.dialect.name == "sqlite":
        descriptor = os.open(f"{engine.url.database}.collection-lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
            yield
        finally:
            os.close(descriptor)
    elif engine.dialect.name == "postgresql":
        function = "pg_advisory_xact_lock" if exclusive else "pg_advisory_xact_lock_shared"
        with _place(), engine.begin() as connection:
            connection.execute(text(f"SELECT {function}(hashtext('registry.collection'), hashtext(current_schema()))"))
            yield
    else:
        name = {"name": f"registry-{hashlib.sha256(str(engine.url.database).encode()).hexdigest()[:32]}"}
        with _place(), engine.connect() as connection:
            if connection.execute(text("SELECT GET_LOCK(:name, :seconds)"), {**name, "seconds": WAIT_S}).scalar() != 1:
                raise _not_free()
            try:
                yield
            finally:
                connection.execute(text("SELECT RELEASE_LOCK(:name)"), name)


@contextmanager
def _place() -> Iterator[None]:
    if not _PLACES.acquire(timeout=WAIT_S):
        raise _not_free()
    try:
        yield
    finally:
        _PLACES.release()


def _not_free() -> MetadataUnavailable:
    return MetadataUnavailable(f"garbage collection has been running for {WAIT_S} s; try again later")
