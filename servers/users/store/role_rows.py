"""Roles, and who has them where."""

from __future__ import annotations

from collections.abc import Collection as Names

from sqlalchemy import Connection, RowMapping, delete, func, insert, select, update

from aip_filter import Field, Schema
from servers.runtime.pages import Collection, read_page
from servers.runtime.paging import Listing
from servers.users.grants import EVERY_PROJECT, EVERYTHING
from servers.users.identities import Binding, Role
from servers.users.store.tables import ADMINISTRATORS_LOCK, locks, role_bindings, roles, users


def insert_role(connection: Connection, role: Role) -> None:
    """Adds a role."""
    connection.execute(
        insert(roles).values(
            name=role.name,
            display_name=role.display_name,
            permissions=list(role.permissions),
            is_built_in=role.is_built_in,
            create_time=role.create_time,
            update_time=role.update_time,
            revision=role.revision,
        )
    )


def update_role(connection: Connection, role: Role) -> None:
    """Writes what an update may change."""
    connection.execute(
        update(roles)
        .where(roles.c.name == role.name)
        .values(
            display_name=role.display_name,
            permissions=list(role.permissions),
            is_built_in=role.is_built_in,
            update_time=role.update_time,
            revision=role.revision,
        )
    )


def delete_role(connection: Connection, name: str) -> None:
    """Deletes a role that nobody has."""
    connection.execute(delete(roles).where(roles.c.name == name))


def find_role(connection: Connection, name: str, *, lock: bool = False) -> Role | None:
    """Reads a role; with `lock` it stays as it is until the transaction ends."""
    query = select(roles).where(roles.c.name == name)
    row = connection.execute(query.with_for_update() if lock else query).mappings().first()
    return None if row is None else _role(row)


def list_roles(connection: Connection, listing: Listing) -> tuple[list[Role], str]:
    """Reads one page of roles."""
    return read_page(connection, _ROLES, listing)


def insert_binding(connection: Connection, binding: Binding) -> None:
    """Gives a role."""
    connection.execute(
        insert(role_bindings).values(
            id=binding.id, user_id=binding.user_id, role=binding.role, project=binding.project, create_time=binding.create_time
        )
    )


def delete_binding(connection: Connection, binding_id: str) -> None:
    """Takes a role away."""
    connection.execute(delete(role_bindings).where(role_bindings.c.id == binding_id))


def find_binding(connection: Connection, binding_id: str) -> Binding | None:
    """Reads a binding."""
    row = connection.execute(select(role_bindings).where(role_bindings.c.id == binding_id)).mappings().first()
    return None if row is None else _binding(row)


def has_binding(connection: Connection, user_id: str, role: str, project: str) -> bool:
    """Whether a user has a role in a project."""
    query = select(role_bindings.c.id).where(
        role_bindings.c.user_id == user_id, role_bindings.c.role == role, role_bindings.c.project == project
    )
    return connection.execute(query).first() is not None


def list_bindings(connection: Connection, listing: Listing, projects: Names[str] | None) -> tuple[list[Binding], str]:
    """Reads one page of bindings, of some projects or, with None, of all."""
    if projects is None:
        return read_page(connection, _BINDINGS, listing)
    names = sorted(projects)
    return read_page(connection, _BINDINGS, listing, role_bindings.c.project.in_(names), scope=",".join(names))


def count_bindings(connection: Connection, role: str) -> int:
    """How often a role is bound."""
    return connection.execute(select(func.count()).select_from(role_bindings).where(role_bindings.c.role == role)).scalar_one()


def users_with_role(connection: Connection, role: str) -> list[str]:
    """Identifiers of the users who have a role somewhere."""
    return list(connection.execute(select(role_bindings.c.user_id).where(role_bindings.c.role == role).distinct()).scalars())


def bound_permissions(connection: Connection, user_id: str) -> list[tuple[str, tuple[str, ...]]]:
    """Project and permissions of every role that a user has."""
    query = (
        select(role_bindings.c.project, roles.c.permissions)
        .join(roles, roles.c.name == role_bindings.c.role)
        .where(role_bindings.c.user_id == user_id)
    )
    return [(row.project, tuple(row.permissions)) for row in connection.execute(query)]


def lock_administrators(connection: Connection) -> None:
    """Lets no other transaction change who administrates until this one ends."""
    connection.execute(select(locks.c.name).where(locks.c.name == ADMINISTRATORS_LOCK).with_for_update())


def has_administrator(connection: Connection) -> bool:
    """Whether an active user has every permission in every project."""
    query = (
        select(roles.c.permissions)
        .join(role_bindings, role_bindings.c.role == roles.c.name)
        .join(users, users.c.id == role_bindings.c.user_id)
        .where(role_bindings.c.project == EVERY_PROJECT, users.c.is_disabled.is_(False))
        .distinct()
    )
    return any(EVERYTHING in permissions for permissions in connection.execute(query).scalars())


def _role(row: RowMapping) -> Role:
    return Role(
        name=row["name"],
        display_name=row["display_name"],
        permissions=tuple(row["permissions"]),
        is_built_in=row["is_built_in"],
        create_time=row["create_time"],
        update_time=row["update_time"],
        revision=row["revision"],
    )


def _binding(row: RowMapping) -> Binding:
    return Binding(row["id"], row["user_id"], row["role"], row["project"], row["create_time"])


_ROLES = Collection(
    name="roles",
    source=roles,
    columns=tuple(roles.c),
    schema=Schema(
        {
            "name": Field("string", roles.c.name),
            "built_in": Field("bool", roles.c.is_built_in),
            "create_time": Field("timestamp", roles.c.create_time),
        }
    ),
    order_fields={"name": roles.c.name, "create_time": roles.c.create_time},
    default_order="name",
    tie_breaker=roles.c.name,
    read=_role,
)

_BINDINGS = Collection(
    name="role_bindings",
    source=role_bindings,
    columns=tuple(role_bindings.c),
    schema=Schema(
        {
            "user_id": Field("string", role_bindings.c.user_id),
            "role": Field("string", role_bindings.c.role),
            "project": Field("string", role_bindings.c.project),
            "create_time": Field("timestamp", role_bindings.c.create_time),
        }
    ),
    order_fields={"create_time": role_bindings.c.create_time, "role": role_bindings.c.role, "project": role_bindings.c.project},
    default_order="create_time",
    tie_breaker=role_bindings.c.id,
    read=_binding,
)
