"""Users: made, changed, disabled, deleted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection, Engine

from servers.runtime.auth import Principal
from servers.runtime.effects import effect_id, made_before
from servers.runtime.etags import check_etag, etag_of
from servers.runtime.paging import Listing
from servers.users.errors import PasswordNotAllowed, UnsupportedState, UserExists, UserNotFound
from servers.users.identities import User, UserKind, UserState
from servers.users.lockout import login_key
from servers.users.passwords import PasswordHasher, check_new_password
from servers.users.rights import Withdrawal, ensure_administrator, ensure_within, grants_of
from servers.users.store import role_rows, user_rows
from sql_engine import write


@dataclass(frozen=True)
class NewUser:
    """A user to create.

    Args:
        username: Login name.
        display_name: Name as people write it.
        email: E-mail address.
        kind: Person or program.
        is_disabled: Whether it begins disabled.
        labels: Labels.
        password: Initial password; None = it logs in with API keys only.
    """

    username: str
    display_name: str = ""
    email: str = ""
    kind: UserKind = UserKind.HUMAN
    is_disabled: bool = False
    labels: Mapping[str, str] | None = None
    password: str | None = None


@dataclass(frozen=True)
class UserUpdate:
    """What to change of a user; None leaves a field as it is.

    Args:
        display_name: New display name.
        email: New e-mail address.
        state: ACTIVE, which also ends a lock, or DISABLED.
        labels: New labels, all of them.
    """

    display_name: str | None = None
    email: str | None = None
    state: UserState | None = None
    labels: Mapping[str, str] | None = None


def user_etag(user: User) -> str:
    """Changes with every update of a user; a login does not count."""
    return etag_of("user", user.id, user.revision)


class Accounts:
    """The users of one mesh.

    Args:
        engine: Where they are kept.
        passwords: Hashes passwords.
        withdrawal: Ends tokens.
        clock: The time now.
    """

    def __init__(
        self,
        engine: Engine,
        passwords: PasswordHasher,
        withdrawal: Withdrawal,
        clock: Callable[[], datetime],
    ) -> None:
        self._engine = engine
        self._passwords = passwords
        self._withdrawal = withdrawal
        self._clock = clock

    def create(self, new: NewUser) -> User:
        """Creates a user without any rights.

        Raises:
            UserExists: The name is taken.
            WeakPassword: The password is refused.
            PasswordNotAllowed: A service user with a password.
        """
        if (before := made_before(self.get, UserNotFound)) is not None:
            return before
        password_hash = self._hash_new(new.username, new.kind, new.password, "user.password") if new.password is not None else None
        now = self._clock()
        user = User(
            id=effect_id(),
            username=new.username,
            display_name=new.display_name,
            email=new.email,
            kind=new.kind,
            is_disabled=new.is_disabled,
            labels=dict(new.labels or {}),
            create_time=now,
            update_time=now,
        )

        def insert(connection: Connection) -> User:
            if user_rows.find_user(connection, user.username) is not None:
                raise UserExists(user.username)
            user_rows.insert_user(connection, user, password_hash)
            # Wrong passwords that were tried before there was a user must not lock it.
            user_rows.clear_attempts(connection, login_key(user.username))
            return user

        return write(self._engine, insert)

    def get(self, which: str) -> User:
        """Reads a user by identifier or name.

        Raises:
            UserNotFound: There is none.
        """
        with self._engine.connect() as connection:
            return _found(connection, which)

    def page(self, listing: Listing) -> tuple[list[User], str]:
        """Reads one page of users, and the token of the next."""
        with self._engine.connect() as connection:
            return user_rows.list_users(connection, listing, self._clock())

    def update(self, caller: Principal, user_id: str, change: UserUpdate, etag: str) -> User:
        """Changes a user. DISABLED ends every session; ACTIVE ends a lock.

        Raises:
            UserNotFound: There is none.
            UnsupportedState: LOCKED is asked for.
            PrivilegeEscalation: The user may do more than the caller.
            LastAdministrator: Nobody would be left to administrate.
            servers.runtime.errors.Aborted: The user has changed since `etag`.
        """
        now = self._clock()

        def apply(connection: Connection) -> User:
            role_rows.lock_administrators(connection)
            before = _found(connection, user_id, lock=True)
            check_etag(etag, user_etag(before))
            ensure_within(caller, grants_of(connection, before.id))
            after = _changed(before, change, now)
            user_rows.update_user(connection, after)
            if after.is_disabled and not before.is_disabled:
                self._withdrawal.of_everything(connection, before.id, now)
                ensure_administrator(connection)
            if change.state is UserState.ACTIVE:
                user_rows.clear_attempts(connection, login_key(before.username))
            return _found(connection, before.id)

        return write(self._engine, apply)

    def set_password(self, caller: Principal, user_id: str, password: str) -> None:
        """Replaces a password, ends the user's sessions and a lock.

        Raises:
            UserNotFound: There is none.
            WeakPassword: The password is refused.
            PasswordNotAllowed: It is a service user.
            PrivilegeEscalation: The user may do more than the caller.
        """
        user = self.get(user_id)
        password_hash = self._hash_new(user.username, user.kind, password, "new_password")

        def apply(connection: Connection) -> None:
            before = _found(connection, user_id, lock=True)
            ensure_within(caller, grants_of(connection, before.id))
            user_rows.write_password_hash(connection, before.id, password_hash)
            user_rows.clear_attempts(connection, login_key(before.username))
            self._withdrawal.of_sessions(connection, before.id, self._clock())

        write(self._engine, apply)

    def delete(self, caller: Principal, user_id: str, etag: str) -> None:
        """Deletes a user with bindings, keys and sessions.

        Raises:
            UserNotFound: There is none.
            PrivilegeEscalation: The user may do more than the caller.
            LastAdministrator: Nobody would be left to administrate.
            servers.runtime.errors.Aborted: The user has changed since `etag`.
        """

        def apply(connection: Connection) -> None:
            role_rows.lock_administrators(connection)
            user = _found(connection, user_id, lock=True)
            check_etag(etag, user_etag(user))
            ensure_within(caller, grants_of(connection, user.id))
            self._withdrawal.of_everything(connection, user.id, self._clock())
            user_rows.clear_attempts(connection, login_key(user.username))
            user_rows.delete_user(connection, user.id)
            ensure_administrator(connection)

        write(self._engine, apply)

    def _hash_new(self, username: str, kind: UserKind, password: str, field: str) -> str:
        if kind is UserKind.SERVICE:
            raise PasswordNotAllowed(username)
        check_new_password(password, username, field)
        with self._passwords.turn():
            return self._passwords.hash(password)


def _found(connection: Connection, which: str, *, lock: bool = False) -> User:
    user = user_rows.find_user(connection, which, lock=lock)
    if user is None:
        raise UserNotFound(which)
    return user


def _changed(before: User, change: UserUpdate, now: datetime) -> User:
    if change.state is UserState.LOCKED and before.state(now) is not UserState.LOCKED:
        raise UnsupportedState(change.state.value)
    is_state_kept = change.state is None or change.state is UserState.LOCKED
    return replace(
        before,
        display_name=before.display_name if change.display_name is None else change.display_name,
        email=before.email if change.email is None else change.email,
        is_disabled=before.is_disabled if is_state_kept else change.state is UserState.DISABLED,
        labels=before.labels if change.labels is None else dict(change.labels),
        update_time=now,
        revision=before.revision + 1,
    )
