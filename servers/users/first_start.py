"""What makes an empty mesh usable: roles, an administrator, the mesh's own account, and the files with their keys."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, Engine

from servers.runtime.errors import DomainError
from servers.users.api_keys import ApiKeys
from servers.users.grants import EVERY_PROJECT
from servers.users.identities import ADMIN_ROLE, MESH_ROLE, Binding, User, UserKind
from servers.users.passwords import PasswordHasher, generated_password
from servers.users.roles import Roles
from servers.users.secret_files import read_secret, write_secret
from servers.users.store import role_rows, user_rows
from sql_engine import write

MESH_USERNAME = "mesh"
"""Login name of the account with which the servers call each other."""


@dataclass(frozen=True)
class Places:
    """Where keys are put.

    Args:
        token_file: API key of the administrator, for the command line.
        service_key_file: API key of the mesh's own account.
    """

    token_file: Path
    service_key_file: Path


class FirstStart:
    """Prepares a mesh. Every start runs it: what is there stays, what is missing is made.

    Args:
        engine: The database.
        roles: Writes the built-in roles.
        api_keys: Makes keys.
        passwords: Hashes the administrator's password.
        clock: The time now.
        new_id: Makes identifiers.
    """

    def __init__(
        self,
        engine: Engine,
        roles: Roles,
        api_keys: ApiKeys,
        passwords: PasswordHasher,
        clock: Callable[[], datetime],
        new_id: Callable[[], str],
    ) -> None:
        self._engine = engine
        self._roles = roles
        self._api_keys = api_keys
        self._passwords = passwords
        self._clock = clock
        self._new_id = new_id

    def prepare(self, admin_username: str, places: Places) -> str | None:
        """Makes what is missing.

        Args:
            admin_username: Login name of the administrator, where there is no user yet.
            places: Where keys are put.

        Returns:
            The generated password of the administrator that was made; None where there were users. It is nowhere else.
        """
        self._roles.write_built_in()
        password = self._make_administrator(admin_username)
        write(self._engine, self._make_mesh_account)
        self._provide_key(places.token_file, admin_username, "command line")
        self._provide_key(places.service_key_file, MESH_USERNAME, "servers")
        return password

    def _make_administrator(self, username: str) -> str | None:
        with self._engine.connect() as connection:
            if user_rows.any_user(connection):
                return None
        password = generated_password()
        with self._passwords.turn():
            password_hash = self._passwords.hash(password)

        def apply(connection: Connection) -> bool:
            role_rows.lock_administrators(connection)
            if user_rows.any_user(connection):
                return False
            self._add_user(connection, username, "Administrator", UserKind.HUMAN, ADMIN_ROLE, password_hash)
            return True

        return password if write(self._engine, apply) else None

    def _make_mesh_account(self, connection: Connection) -> None:
        user = user_rows.find_user(connection, MESH_USERNAME, lock=True)
        if user is None:
            self._add_user(connection, MESH_USERNAME, "Servers of the mesh", UserKind.SERVICE, MESH_ROLE, None)
        elif not role_rows.has_binding(connection, user.id, MESH_ROLE, EVERY_PROJECT):
            self._bind(connection, user.id, MESH_ROLE)

    def _add_user(
        self, connection: Connection, username: str, display_name: str, kind: UserKind, role: str, password_hash: str | None
    ) -> None:
        now = self._clock()
        user = User(
            id=self._new_id(),
            username=username,
            display_name=display_name,
            email="",
            kind=kind,
            is_disabled=False,
            labels={},
            create_time=now,
            update_time=now,
        )
        user_rows.insert_user(connection, user, password_hash)
        self._bind(connection, user.id, role)

    def _bind(self, connection: Connection, user_id: str, role: str) -> None:
        role_rows.insert_binding(connection, Binding(self._new_id(), user_id, role, EVERY_PROJECT, self._clock()))

    def _provide_key(self, file: Path, username: str, purpose: str) -> None:
        """Puts a working key of a user into a file, unless one is there."""
        with self._engine.connect() as connection:
            user = user_rows.find_user(connection, username)
        if user is None or user.is_disabled or self._is_working(read_secret(file), user.id):
            return
        # Named after its place, so that the servers of several machines on one database do not revoke each other's.
        display_name = f"{purpose} ({socket.gethostname()}:{file})"[:255]
        _, text = write(self._engine, lambda connection: self._api_keys.create_unasked(connection, user.id, display_name))
        write_secret(file, f"{text}\n".encode("ascii"))

    def _is_working(self, content: bytes | None, user_id: str) -> bool:
        if content is None:
            return False
        try:
            return self._api_keys.examine(content.decode("ascii", "replace").strip()).subject.user_id == user_id
        except DomainError:
            return False
