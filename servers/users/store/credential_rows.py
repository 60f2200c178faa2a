"""API keys, sessions, refresh tokens, and what was revoked of them."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Collection as Names
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, RowMapping, delete, insert, or_, select, update

from aip_filter import Field, Schema
from servers.runtime.pages import Collection, read_page
from servers.runtime.paging import Listing
from servers.users.identities import ApiKey, Session
from servers.users.store.tables import api_keys, refresh_tokens, revocations, sessions


@dataclass(frozen=True)
class RefreshToken:
    """A refresh token.

    Args:
        digest: SHA-256 of it, 64 hexadecimal digits.
        session_id: Session it continues.
        expire_time: When it can no longer be used.
        use_time: When it was used.
    """

    digest: str
    session_id: str
    expire_time: datetime
    use_time: datetime | None = None


def insert_key(connection: Connection, key: ApiKey, digest: bytes) -> None:
    """Adds an API key."""
    connection.execute(
        insert(api_keys).values(
            id=key.id,
            user_id=key.user_id,
            digest=digest,
            display_name=key.display_name,
            scopes=list(key.scopes),
            create_time=key.create_time,
            expire_time=key.expire_time,
            token_group=key.token_group,
        )
    )


def find_key(connection: Connection, key_id: str, *, lock: bool = False) -> tuple[ApiKey, bytes] | None:
    """Reads an API key and the digest of its text."""
    query = select(api_keys).where(api_keys.c.id == key_id)
    row = connection.execute(query.with_for_update() if lock else query).mappings().first()
    return None if row is None else (_key(row), row["digest"])


def keys_named(connection: Connection, user_id: str, display_name: str) -> list[ApiKey]:
    """A user's keys with a display name that are not revoked."""
    query = select(api_keys).where(api_keys.c.user_id == user_id, api_keys.c.display_name == display_name, api_keys.c.revoke_time.is_(None))
    return [_key(row) for row in connection.execute(query).mappings()]


def list_keys(connection: Connection, listing: Listing, user_id: str | None) -> tuple[list[ApiKey], str]:
    """Reads one page of API keys, of one user or, with None, of all."""
    if user_id is None:
        return read_page(connection, _KEYS, listing)
    return read_page(connection, _KEYS, listing, api_keys.c.user_id == user_id, scope=user_id)


def write_use_time(connection: Connection, key_id: str, now: datetime, not_after: datetime) -> None:
    """Notes a use, unless a later one than `not_after` is noted."""
    connection.execute(
        update(api_keys)
        .where(api_keys.c.id == key_id, or_(api_keys.c.last_use_time.is_(None), api_keys.c.last_use_time <= not_after))
        .values(last_use_time=now)
    )


def revoke_key(connection: Connection, key: ApiKey, now: datetime, tokens_expire_time: datetime) -> None:
    """Ends an API key and its access tokens."""
    connection.execute(update(api_keys).where(api_keys.c.id == key.id, api_keys.c.revoke_time.is_(None)).values(revoke_time=now))
    _revoke_groups(connection, [key.token_group], tokens_expire_time)


def insert_session(connection: Connection, session: Session) -> None:
    """Begins a session."""
    connection.execute(
        insert(sessions).values(
            id=session.id,
            user_id=session.user_id,
            scopes=list(session.scopes),
            create_time=session.create_time,
            expire_time=session.expire_time,
            token_group=session.token_group,
        )
    )


def find_session(connection: Connection, session_id: str, *, lock: bool = False) -> Session | None:
    """Reads a session; with `lock` it stays as it is until the transaction ends."""
    query = select(sessions).where(sessions.c.id == session_id)
    row = connection.execute(query.with_for_update() if lock else query).mappings().first()
    return None if row is None else _session(row)


def find_session_of_group(connection: Connection, token_group: str) -> Session | None:
    """Reads the session whose access tokens carry a claim `sid`."""
    row = connection.execute(select(sessions).where(sessions.c.token_group == token_group)).mappings().first()
    return None if row is None else _session(row)


def find_key_of_group(connection: Connection, token_group: str) -> ApiKey | None:
    """Reads the API key whose access tokens carry a claim `sid`."""
    row = connection.execute(select(api_keys).where(api_keys.c.token_group == token_group)).mappings().first()
    return None if row is None else _key(row)


def revoke_session(connection: Connection, session: Session, now: datetime, tokens_expire_time: datetime) -> None:
    """Ends a session and its access tokens."""
    connection.execute(update(sessions).where(sessions.c.id == session.id, sessions.c.revoke_time.is_(None)).values(revoke_time=now))
    _revoke_groups(connection, [session.token_group], tokens_expire_time)


