"""Whose rights reach how far, read from the bindings; and the rules that nobody rises above themselves and somebody stays in charge."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from servers.runtime.auth import Principal
from servers.users.errors import LastAdministrator, PrivilegeEscalation
from servers.users.grants import Grants, compiled, lacking, narrowed
from servers.users.store.credential_rows import revoke_access_tokens_of, revoke_sessions_of
from servers.users.store.role_rows import bound_permissions, has_administrator
from servers.users.store.user_rows import lock_users

MANAGE_USERS = "users.users.manage"
READ_USERS = "users.users.read"


def grants_of(connection: Connection, user_id: str, scopes: Collection[str] = ()) -> Grants:
    """What a user may do, within scopes."""
    return narrowed(compiled(bound_permissions(connection, user_id)), scopes)


def ensure_within(caller: Principal, wanted: Grants) -> None:
    """Refuses what would give the caller, or let the caller give, rights that the caller has not.

    Raises:
        PrivilegeEscalation: `wanted` has something beyond the caller's grants.
    """
    missing = lacking(caller.grants, wanted)
    if missing:
        raise PrivilegeEscalation(missing)


def ensure_administrator(connection: Connection) -> None:
    """Refuses a change, made in this transaction, after which nobody may do everything. `lock_administrators` comes first.

    Raises:
        LastAdministrator: Nobody is left.
    """
    if not has_administrator(connection):
        raise LastAdministrator


@dataclass(frozen=True)
class Withdrawal:
    """Ends tokens early, wherever they are.

    Args:
        token_lifetime_s: Longest lifetime of an access token, in seconds, with room for clocks that differ.
        new_id: Makes identifiers.
    """

    token_lifetime_s: float
    new_id: Callable[[], str]

    def tokens_expire_time(self, now: datetime) -> datetime:
        """When the last token made so far has expired."""
        return now + timedelta(seconds=self.token_lifetime_s)

    def of_access_tokens(self, connection: Connection, user_ids: Collection[str], now: datetime) -> None:
        """Ends the access tokens of users whose rights shrink. Their sessions and keys go on, with the rights of now."""
        lock_users(connection, user_ids)
        revoke_access_tokens_of(connection, user_ids, now, self.tokens_expire_time(now), self.new_id)

    def of_sessions(self, connection: Connection, user_id: str, now: datetime, *, except_group: str = "") -> None:
        """Ends a user's sessions, but for the one with a claim `sid`."""
        lock_users(connection, [user_id])
        revoke_sessions_of(connection, user_id, now, self.tokens_expire_time(now), except_group=except_group)

    def of_everything(self, connection: Connection, user_id: str, now: datetime) -> None:
        """Ends a user's sessions and the access tokens of the user's API keys."""
        self.of_sessions(connection, user_id, now)
        self.of_access_tokens(connection, [user_id], now)
