"""API keys: made, listed, revoked, and exchanged for access tokens."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine

from servers.runtime.auth import DEFAULT_PROJECT, Principal
from servers.runtime.paging import Listing
from servers.users.access_tokens import TokenKind, TokenSubject
from servers.users.errors import ApiKeyInvalid, ApiKeyNotFound, ExpiryInThePast, InvalidScope, NeedsPermission, UserNotFound
from servers.users.identities import ApiKey, UserKind
from servers.users.key_format import new_key, parse_key
from servers.users.rights import MANAGE_USERS, Withdrawal, ensure_within, grants_of
from servers.users.store import credential_rows, user_rows
from sql_engine import write

EVERYBODY = "-"
"""Stands for all users where a list takes a user."""

_USE_TIME_GRAIN = timedelta(minutes=1)


@dataclass(frozen=True)
class Authenticated:
    """A key that was accepted.

    Args:
        key: The key.
        user_kind: Kind of its user.
        subject: Whom a token made from it stands for.
    """

    key: ApiKey
    user_kind: UserKind
    subject: TokenSubject


class ApiKeys:
    """The API keys of one mesh.

    Args:
        engine: Where they are kept.
        withdrawal: Ends tokens.
        clock: The time now.
        new_id: Makes identifiers.
    """

    def __init__(
        self,
        engine: Engine,
        withdrawal: Withdrawal,
        clock: Callable[[], datetime],
        new_id: Callable[[], str],
    ) -> None:
        self._engine = engine
        self._withdrawal = withdrawal
        self._clock = clock
        self._new_id = new_id
        self._on_revoke: Callable[[str], object] = lambda _group: None

    def tell_of_revocations(self, listener: Callable[[str], object]) -> None:
        """Has a listener told of the token group of each key that is revoked here, right after it is."""
        self._on_revoke = listener

    def create(
        self, caller: Principal, user_id: str, display_name: str, scopes: Collection[str], expire_time: datetime | None
    ) -> tuple[ApiKey, str]:
        """Makes a key.

        Args:
            caller: Who asks.
            user_id: Whose key; empty = the caller's.
            display_name: What it is for.
            scopes: Permissions to limit it to; none = no limit.
            expire_time: When it stops working; None = never.

        Returns:
            The key, and its text, which is kept nowhere.

        Raises:
            NeedsPermission: It is for somebody else, and the caller may not manage users.
            UserNotFound: There is no such user.
            ExpiryInThePast: It would never work.
            InvalidScope: The user has nothing of the scopes.
            PrivilegeEscalation: The key may do more than the caller.
        """
        if user_id not in ("", caller.subject) and not caller.may(MANAGE_USERS, DEFAULT_PROJECT):
            raise NeedsPermission(MANAGE_USERS, "Making a key for another user")
        if expire_time is not None and expire_time <= self._clock():
            raise ExpiryInThePast

        def insert(connection: Connection) -> tuple[ApiKey, str]:
            user = user_rows.find_user(connection, user_id or caller.subject)
            if user is None:
                raise UserNotFound(user_id or caller.subject)
            effective = grants_of(connection, user.id, scopes)
            if scopes and not effective:
                raise InvalidScope("The user has none of the permissions in `scopes`, so the key could do nothing.", field="api_key.scopes")
            ensure_within(caller, effective)
            return self._insert(connection, user.id, display_name, scopes, expire_time)

        return write(self._engine, insert)

    def create_unasked(self, connection: Connection, user_id: str, display_name: str) -> tuple[ApiKey, str]:
        """Makes a key on behalf of the platform, in a transaction of its own making; earlier ones of that name end."""
        now = self._clock()
        for key in credential_rows.keys_named(connection, user_id, display_name):
            credential_rows.revoke_key(connection, key, now, self._withdrawal.tokens_expire_time(now))
        return self._insert(connection, user_id, display_name, (), None)

    def page(self, caller: Principal, user_id: str, listing: Listing) -> tuple[list[ApiKey], str]:
        """Reads one page of keys.

        Args:
            caller: Who asks.
            user_id: Whose keys; empty = the caller's, `-` = everybody's.
            listing: Which page.

        Returns:
            Keys, and the token of the next page.

        Raises:
            NeedsPermission: They are somebody else's, and the caller may not manage users.
        """
        if user_id not in ("", caller.subject) and not caller.may(MANAGE_USERS, DEFAULT_PROJECT):
            raise NeedsPermission(MANAGE_USERS, "Listing the keys of others")
        with self._engine.connect() as connection:
            return credential_rows.list_keys(connection, listing, None if user_id == EVERYBODY else user_id or caller.subject)

    def revoke(self, caller: Principal, key_id: str) -> None:
        """Ends a key and every token made from it. A second time changes nothing.

        Raises:
            ApiKeyNotFound: There is none, or it is somebody else's and the caller may not manage users.
            PrivilegeEscalation: It is somebody else's who may do more than the caller.
        """

        def apply(connection: Connection) -> ApiKey:
            found = credential_rows.find_key(connection, key_id, lock=True)
            if found is None or (found[0].user_id != caller.subject and not caller.may(MANAGE_USERS, DEFAULT_PROJECT)):
                raise ApiKeyNotFound(key_id)
            key = found[0]
            if key.user_id != caller.subject:
                ensure_within(caller, grants_of(connection, key.user_id, key.scopes))
            now = self._clock()
            credential_rows.revoke_key(connection, key, now, self._withdrawal.tokens_expire_time(now))
            return key

        self._on_revoke(write(self._engine, apply).token_group)

    def authenticate(self, text: str) -> Authenticated:
        """Accepts a key and notes its use.

        Args:
            text: What the caller sent.

        Returns:
            Key and rights.

        Raises:
            ApiKeyMalformed: Form or checksum is wrong; nobody was asked.
            ApiKeyInvalid: It is unknown, expired or revoked, or its user is disabled.
        """
        accepted = self.examine(text)
        self._note_use(accepted.key)
        return accepted

    def examine(self, text: str) -> Authenticated:
        """Does the same without noting a use."""
        presented = parse_key(text)
        now = self._clock()
        with self._engine.connect() as connection:
            found = credential_rows.find_key(connection, presented.id)
            if found is None or not hmac.compare_digest(found[1], presented.digest) or not found[0].is_live(now):
                raise ApiKeyInvalid
            key = found[0]
            user = user_rows.find_user(connection, key.user_id)
            if user is None or user.is_disabled:
                raise ApiKeyInvalid
            # Read after the token group: rights that are taken away meanwhile end that group, and with it what is read here.
            grants = grants_of(connection, user.id, key.scopes)
        kind: TokenKind = "service" if user.kind is UserKind.SERVICE else "api_key"
        return Authenticated(key, user.kind, TokenSubject(user.id, user.username, kind, key.token_group, grants))

    def _note_use(self, key: ApiKey) -> None:
        now = self._clock()
        not_after = now - _USE_TIME_GRAIN
        if key.last_use_time is None or key.last_use_time <= not_after:
            write(self._engine, lambda connection: credential_rows.write_use_time(connection, key.id, now, not_after))

    def _insert(
        self, connection: Connection, user_id: str, display_name: str, scopes: Collection[str], expire_time: datetime | None
    ) -> tuple[ApiKey, str]:
        text = new_key()
        parsed = parse_key(text)
        key = ApiKey(
            id=parsed.id,
            user_id=user_id,
            display_name=display_name,
            scopes=tuple(sorted(scopes)),
            create_time=self._clock(),
            expire_time=expire_time,
            last_use_time=None,
            revoke_time=None,
            token_group=self._new_id(),
        )
        credential_rows.insert_key(connection, key, parsed.digest)
        return key, text
