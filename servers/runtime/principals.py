"""Who calls, and what the caller may do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

PrincipalKind = Literal["user", "service", "api_key", "anonymous"]


@dataclass(frozen=True)
class Principal:
    """A caller.

    Args:
        subject: Identifier of the user; empty for anonymous callers.
        display_name: Name to show to people.
        kind: What the caller is.
        grants: Project (`*` = every one) to permissions (`*` and `registry.*` are wildcards).
        session_id: Session or API key that the token was made from; revoking it ends the token.
    """

    subject: str
    display_name: str
    kind: PrincipalKind
    grants: Mapping[str, frozenset[str]] = field(default_factory=dict)
    session_id: str = ""

    def may(self, permission: str, project: str) -> bool:
        """Whether the caller has a permission in a project. No grant means no."""
        accepted = accepting(permission)
        grants = self.grants
        return not (accepted.isdisjoint(grants.get("*", _NONE)) and accepted.isdisjoint(grants.get(project, _NONE)))

    def may_anywhere(self, permission: str) -> bool:
        """Whether the caller has a permission in at least one project."""
        accepted = accepting(permission)
        return any(not accepted.isdisjoint(granted) for granted in self.grants.values())

    def projects(self, permission: str) -> frozenset[str] | None:
        """Projects in which the caller has a permission, to compile into a query; None means every one."""
        accepted = accepting(permission)
        found = frozenset(project for project, granted in self.grants.items() if not accepted.isdisjoint(granted))
        return None if "*" in found else found


_NONE: frozenset[str] = frozenset()

ANONYMOUS = Principal(subject="", display_name="anonymous", kind="anonymous")
"""The caller of a public method."""


@lru_cache(maxsize=4096)
def accepting(permission: str) -> frozenset[str]:
    """Grants that contain a permission: itself, `*`, and each prefix with `.*`."""
    parts = permission.split(".")
    return frozenset({permission, "*", *(".".join(parts[:size]) + ".*" for size in range(1, len(parts)))})
