"""The keys that sign access tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, insert, or_, select, update

from servers.users.store.tables import signing_keys


@dataclass(frozen=True)
class SigningKeyRow:
    """A key pair as it is kept.

    Args:
        generation: Counts the keys, from 1.
        key_id: Header `kid` of its tokens.
        public_jwk: Public half as a JSON Web Key.
        sealed_private_key: Encrypted private half; None once it signs no more.
        create_time: When it was made.
        activate_time: From when it signs.
        expire_time: Until when its tokens are accepted; None while no newer key exists.
    """

    generation: int
    key_id: str
    public_jwk: Mapping[str, Any]
    sealed_private_key: bytes | None
    create_time: datetime
    activate_time: datetime
    expire_time: datetime | None


def signing_key_rows(connection: Connection) -> list[SigningKeyRow]:
    """All keys, oldest first."""
    return [
        SigningKeyRow(
            row.generation, row.key_id, row.public_jwk, row.sealed_private_key, row.create_time, row.activate_time, row.expire_time
        )
        for row in connection.execute(select(signing_keys).order_by(signing_keys.c.generation))
    ]


def insert_signing_key(connection: Connection, row: SigningKeyRow) -> None:
    """Adds a key.

    Raises:
        sqlalchemy.exc.IntegrityError: Another server made this generation a moment ago.
    """
    connection.execute(
        insert(signing_keys).values(
            generation=row.generation,
            key_id=row.key_id,
            public_jwk=dict(row.public_jwk),
            sealed_private_key=row.sealed_private_key,
            create_time=row.create_time,
            activate_time=row.activate_time,
        )
    )


def limit_older_keys(connection: Connection, generation: int, expire_time: datetime) -> None:
    """Sets until when the tokens of the keys before a generation are accepted; an earlier limit stays."""
    connection.execute(
        update(signing_keys)
        .where(
            signing_keys.c.generation < generation,
            or_(signing_keys.c.expire_time.is_(None), signing_keys.c.expire_time > expire_time),
        )
        .values(expire_time=expire_time)
    )


def forget_private_keys(connection: Connection, below_generation: int) -> None:
    """Drops the private halves of keys that sign no more."""
    connection.execute(
        update(signing_keys)
        .where(signing_keys.c.generation < below_generation, signing_keys.c.sealed_private_key.is_not(None))
        .values(sealed_private_key=None)
    )


def delete_expired_keys(connection: Connection, now: datetime) -> None:
    """Deletes keys whose last token has expired."""
    connection.execute(delete(signing_keys).where(signing_keys.c.expire_time.is_not(None), signing_keys.c.expire_time <= now))
