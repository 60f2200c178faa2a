"""Arithmetic of rights: what a permission with a wildcard covers, and what is left of grants within scopes.

Grants map a project (`*` = every project) to permissions. A permission is a dotted name, `registry.models.read`; `registry.*` stands for
all names that begin with `registry.`, and `*` for all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

Grants = Mapping[str, frozenset[str]]
"""Project to permissions."""

EVERY_PROJECT = "*"
EVERYTHING = "*"

_PERMISSION = re.compile(r"\*|[a-z_]+(\.[a-z_]+)*(\.\*)?")


def is_permission(text: str) -> bool:
    """Whether a text has the form of a permission, with or without a wildcard."""
    return _PERMISSION.fullmatch(text) is not None


def covers(held: str, wanted: str) -> bool:
    """Whether whoever has `held` has all of `wanted`."""
    if held in (wanted, EVERYTHING):
        return True
    return held.endswith(".*") and wanted.startswith(held[:-1])


def any_covers(held: Iterable[str], wanted: str) -> bool:
    """Whether one of several permissions covers `wanted`."""
    return any(covers(permission, wanted) for permission in held)


def permissions_in(grants: Grants, project: str) -> frozenset[str]:
    """All permissions that hold in a project."""
    return grants.get(project, frozenset()) | grants.get(EVERY_PROJECT, frozenset())


def compiled(bindings: Iterable[tuple[str, Iterable[str]]]) -> dict[str, frozenset[str]]:
    """Adds up bindings.

    Args:
        bindings: Pairs of project and the permissions of the role bound there.

    Returns:
        Grants in their shortest form: nothing that another grant covers.
    """
    found: dict[str, set[str]] = {}
    for project, permissions in bindings:
        found.setdefault(project, set()).update(permissions)
    return shortest({project: frozenset(permissions) for project, permissions in found.items()})


def shortest(grants: Grants) -> dict[str, frozenset[str]]:
    """Drops what other grants cover, so that tokens stay small."""
    everywhere = _uncovered(grants.get(EVERY_PROJECT, frozenset()), frozenset())
    result = {EVERY_PROJECT: everywhere} if everywhere else {}
    for project, permissions in grants.items():
        left = _uncovered(permissions, everywhere) if project != EVERY_PROJECT else frozenset()
        if left:
            result[project] = left
    return result


def narrowed(grants: Grants, scopes: Iterable[str]) -> dict[str, frozenset[str]]:
    """What of grants lies within scopes.

    Args:
        grants: What somebody has.
        scopes: Permissions to narrow it to; none means no narrowing.

    Returns:
        Grants that cover exactly what both cover.
    """
    limits = tuple(scopes)
    if not limits:
        return shortest(grants)
    return shortest(
        {
            project: frozenset(common for held in permissions for limit in limits if (common := _common(held, limit)))
            for project, permissions in grants.items()
        }
    )


def lacking(held: Grants, wanted: Grants) -> frozenset[tuple[str, str]]:
    """What `wanted` has beyond `held`, as pairs of project and permission. Empty means `held` covers `wanted`."""
    return frozenset(
        (project, permission)
        for project, permissions in wanted.items()
        for permission in permissions
        if not any_covers(permissions_in(held, project), permission)
    )


def _common(held: str, limit: str) -> str:
    if covers(held, limit):
        return limit
    return held if covers(limit, held) else ""


def _uncovered(permissions: frozenset[str], elsewhere: frozenset[str]) -> frozenset[str]:
    return frozenset(
        permission
        for permission in permissions
        if not any_covers(elsewhere, permission) and not any_covers(permissions - {permission}, permission)
    )
