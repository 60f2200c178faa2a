from __future__ import annotations

import fnmatch

from hypothesis import given
from hypothesis import strategies as st

from servers.runtime.principals import ANONYMOUS, Principal

parts = st.sampled_from(["registry", "users", "models", "read", "write"])
permissions = st.lists(parts, min_size=1, max_size=3).map(".".join)
grants = permissions | permissions.map(lambda name: f"{name}.*") | st.just("*")
projects = st.sampled_from(["default", "zoo", "lab"])
granted = st.dictionaries(projects | st.just("*"), st.frozensets(grants, max_size=4), max_size=3)


def principal(given_grants: dict[str, frozenset[str]]) -> Principal:
    return Principal("ada", "Ada", "user", given_grants)


def may_as_the_documentation_says(all_grants: dict[str, frozenset[str]], permission: str, project: str) -> bool:
    """The slow and obvious way: a grant matches where its pattern does."""
    return any(
        grant in {"*", permission} or (grant.endswith(".*") and fnmatch.fnmatchcase(permission, grant))
        for scope in (project, "*")
        for grant in all_grants.get(scope, ())
    )


@given(granted, permissions, projects)
def test_a_grant_holds_where_it_matches(all_grants: dict[str, frozenset[str]], permission: str, project: str) -> None:
    assert principal(all_grants).may(permission, project) == may_as_the_documentation_says(all_grants, permission, project)


@given(granted, permissions)
def test_the_projects_of_a_permission_are_those_in_which_it_may_be_used(all_grants: dict[str, frozenset[str]], permission: str) -> None:
    caller = principal(all_grants)
    found = caller.projects(permission)

    for project in ("default", "zoo", "lab"):
        assert caller.may(permission, project) == (found is None or project in found)
    assert caller.may_anywhere(permission) == (found is None or bool(found))


def test_a_wildcard_ends_at_a_dot() -> None:
    assert not principal({"default": frozenset({"registry.*"})}).may("registryx.models.read", "default")
    assert not principal({"default": frozenset({"registry.models.*"})}).may("registry.models", "default")


def test_every_project_is_asked_for_by_name_of_its_own() -> None:
    """Binding a role in `*` needs a grant in `*`, not in some project."""
    assert not principal({"default": frozenset({"*"})}).may("users.roles.manage", "*")
    assert principal({"*": frozenset({"*"})}).may("users.roles.manage", "*")


def test_nobody_may_do_nothing() -> None:
    assert not ANONYMOUS.may("registry.models.read", "default")
