"""Users, their labels, and the wrong passwords of a name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection, RowMapping, and_, case, delete, func, insert, literal, or_, select, true, update

from aip_filter import Field, Schema, side_table
from servers.runtime.pages import Collection, read_page
from servers.runtime.paging import Listing
from servers.users.identities import User, UserKind, UserState
from servers.users.lockout import Attempts, login_key
from servers.users.store.tables import NEVER, login_attempts, user_labels, users

_SOURCE = users.outerjoin(login_attempts, login_attempts.c.login_key == users.c.login_key)
_COLUMNS = (*(column for column in users.c if column.name not in ("login_key", "password_hash")), login_attempts.c.lock_expire_time)


def insert_user(connection: Connection, user: User, password_hash: str | None) -> None:
    """Adds a user."""
    connection.execute(
        insert(users).values(
            id=user.id,
            username=user.username,
            login_key=login_key(user.username),
            display_name=user.display_name,
            email=user.email,
            kind=user.kind.value,
            is_disabled=user.is_disabled,
            password_hash=password_hash,
            create_time=user.create_time,
            update_time=user.update_time,
            last_login_time=user.last_login_time or NEVER,
            revision=user.revision,
        )
    )
    _write_labels(connection, user)


def update_user(connection: Connection, user: User) -> None:
    """Writes what an update may change."""
    connection.execute(
        update(users)
        .where(users.c.id == user.id)
        .values(
            display_name=user.display_name,
            email=user.email,
            is_disabled=user.is_disabled,
            update_time=user.update_time,
            revision=user.revision,
        )
    )
    connection.execute(delete(user_labels).where(user_labels.c.user_id == user.id))
    _write_labels(connection, user)


def delete_user(connection: Connection, user_id: str) -> None:
    """Deletes a user with all that is the user's."""
    connection.execute(delete(users).where(users.c.id == user_id))


def find_user(connection: Connection, which: str, *, lock: bool = False) -> User | None:
    """Reads a user by identifier or name.

    Args:
        connection: Where to read.
        which: Identifier or user name.
        lock: Whether the row stays as it is until the transaction ends.
    """
    is_wanted = or_(users.c.id == which, users.c.username == which)
    if lock:
        # Of its own, since MariaDB cannot lock one table of a join.
        connection.execute(select(users.c.id).where(is_wanted).with_for_update())
    row = connection.execute(select(*_COLUMNS).select_from(_SOURCE).where(is_wanted)).mappings().first()
    return None if row is None else _with_labels(connection, [_user(row)])[0]


def lock_users(connection: Connection, user_ids: Iterable[str]) -> None:
    """Keeps users as they are, and their logins waiting, until the transaction ends."""
    connection.execute(select(users.c.id).where(users.c.id.in_(sorted(user_ids))).order_by(users.c.id).with_for_update())


def list_users(connection: Connection, listing: Listing, now: datetime) -> tuple[list[User], str]:
    """Reads one page of users. `now` decides who is LOCKED."""
    items, token = read_page(connection, _collection(now), listing)
    return _with_labels(connection, items), token


def any_user(connection: Connection) -> bool:
    """Whether there is a user at all."""
    return connection.execute(select(users.c.id).limit(1)).first() is not None


def password_hash_of(connection: Connection, username: str) -> tuple[str, str | None] | None:
    """User id and password hash of a login name; None where nobody has the name."""
    row = connection.execute(select(users.c.id, users.c.password_hash).where(users.c.username == username)).first()
    return None if row is None else (row.id, row.password_hash)


def write_password_hash(connection: Connection, user_id: str, password_hash: str, *, instead_of: str | None = None) -> bool:
    """Replaces a password hash, whatever it is or if it still is a certain one; returns whether it did."""
    is_it = users.c.id == user_id if instead_of is None else and_(users.c.id == user_id, users.c.password_hash == instead_of)
    return connection.execute(update(users).where(is_it).values(password_hash=password_hash)).rowcount == 1


def write_login_time(connection: Connection, user_id: str, now: datetime) -> None:
    """Notes a login."""
    connection.execute(update(users).where(users.c.id == user_id).values(last_login_time=now))


