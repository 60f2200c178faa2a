"""Uploads: what is known of them beside their bytes, and which ingestions need them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Engine, exists, func, insert, or_, select, update
from sqlalchemy import delete as delete_from

from servers.ingestion.store.tables import upload_uses, uploads

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
"""The time is over by every server's clock."""

_IS_USED = exists().where(upload_uses.c.upload_id == uploads.c.id)


@dataclass(frozen=True)
class KnownUpload:
    """What is known of an upload.

    Args:
        id: UUID.
        project: Its project.
        name: What its sender calls the file; empty where it has no name.
        size_bytes: Length of the whole file.
        expire_time: When it is forgotten, unless more comes or an ingestion needs it.
        blob_id: Its id in the blob store; None = its bytes have no place yet.
    """

    id: str
    project: str
    name: str
    size_bytes: int
    expire_time: datetime
    blob_id: str | None = None


class Uploads:
    """The uploads of all projects. One whose time is over is not there any more, unless an ingestion needs it.

    Where a method takes a `connection`, it is part of that transaction, which `sql_engine.write` began.

    Args:
        engine: The component's database, from `open_store`.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(self, connection: Connection, new: KnownUpload) -> None:
        """Adds an upload."""
        row = {column.name: getattr(new, column.name) for column in uploads.c}
        connection.execute(insert(uploads).values(row))

    def load(self, connection: Connection, project: str, now: datetime) -> tuple[int, int]:
        """Returns how many uploads a project has, and what they have in all, in bytes."""
        total = select(func.count(), func.coalesce(func.sum(uploads.c.size_bytes), 0)).where(uploads.c.project == project, _is_there(now))
        count, size_bytes = connection.execute(total).one()
        return int(count), int(size_bytes)

    def place(self, connection: Connection, upload_id: str, blob_id: str) -> None:
        """Notes where the bytes are."""
        connection.execute(update(uploads).where(uploads.c.id == upload_id).values(blob_id=blob_id))

    def find(self, project: str, upload_id: str, now: datetime) -> KnownUpload | None:
        """Returns an upload; None where the project has none of this id."""
        wanted = select(uploads).where(uploads.c.id == upload_id, uploads.c.project == project, _is_there(now))
        with self._engine.connect() as connection:
            row = connection.execute(wanted.where(uploads.c.blob_id.is_not(None))).mappings().one_or_none()
        return None if row is None else KnownUpload(**row)

    def renew(self, connection: Connection, upload_id: str, now: datetime, expire_time: datetime) -> bool:
        """Lets an upload live longer; returns whether it is there."""
        renewed = update(uploads).where(uploads.c.id == upload_id, _is_there(now)).values(expire_time=expire_time)
        return bool(connection.execute(renewed).rowcount)

    def use(self, connection: Connection, upload_id: str, ingestion_id: str, now: datetime) -> bool:
        """Notes that an ingestion, added in the same transaction, needs an upload; returns whether it is there."""
        if not _locked(connection, uploads.c.id == upload_id, _is_there(now)):
            return False
        connection.execute(insert(upload_uses).values(ingestion_id=ingestion_id, upload_id=upload_id))
        return True

    def user(self, connection: Connection, upload_id: str) -> str | None:
        """Returns an ingestion that needs an upload, and has nobody become one before the transaction ends; None where there is none."""
        _locked(connection, uploads.c.id == upload_id)
        of_upload = select(upload_uses.c.ingestion_id).where(upload_uses.c.upload_id == upload_id).limit(1)
        return connection.execute(of_upload).scalar_one_or_none()

    def remove(self, connection: Connection, upload_id: str) -> None:
        """Forgets an upload that nobody needs."""
        connection.execute(delete_from(uploads).where(uploads.c.id == upload_id))

    def remove_expired(self, connection: Connection, upload_id: str, now: datetime) -> bool:
        """Forgets an upload, if its time is over and nobody needs it; returns whether it did."""
        # Two statements: what one waits for at a lock it does not see in its subqueries.
        if not _locked(connection, uploads.c.id == upload_id, uploads.c.expire_time <= now):
            return False
        return bool(connection.execute(delete_from(uploads).where(uploads.c.id == upload_id, ~_IS_USED)).rowcount)

    def expired(self, now: datetime) -> list[tuple[str, str | None]]:
        """Returns the ids and the blobs' ids of uploads whose time is over and that nobody needs."""
        wanted = select(uploads.c.id, uploads.c.blob_id).where(uploads.c.expire_time <= now, ~_IS_USED)
        with self._engine.connect() as connection:
            return [(upload_id, blob_id) for upload_id, blob_id in connection.execute(wanted)]

    def blob_ids(self) -> Collection[str]:
        """Returns the ids that all uploads have in the blob store."""
        with self._engine.connect() as connection:
            return frozenset(connection.execute(select(uploads.c.blob_id).where(uploads.c.blob_id.is_not(None))).scalars())


def release_upload(connection: Connection, ingestion_id: str) -> None:
    """Notes that an ingestion has ended: the time of an upload that no other one needs is over then.

    Args:
        connection: Within the transaction in which it ends.
        ingestion_id: Which; many need no upload.
    """
    upload_id = connection.execute(select(upload_uses.c.upload_id).where(upload_uses.c.ingestion_id == ingestion_id)).scalar_one_or_none()
    if upload_id is None:
        return
    # Of two that end at the same time each would see the other one's need.
    _locked(connection, uploads.c.id == upload_id)
    connection.execute(delete_from(upload_uses).where(upload_uses.c.ingestion_id == ingestion_id))
    connection.execute(update(uploads).where(uploads.c.id == upload_id, ~_IS_USED).values(expire_time=_LONG_AGO))


def _is_there(now: datetime) -> Any:
    return or_(uploads.c.expire_time > now, _IS_USED)


def _locked(connection: Connection, *conditions: Any) -> bool:
    return connection.execute(select(uploads.c.id).where(*conditions).with_for_update()).first() is not None
