"""Roles, and who has them in which project."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection, Engine

from servers.runtime.auth import Principal
from servers.runtime.effects import effect_id, made_before
from servers.runtime.errors import InvalidArgument
from servers.runtime.etags import check_etag, etag_of
from servers.runtime.paging import Listing
from servers.users.errors import (
    BindingExists,
    BindingNotFound,
    NeedsPermission,
    RoleBuiltIn,
    RoleExists,
    RoleInUse,
    RoleNotFound,
    UserNotFound,
)
from servers.users.grants import EVERY_PROJECT, any_covers, covers, lacking, permissions_in
from servers.users.identities import BUILT_IN_ROLES, Binding, Role
from servers.users.rights import READ_USERS, Withdrawal, ensure_administrator, ensure_within, grants_of
from servers.users.store import role_rows, user_rows
from sql_engine import write


@dataclass(frozen=True)
class RoleUpdate:
    """What to change of a role; None leaves a field as it is.

    Args:
        display_name: New display name.
        permissions: New permissions, all of them.
    """

    display_name: str | None = None
    permissions: tuple[str, ...] | None = None


class UnknownPermission(InvalidArgument):
    """A permission that no method of the mesh asks for."""

    reason = "UNKNOWN_PERMISSION"

    def __init__(self, permission: str, known: Sequence[str]) -> None:
        close = difflib.get_close_matches(permission, known, n=3)
        hint = f"; did you mean {' or '.join(close)}?" if close else "; ListPermissions lists those that exist."
        text = f"No method of the mesh asks for {permission!r}{hint}"
        super().__init__(text, field_violations=[("role.permissions", text)])


def role_etag(role: Role) -> str:
    """Changes with every update of a role."""
    return etag_of("role", role.name, role.revision)


class Roles:
    """The roles of one mesh and their bindings.

    Args:
        engine: Where they are kept.
        known_permissions: Gives every permission that a method asks for.
        withdrawal: Ends tokens.
        clock: The time now.
    """

    def __init__(
        self,
        engine: Engine,
        known_permissions: Callable[[], Sequence[str]],
        withdrawal: Withdrawal,
        clock: Callable[[], datetime],
    ) -> None:
        self._engine = engine
        self._known_permissions = known_permissions
        self._withdrawal = withdrawal
        self._clock = clock

    def write_built_in(self) -> None:
        """Brings the built-in roles to what this version of the software says they are."""

        def apply(connection: Connection) -> None:
            for name, (display_name, permissions) in BUILT_IN_ROLES.items():
                self._write_built_in(connection, name, display_name, tuple(sorted(permissions)))

        write(self._engine, apply)

    def create(self, caller: Principal, name: str, display_name: str, permissions: Iterable[str]) -> Role:
        """Creates a role.

        Raises:
            RoleExists: The name is taken.
            UnknownPermission: No method asks for one of the permissions.
            PrivilegeEscalation: It has permissions that the caller has not in every project.
        """
        now = self._clock()
        role = Role(name, display_name, self._checked(permissions), is_built_in=False, create_time=now, update_time=now)
        before = made_before(lambda _role_id: self.get(name), RoleNotFound)
        if before is not None and before.permissions == role.permissions:
            return before

        def insert(connection: Connection) -> Role:
            if role_rows.find_role(connection, name) is not None:
                raise RoleExists(name)
            ensure_within(caller, {EVERY_PROJECT: frozenset(role.permissions)})
            role_rows.insert_role(connection, role)
            return role

        return write(self._engine, insert)

    def get(self, name: str) -> Role:
        """Reads a role.

        Raises:
            RoleNotFound: There is none.
        """
        with self._engine.connect() as connection:
            return _found(connection, name)

    def page(self, listing: Listing) -> tuple[list[Role], str]:
        """Reads one page of roles, and the token of the next."""
        with self._engine.connect() as connection:
            return role_rows.list_roles(connection, listing)

    def update(self, caller: Principal, name: str, change: RoleUpdate, etag: str) -> Role:
        """Changes a role. Where it loses permissions, the tokens of all who have it end.

        Raises:
            RoleNotFound: There is none.
            RoleBuiltIn: It comes with the software.
            UnknownPermission: No method asks for one of the permissions.
            PrivilegeEscalation: It has, or would have, permissions that the caller has not in every project.
            LastAdministrator: Nobody would be left to administrate.
            servers.runtime.errors.Aborted: The role has changed since `etag`.
        """
        permissions = None if change.permissions is None else self._checked(change.permissions)
        now = self._clock()

        def apply(connection: Connection) -> Role:
            role_rows.lock_administrators(connection)
            before = self._own(connection, name)
            check_etag(etag, role_etag(before))
            after = replace(
                before,
                display_name=before.display_name if change.display_name is None else change.display_name,
                permissions=before.permissions if permissions is None else permissions,
                update_time=now,
                revision=before.revision + 1,
            )
            ensure_within(caller, {EVERY_PROJECT: frozenset((*before.permissions, *after.permissions))})
            role_rows.update_role(connection, after)
            if not all(any_covers(after.permissions, permission) for permission in before.permissions):
                self._withdrawal.of_access_tokens(connection, role_rows.users_with_role(connection, name), now)
                ensure_administrator(connection)
            return after

        return write(self._engine, apply)

    def delete(self, name: str, etag: str) -> None:
        """Deletes a role that nobody has.

        Raises:
            RoleNotFound: There is none.
            RoleBuiltIn: It comes with the software.
            RoleInUse: Somebody has it.
            servers.runtime.errors.Aborted: The role has changed since `etag`.
        """

        def apply(connection: Connection) -> None:
            role = self._own(connection, name)
            check_etag(etag, role_etag(role))
            bound = role_rows.count_bindings(connection, name)
            if bound:
                raise RoleInUse(name, bound)
            role_rows.delete_role(connection, name)

        write(self._engine, apply)

    def bind(self, caller: Principal, user_id: str, role_name: str, project: str) -> Binding:
        """Gives a user a role in a project. Tokens made from now on have it.

        Raises:
            UserNotFound: There is no such user.
            RoleNotFound: There is no such role.
            BindingExists: The user has it.
            PrivilegeEscalation: The role has permissions that the caller has not in that project.
        """
        if (before := made_before(self._binding, BindingNotFound)) is not None:
            return before

        def insert(connection: Connection) -> Binding:
            user = user_rows.find_user(connection, user_id)
            if user is None:
                raise UserNotFound(user_id)
            role = _found(connection, role_name, lock=True)
            ensure_within(caller, {project: frozenset(role.permissions)})
            if role_rows.has_binding(connection, user.id, role_name, project):
                raise BindingExists(role_name, project)
            binding = Binding(effect_id(), user.id, role_name, project, self._clock())
            role_rows.insert_binding(connection, binding)
            return binding

        return write(self._engine, insert)

    def unbind(self, caller: Principal, binding_id: str) -> None:
        """Takes a role away; access tokens with its rights end.

        Raises:
            BindingNotFound: There is none.
            PrivilegeEscalation: The role has permissions that the caller has not in that project.
            LastAdministrator: Nobody would be left to administrate.
        """

        def apply(connection: Connection) -> None:
            role_rows.lock_administrators(connection)
            binding = _found_binding(connection, binding_id)
            role = _found(connection, binding.role)
            ensure_within(caller, {binding.project: frozenset(role.permissions)})
            before = grants_of(connection, binding.user_id)
            role_rows.delete_binding(connection, binding_id)
            if lacking(grants_of(connection, binding.user_id), before):
                self._withdrawal.of_access_tokens(connection, [binding.user_id], self._clock())
            ensure_administrator(connection)

        write(self._engine, apply)

    def bindings_page(self, caller: Principal, listing: Listing) -> tuple[list[Binding], str]:
        """Reads one page of the bindings in projects where the caller may, and the token of the next."""
        with self._engine.connect() as connection:
            return role_rows.list_bindings(connection, listing, caller.projects("users.roles.read"))

    def check(self, caller: Principal, permissions: Sequence[str], user_id: str, project: str) -> tuple[list[str], list[str]]:
        """Parts permissions into those that a user has in a project, and the others.

        Args:
            caller: Who asks.
            permissions: What is asked about.
            user_id: About whom; empty = the caller, as of the caller's token.
            project: Where.

        Returns:
            Granted and denied.

        Raises:
            NeedsPermission: It is about somebody else, and the caller may not read users.
            UserNotFound: There is no such user.
        """
        if user_id in ("", caller.subject):
            held = permissions_in(caller.grants, project)
        else:
            if not caller.may(READ_USERS, project):
                raise NeedsPermission(READ_USERS, "Asking about another user")
            held = self._held_by(user_id, project)
        granted = [permission for permission in permissions if any_covers(held, permission)]
        return granted, [permission for permission in permissions if not any_covers(held, permission)]

    def _held_by(self, user_id: str, project: str) -> frozenset[str]:
        with self._engine.connect() as connection:
            user = user_rows.find_user(connection, user_id)
            if user is None:
                raise UserNotFound(user_id)
            return frozenset() if user.is_disabled else permissions_in(grants_of(connection, user.id), project)

    def _binding(self, binding_id: str) -> Binding:
        with self._engine.connect() as connection:
            return _found_binding(connection, binding_id)

    def _checked(self, permissions: Iterable[str]) -> tuple[str, ...]:
        known = self._known_permissions()
        wanted = tuple(sorted(set(permissions)))
        for permission in wanted:
            if not any(covers(permission, name) for name in known):
                raise UnknownPermission(permission, known)
        return wanted

    def _own(self, connection: Connection, name: str) -> Role:
        role = _found(connection, name, lock=True)
        if role.is_built_in:
            raise RoleBuiltIn(name)
        return role

    def _write_built_in(self, connection: Connection, name: str, display_name: str, permissions: tuple[str, ...]) -> None:
        now = self._clock()
        before = role_rows.find_role(connection, name, lock=True)
        if before is None:
            role_rows.insert_role(connection, Role(name, display_name, permissions, is_built_in=True, create_time=now, update_time=now))
        elif (before.display_name, before.permissions, before.is_built_in) != (display_name, permissions, True):
            role_rows.update_role(
                connection,
                replace(
                    before,
                    display_name=display_name,
                    permissions=permissions,
                    is_built_in=True,
                    update_time=now,
                    revision=before.revision + 1,
                ),
            )


def _found(connection: Connection, name: str, *, lock: bool = False) -> Role:
    role = role_rows.find_role(connection, name, lock=lock)
    if role is None:
        raise RoleNotFound(name)
    return role


def _found_binding(connection: Connection, binding_id: str) -> Binding:
    binding = role_rows.find_binding(connection, binding_id)
    if binding is None:
        raise BindingNotFound(binding_id)
    return binding