def attempts_of(connection: Connection, key: str, *, lock: bool = False) -> Attempts | None:
    """Wrong passwords of a name in a row."""
    query = select(login_attempts).where(login_attempts.c.login_key == key)
    row = connection.execute(query.with_for_update() if lock else query).first()
    return None if row is None else Attempts(row.failures, row.last_failure_time, row.lock_expire_time)


def record_failure(connection: Connection, key: str, after_failure: Callable[[Attempts | None], Attempts]) -> None:
    """Counts a wrong password. Two at the same moment count twice."""
    before = attempts_of(connection, key, lock=True)
    after = after_failure(before)
    values = {"failures": after.failures, "last_failure_time": after.last_failure_time, "lock_expire_time": after.lock_expire_time}
    if before is None:
        connection.execute(insert(login_attempts).values(login_key=key, **values))
    else:
        connection.execute(update(login_attempts).where(login_attempts.c.login_key == key).values(**values))


def clear_attempts(connection: Connection, key: str) -> None:
    """Forgets the wrong passwords of a name, and ends its lock."""
    connection.execute(delete(login_attempts).where(login_attempts.c.login_key == key))


def delete_attempts_before(connection: Connection, moment: datetime) -> None:
    """Forgets names whose last wrong password is older than a moment and whose lock has ended."""
    connection.execute(
        delete(login_attempts).where(
            login_attempts.c.last_failure_time < moment,
            or_(login_attempts.c.lock_expire_time.is_(None), login_attempts.c.lock_expire_time < moment),
        )
    )


def _write_labels(connection: Connection, user: User) -> None:
    if user.labels:
        rows = [{"user_id": user.id, "key": key, "value": value} for key, value in user.labels.items()]
        connection.execute(insert(user_labels), rows)


def _with_labels(connection: Connection, found: Iterable[User]) -> list[User]:
    items = list(found)
    if not items:
        return items
    labels: dict[str, dict[str, str]] = {user.id: {} for user in items}
    for row in connection.execute(select(user_labels).where(user_labels.c.user_id.in_(labels))):
        labels[row.user_id][row.key] = row.value
    return [replace(user, labels=labels[user.id]) for user in items]


def _user(row: RowMapping) -> User:
    return User(
        id=row["id"],
        username=row["username"],
        display_name=row["display_name"],
        email=row["email"],
        kind=UserKind(row["kind"]),
        is_disabled=row["is_disabled"],
        labels={},
        create_time=row["create_time"],
        update_time=row["update_time"],
        last_login_time=row["last_login_time"] if row["last_login_time"] != NEVER else None,
        lock_expire_time=row["lock_expire_time"],
        revision=row["revision"],
    )


def _collection(now: datetime) -> Collection[User]:
    locked = login_attempts.c.lock_expire_time > literal(now, login_attempts.c.lock_expire_time.type)
    state = case((users.c.is_disabled == true(), UserState.DISABLED.value), (locked, UserState.LOCKED.value), else_=UserState.ACTIVE.value)
    return Collection(
        name="users",
        source=_SOURCE,
        columns=_COLUMNS,
        schema=Schema(
            {
                "username": Field("string", users.c.username),
                "display_name": Field("string", users.c.display_name),
                "email": Field("string", users.c.email),
                "kind": Field("enum", users.c.kind, values={kind.value: kind.value for kind in UserKind}),
                "state": Field("enum", state, values={state.value: state.value for state in UserState}),
                "labels": Field("map", entries=side_table(user_labels, user_labels.c.user_id == users.c.id)),
                "create_time": Field("timestamp", users.c.create_time),
                "last_login_time": Field("timestamp", func.nullif(users.c.last_login_time, literal(NEVER, users.c.last_login_time.type))),
            }
        ),
        order_fields={
            "username": users.c.username,
            "create_time": users.c.create_time,
            "last_login_time": users.c.last_login_time,
        },
        default_order="username",
        tie_breaker=users.c.id,
        read=_user,
    )