def revoke_sessions_of(
    connection: Connection, user_id: str, now: datetime, tokens_expire_time: datetime, *, except_group: str = ""
) -> None:
    """Ends a user's sessions and their access tokens, but for one."""
    live = (sessions.c.user_id == user_id, sessions.c.revoke_time.is_(None), sessions.c.token_group != except_group)
    groups = list(connection.execute(select(sessions.c.token_group).where(*live)).scalars())
    connection.execute(update(sessions).where(*live).values(revoke_time=now))
    _revoke_groups(connection, groups, tokens_expire_time)


def revoke_access_tokens_of(
    connection: Connection, user_ids: Names[str], now: datetime, tokens_expire_time: datetime, new_group: Callable[[], str]
) -> None:
    """Ends the access tokens of users, not their sessions and keys: the next tokens made from those carry the rights of then.

    Args:
        connection: Where to write.
        user_ids: Whose tokens.
        now: Sessions and keys that have ended by then need no new group.
        tokens_expire_time: When the last token made so far expires.
        new_group: Makes identifiers of token groups.
    """
    for table in (sessions, api_keys):
        live = (table.c.user_id.in_(sorted(user_ids)), table.c.revoke_time.is_(None))
        found = connection.execute(
            select(table.c.id, table.c.token_group).where(*live, or_(table.c.expire_time.is_(None), table.c.expire_time > now))
        ).all()
        for row in found:
            connection.execute(update(table).where(table.c.id == row.id).values(token_group=new_group()))
        _revoke_groups(connection, [row.token_group for row in found], tokens_expire_time)


def insert_refresh_token(connection: Connection, token: RefreshToken) -> None:
    """Adds a refresh token."""
    connection.execute(insert(refresh_tokens).values(digest=token.digest, session_id=token.session_id, expire_time=token.expire_time))


def find_refresh_token(connection: Connection, digest: str) -> RefreshToken | None:
    """Reads a refresh token, to be used in this transaction and in no other."""
    row = connection.execute(select(refresh_tokens).where(refresh_tokens.c.digest == digest).with_for_update()).first()
    return None if row is None else RefreshToken(row.digest, row.session_id, row.expire_time, row.use_time)


def use_refresh_token(connection: Connection, digest: str, now: datetime) -> None:
    """Marks a refresh token as used."""
    connection.execute(update(refresh_tokens).where(refresh_tokens.c.digest == digest).values(use_time=now))


def revoked_groups(connection: Connection, now: datetime) -> list[str]:
    """Claims `sid` whose access tokens were ended and may be unexpired."""
    return list(connection.execute(select(revocations.c.token_group).where(revocations.c.expire_time > now)).scalars())


def delete_expired(connection: Connection, now: datetime) -> None:
    """Deletes sessions, refresh tokens and revocations whose time is over."""
    connection.execute(delete(refresh_tokens).where(refresh_tokens.c.expire_time <= now))
    connection.execute(delete(sessions).where(sessions.c.expire_time <= now))
    connection.execute(delete(revocations).where(revocations.c.expire_time <= now))


def _revoke_groups(connection: Connection, groups: Names[str], expire_time: datetime) -> None:
    if not groups:
        return
    known = set(connection.execute(select(revocations.c.token_group).where(revocations.c.token_group.in_(sorted(groups)))).scalars())
    rows = [{"token_group": group, "expire_time": expire_time} for group in groups if group not in known]
    if rows:
        connection.execute(insert(revocations), rows)


def _key(row: RowMapping) -> ApiKey:
    return ApiKey(
        id=row["id"],
        user_id=row["user_id"],
        display_name=row["display_name"],
        scopes=tuple(row["scopes"]),
        create_time=row["create_time"],
        expire_time=row["expire_time"],
        last_use_time=row["last_use_time"],
        revoke_time=row["revoke_time"],
        token_group=row["token_group"],
    )


def _session(row: RowMapping) -> Session:
    return Session(
        id=row["id"],
        user_id=row["user_id"],
        scopes=tuple(row["scopes"]),
        create_time=row["create_time"],
        expire_time=row["expire_time"],
        revoke_time=row["revoke_time"],
        token_group=row["token_group"],
    )


_KEYS = Collection(
    name="api_keys",
    source=api_keys,
    columns=tuple(api_keys.c),
    schema=Schema(
        {
            "display_name": Field("string", api_keys.c.display_name),
            "user_id": Field("string", api_keys.c.user_id),
            "create_time": Field("timestamp", api_keys.c.create_time),
            "expire_time": Field("timestamp", api_keys.c.expire_time),
            "revoke_time": Field("timestamp", api_keys.c.revoke_time),
        }
    ),
    order_fields={"create_time": api_keys.c.create_time, "display_name": api_keys.c.display_name},
    default_order="create_time",
    tie_breaker=api_keys.c.id,
    read=_key,
)
