"""What somebody with the server's own database may do without a token."""

from __future__ import annotations

from servers.runtime.auth import Principal
from servers.users.accounts import Accounts
from servers.users.grants import EVERY_PROJECT, EVERYTHING

OPERATOR = Principal(subject="", display_name="operator", kind="service", grants={EVERY_PROJECT: frozenset({EVERYTHING})}, session_id="")
"""Whoever can write the database can do everything anyway."""


def reset_password(accounts: Accounts, username: str, password: str) -> None:
    """Replaces the password of a user, ends the sessions and a lock.

    Raises:
        servers.users.errors.UserNotFound: There is no such user.
        servers.users.errors.PasswordNotAllowed: It is a service user.
    """
    accounts.set_password(OPERATOR, username, password)
