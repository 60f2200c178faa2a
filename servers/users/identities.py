"""What the users server keeps: users, roles, bindings, API keys and sessions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from servers.users.grants import EVERYTHING


class UserKind(StrEnum):
    """What kind of identity a user is."""

    HUMAN = "HUMAN"
    SERVICE = "SERVICE"


class UserState(StrEnum):
    """Where a user is in its life. LOCKED is never stored: it follows from `lock_expire_time`."""

    ACTIVE = "ACTIVE"
    LOCKED = "LOCKED"
    DISABLED = "DISABLED"


@dataclass(frozen=True)
class User:
    """Somebody or something that calls the mesh.

    Args:
        id: UUID.
        username: Unique login name.
        display_name: Name as people write it.
        email: E-mail address.
        kind: Person or program.
        is_disabled: Whether logging in is forbidden.
        labels: Labels.
        create_time: When it was created.
        update_time: When it last changed.
        last_login_time: When it last logged in with a password.
        lock_expire_time: When the lock after wrong passwords ends; may lie in the past.
        revision: Counts the changes.
    """

    id: str
    username: str
    display_name: str
    email: str
    kind: UserKind
    is_disabled: bool
    labels: Mapping[str, str]
    create_time: datetime
    update_time: datetime
    last_login_time: datetime | None = None
    lock_expire_time: datetime | None = None
    revision: int = 1

    def state(self, now: datetime) -> UserState:
        """The state at a moment."""
        if self.is_disabled:
            return UserState.DISABLED
        return UserState.LOCKED if self.lock_expire_time is not None and now < self.lock_expire_time else UserState.ACTIVE


@dataclass(frozen=True)
class Role:
    """A named set of permissions.

    Args:
        name: Unique name.
        display_name: Name as people write it.
        permissions: Permissions, wildcards allowed, sorted.
        is_built_in: Whether it comes with the software.
        create_time: When it was created.
        update_time: When it last changed.
        revision: Counts the changes.
    """

    name: str
    display_name: str
    permissions: tuple[str, ...]
    is_built_in: bool
    create_time: datetime
    update_time: datetime
    revision: int = 1


@dataclass(frozen=True)
class Binding:
    """A role that a user has in a project.

    Args:
        id: UUID.
        user_id: Whose.
        role: Name of the role.
        project: Project, `*` for every one.
        create_time: When it was made.
    """

    id: str
    user_id: str
    role: str
    project: str
    create_time: datetime


@dataclass(frozen=True)
class ApiKey:
    """A credential for programs.

    Args:
        id: Middle part of the key.
        user_id: Whose rights it carries.
        display_name: What it is for.
        scopes: Permissions it is limited to; none = no limit.
        create_time: When it was made.
        expire_time: When it stops working; None = never.
        last_use_time: When it was last used, to the minute.
        revoke_time: When it was revoked.
        token_group: Claim `sid` of the access tokens made from it now.
    """

    id: str
    user_id: str
    display_name: str
    scopes: tuple[str, ...]
    create_time: datetime
    expire_time: datetime | None
    last_use_time: datetime | None
    revoke_time: datetime | None
    token_group: str

    def is_live(self, now: datetime) -> bool:
        """Whether it works at a moment, its user aside."""
        return self.revoke_time is None and (self.expire_time is None or now < self.expire_time)


@dataclass(frozen=True)
class Session:
    """A login: the family of refresh tokens that descend from one password.

    Args:
        id: UUID.
        user_id: Whose.
        scopes: Permissions it is limited to; none = no limit.
        create_time: When the password was given.
        expire_time: When it ends for good.
        revoke_time: When it was ended early.
        token_group: Claim `sid` of the access tokens made from it now.
    """

    id: str
    user_id: str
    scopes: tuple[str, ...]
    create_time: datetime
    expire_time: datetime
    revoke_time: datetime | None
    token_group: str

    def is_live(self, now: datetime) -> bool:
        """Whether it may be refreshed, its user aside."""
        return self.revoke_time is None and now < self.expire_time


ADMIN_ROLE = "admin"
"""The role that may do everything."""

MESH_ROLE = "mesh-service"
"""The role of the account with which the servers call each other."""

BUILT_IN_ROLES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    ADMIN_ROLE: ("Administrator", (EVERYTHING,)),
    "data-scientist": (
        "Data scientist",
        (
            "registry.models.*",
            "ingestion.data.*",
            "processing.jobs.*",
            "processing.pipelines.*",
            "features.definitions.*",
            "features.values.*",
            "features.jobs.*",
            "serving.models.*",
            "system.metrics.read",
            "users.keys.create",
        ),
    ),
    "viewer": (
        "Viewer",
        (
            "registry.models.read",
            "ingestion.data.read",
            "processing.jobs.read",
            "processing.pipelines.read",
            "features.definitions.read",
            "features.values.read",
            "features.jobs.read",
            "serving.models.read",
            "system.metrics.read",
        ),
    ),
    "predictor": ("Predictor", ("serving.models.predict", "serving.models.read")),
    MESH_ROLE: (
        "Service of the mesh",
        (
            "registry.models.read",
            "ingestion.data.read",
            "ingestion.data.write",
            "processing.jobs.*",
            "processing.pipelines.*",
            "processing.functions.run",
            "serving.models.*",
            "system.metrics.read",
            "users.audit.append",
        ),
    ),
}
"""Name to display name and permissions; written at every start, so that an upgrade brings its new permissions."""
