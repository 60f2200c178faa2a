"""Logins: passwords and keys against tokens, and refresh tokens that work once."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import Connection, Engine

from servers.runtime.auth import Principal
from servers.users.access_tokens import AccessToken, TokenIssuer, TokenSubject
from servers.users.api_keys import ApiKeys
from servers.users.errors import (
    InvalidCredentials,
    InvalidScope,
    NotAServiceClient,
    PasswordNotAllowed,
    RefreshTokenInvalid,
    RefreshTokenReused,
    WrongPassword,
)
from servers.users.grants import Grants, is_permission, narrowed
from servers.users.identities import Session, User, UserKind
from servers.users.key_format import parse_key
from servers.users.lockout import LockoutPolicy, after_failure, login_key
from servers.users.passwords import PasswordHasher, check_new_password
from servers.users.rights import Withdrawal, grants_of
from servers.users.store import credential_rows, user_rows
from servers.users.store.credential_rows import RefreshToken
from sql_engine import write

_MAX_SCOPES = 100
_REFRESH_PREFIX = "mlr_"


@dataclass(frozen=True)
class SessionPolicy:
    """How long a login lasts.

    Args:
        lifetime_s: A session ends for good after that many seconds.
        idle_s: A refresh token works for that many seconds.
    """

    lifetime_s: float = 30 * 86400.0
    idle_s: float = 7 * 86400.0


@dataclass(frozen=True)
class Tokens:
    """What a login gives.

    Args:
        access: Access token.
        refresh: Refresh token; empty where there is none.
        scopes: Permissions the access token is limited to; none = no limit.
    """

    access: AccessToken
    refresh: str = ""
    scopes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Unsigned:
    """Tokens before the signature, which is made outside of the transaction: it may have to write a signing key first."""

    subject: TokenSubject
    refresh: str
    scopes: tuple[str, ...]


class Logins:
    """Gives tokens to who proves who they are.

    Args:
        engine: Where users and sessions are kept.
        passwords: Verifies passwords.
        api_keys: Accepts API keys.
        issuer: Makes access tokens.
        withdrawal: Ends tokens.
        lockout: When guessing is slowed down.
        sessions: How long a login lasts.
        clock: The time now.
        new_id: Makes identifiers.
        on_attempt: Told the identifier of the user whose password or token comes, before it is judged: the audit log wants it.
    """

    def __init__(
        self,
        engine: Engine,
        passwords: PasswordHasher,
        api_keys: ApiKeys,
        issuer: TokenIssuer,
        withdrawal: Withdrawal,
        lockout: LockoutPolicy,
        sessions: SessionPolicy,
        clock: Callable[[], datetime],
        new_id: Callable[[], str],
        on_attempt: Callable[[str], object] = lambda _user_id: None,
    ) -> None:
        self._on_attempt = on_attempt
        self._engine = engine
        self._passwords = passwords
        self._api_keys = api_keys
        self._issuer = issuer
        self._withdrawal = withdrawal
        self._lockout = lockout
        self._sessions = sessions
        self._clock = clock
        self._new_id = new_id

    def with_password(self, username: str, password: str, scopes: Collection[str] = ()) -> Tokens:
        """Logs a person in.

        Args:
            username: Login name, upper or lower case.
            password: Password.
            scopes: Permissions to limit the session to; none = no limit.

        Returns:
            An access and a refresh token.

        Raises:
            InvalidCredentials: They are wrong, or the account is disabled or locked; the error does not tell which.
            TooManyLogins: Too many passwords wait to be checked.
            InvalidScope: The scopes leave nothing.
        """
        limits = checked_scopes(scopes)
        name = username.strip().lower()
        while True:
            verified = self._verified(name, password)
            if verified is None:
                raise InvalidCredentials
            begin = partial(self._begin, username=name, scopes=limits, verified=verified)
            if (begun := write(self._engine, begin)) is not None:
                return self._signed(begun)

    def with_refresh_token(self, text: str, scopes: Collection[str] = ()) -> Tokens:
        """Continues a session. The token is used up; the answer has the next.

        Args:
            text: The refresh token of the last answer.
            scopes: Permissions to limit this access token to, within those of the session.

        Returns:
            An access and a refresh token.

        Raises:
            RefreshTokenInvalid: It is unknown or expired, or its session has ended.
            RefreshTokenReused: It was used before; the session has been ended.
            InvalidScope: The scopes leave nothing.
        """
        limits = checked_scopes(scopes)
        digest = _digest(text)
        outcome = write(self._engine, lambda connection: self._continue(connection, digest, limits))
        if outcome is None:
            raise RefreshTokenReused
        return self._signed(outcome)

    def with_api_key(self, text: str, scopes: Collection[str] = ()) -> Tokens:
        """Exchanges an API key for an access token.

        Raises:
            ApiKeyMalformed: It is not a key.
            ApiKeyInvalid: It does not work.
            InvalidScope: The scopes leave nothing.
        """
        limits = checked_scopes(scopes)
        accepted = self._api_keys.authenticate(text)
        self._on_attempt(accepted.key.user_id)
        subject = _within(accepted.subject, limits)
        return Tokens(self._issuer.issue(subject, not_after=accepted.key.expire_time), scopes=limits or accepted.key.scopes)

    def with_client_credentials(self, client_id: str, client_secret: str, scopes: Collection[str] = ()) -> Tokens:
        """Logs a service user in with an API key and its identifier.

        Raises:
            ApiKeyMalformed: The secret is not a key.
            ApiKeyInvalid: The key does not work.
            NotAServiceClient: Identifier and key differ, or the key is a person's.
            InvalidScope: The scopes leave nothing.
        """
        if parse_key(client_secret).id != client_id or self._api_keys.authenticate(client_secret).user_kind is not UserKind.SERVICE:
            raise NotAServiceClient
        return self.with_api_key(client_secret, scopes)

    def logout(self, caller: Principal) -> None:
        """Ends the session that a call came with. Tokens of an API key end too; the key goes on."""

        def apply(connection: Connection) -> None:
            now = self._clock()
            session = credential_rows.find_session_of_group(connection, caller.session_id)
            if session is not None:
                credential_rows.revoke_session(connection, session, now, self._withdrawal.tokens_expire_time(now))

        write(self._engine, apply)

    def change_password(self, caller: Principal, current: str, new: str) -> None:
        """Replaces the caller's password and ends the caller's other sessions.

        Raises:
            WrongPassword: The current one is wrong, or the account is locked.
            WeakPassword: The new one is refused.
            PasswordNotAllowed: The caller is a service user.
        """
        with self._engine.connect() as connection:
            user = user_rows.find_user(connection, caller.subject)
        if user is None or user.kind is UserKind.SERVICE:
            raise PasswordNotAllowed(caller.display_name)
        check_new_password(new, user.username, "new_password")
        verified = self._verified(user.username, current)
        if verified is None:
            raise WrongPassword
        with self._passwords.turn():
            password_hash = self._passwords.hash(new)

        def apply(connection: Connection) -> None:
            if not user_rows.write_password_hash(connection, user.id, password_hash, instead_of=verified):
                # Somebody has set another one meanwhile.
                raise WrongPassword
            user_rows.clear_attempts(connection, login_key(user.username))
            self._withdrawal.of_sessions(connection, user.id, self._clock(), except_group=caller.session_id)

        write(self._engine, apply)

    def who_is(self, caller: Principal) -> tuple[User, str]:
        """The caller's user, and the identifier of the session or API key that the call came with.

        Raises:
            RefreshTokenInvalid: The user was deleted a moment ago.
        """
        with self._engine.connect() as connection:
            user = user_rows.find_user(connection, caller.subject)
            session = credential_rows.find_session_of_group(connection, caller.session_id)
            key = None if session is not None else credential_rows.find_key_of_group(connection, caller.session_id)
        if user is None:
            raise RefreshTokenInvalid
        return user, session.id if session is not None else key.id if key is not None else ""

    def _verified(self, username: str, password: str) -> str | None:
        """Checks a password; counts it where it is wrong. Takes as long for names that nobody has.

        Returns:
            The hash by which it is right; None where it is wrong.
        """
        key = login_key(username)
        with self._passwords.turn():
            # Read while it is our turn: of many guesses at the same moment only those that hash right now can be beyond the limit.
            with self._engine.connect() as connection:
                attempts = user_rows.attempts_of(connection, key)
                found = user_rows.password_hash_of(connection, username)
            # Names that nobody has are not told: people type passwords into the wrong field.
            self._on_attempt("" if found is None else found[0])
            stored = None if found is None else found[1]
            is_right = self._passwords.verify(stored, password)
            newer = self._passwords.hash(password) if is_right and stored and self._passwords.is_outdated(stored) else None
        now = self._clock()
        if not is_right or (attempts is not None and attempts.is_locked(now)):
            write(
                self._engine,
                lambda connection: user_rows.record_failure(connection, key, lambda before: after_failure(self._lockout, before, now)),
            )
            return None
        if newer is not None and found is not None:
            replace = partial(user_rows.write_password_hash, user_id=found[0], password_hash=newer, instead_of=stored)
            return newer if write(self._engine, replace) else stored
        return stored

    def _begin(self, connection: Connection, username: str, scopes: tuple[str, ...], verified: str) -> _Unsigned | None:
        """Begins a session; None where the password is no longer the one that was verified."""
        now = self._clock()
        user = user_rows.find_user(connection, username, lock=True)
        if user is None or user.username != username or user.is_disabled:
            raise InvalidCredentials
        attempts = user_rows.attempts_of(connection, login_key(username), lock=True)
        if attempts is not None and attempts.is_locked(now):
            raise InvalidCredentials
        if user_rows.password_hash_of(connection, username) != (user.id, verified):
            return None
        if attempts is not None:
            user_rows.clear_attempts(connection, login_key(username))
        user_rows.write_login_time(connection, user.id, now)
        session = Session(
            id=self._new_id(),
            user_id=user.id,
            scopes=scopes,
            create_time=now,
            expire_time=now + timedelta(seconds=self._sessions.lifetime_s),
            revoke_time=None,
            token_group=self._new_id(),
        )
        credential_rows.insert_session(connection, session)
        return self._unsigned(connection, user, session, ())

    def _continue(self, connection: Connection, digest: str, scopes: tuple[str, ...]) -> _Unsigned | None:
        """Gives the next tokens; None where the token was used before, and its session is ended."""
        now = self._clock()
        token = credential_rows.find_refresh_token(connection, digest)
        session = credential_rows.find_session(connection, token.session_id, lock=True) if token is not None else None
        if session is not None:
            self._on_attempt(session.user_id)
        if token is None or session is None or not session.is_live(now) or now >= token.expire_time:
            raise RefreshTokenInvalid
        if token.use_time is not None:
            credential_rows.revoke_session(connection, session, now, self._withdrawal.tokens_expire_time(now))
            return None
        user = user_rows.find_user(connection, session.user_id, lock=True)
        if user is None or user.is_disabled:
            raise RefreshTokenInvalid
        credential_rows.use_refresh_token(connection, digest, now)
        # Its token group may have changed since the row was read, by a right that was taken away.
        current = credential_rows.find_session(connection, session.id)
        return self._unsigned(connection, user, current or session, scopes)

    def _unsigned(self, connection: Connection, user: User, session: Session, scopes: tuple[str, ...]) -> _Unsigned:
        grants = grants_of(connection, user.id, session.scopes)
        subject = _within(TokenSubject(user.id, user.username, "user", session.token_group, grants), scopes or session.scopes)
        refresh = _REFRESH_PREFIX + secrets.token_urlsafe(32)
        expire_time = min(session.expire_time, self._clock() + timedelta(seconds=self._sessions.idle_s))
        credential_rows.insert_refresh_token(connection, RefreshToken(_digest(refresh), session.id, expire_time))
        return _Unsigned(subject, refresh, scopes or session.scopes)

    def _signed(self, unsigned: _Unsigned) -> Tokens:
        return Tokens(self._issuer.issue(unsigned.subject), unsigned.refresh, unsigned.scopes)


def checked_scopes(scopes: Collection[str]) -> tuple[str, ...]:
    """Sorts scopes and refuses what is none.

    Raises:
        InvalidScope: There are too many, or one does not have the form of a permission.
    """
    if len(scopes) > _MAX_SCOPES:
        raise InvalidScope(f"{len(scopes)} scopes were sent; at most {_MAX_SCOPES} are allowed.")
    for scope in scopes:
        if not is_permission(scope):
            raise InvalidScope(f"{scope[:80]!r} is not a permission; a scope looks like `registry.models.read`, `registry.*` or `*`.")
    return tuple(sorted(set(scopes)))


def _within(subject: TokenSubject, scopes: tuple[str, ...]) -> TokenSubject:
    grants: Grants = narrowed(subject.grants, scopes)
    if scopes and not grants:
        raise InvalidScope(f"{subject.name!r} has nothing of the scope {' '.join(scopes)!r}.")
    return TokenSubject(subject.user_id, subject.name, subject.kind, subject.token_group, grants)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
