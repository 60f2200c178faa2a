from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from servers.runtime.auth import Principal
from servers.users.grants import Grants, any_covers, compiled, covers, is_permission, lacking, narrowed, permissions_in, shortest

NAMES = [f"{component}.{resource}.{verb}" for component in ("a", "ab") for resource in ("x", "y") for verb in ("r", "w")]
PATTERNS = [*NAMES, "*", "a.*", "ab.*", "a.x.*", "a.y.*", "ab.x.*"]
PROJECTS = ["default", "team", "*"]

patterns = st.frozensets(st.sampled_from(PATTERNS), max_size=4)
grants_strategy = st.dictionaries(st.sampled_from(PROJECTS), patterns, max_size=3)


def may(grants: Grants, permission: str, project: str) -> bool:
    """The runtime's own answer, which is what counts in the end."""
    return Principal("s", "s", "user", {name: frozenset(held) for name, held in grants.items()}).may(permission, project)


def everything_in(grants: Grants) -> set[tuple[str, str]]:
    return {(project, name) for project in ("default", "team", "elsewhere") for name in NAMES if may(grants, name, project)}


def test_a_wildcard_covers_what_begins_so_and_not_its_namesake() -> None:
    assert covers("a.*", "a.x.r")
    assert covers("a.*", "a.x.*")
    assert covers("*", "a.*")
    assert not covers("a.*", "ab.x.r")
    assert not covers("a.*", "a")
    assert not covers("a.x.r", "a.x.*")
    assert not covers("a.*", "*")


@given(st.sampled_from(PATTERNS), st.sampled_from(NAMES))
def test_covering_a_name_means_what_the_runtime_takes_it_to_mean(held: str, name: str) -> None:
    assert covers(held, name) == may({"default": frozenset({held})}, name, "default")


@given(grants_strategy)
def test_the_shortest_form_grants_the_same(grants: dict[str, frozenset[str]]) -> None:
    short = shortest(grants)

    assert everything_in(short) == everything_in(grants)
    assert sum(map(len, short.values())) <= sum(map(len, grants.values()))
    assert shortest(short) == short


@given(grants_strategy, patterns)
def test_narrowed_grants_are_those_that_both_have(grants: dict[str, frozenset[str]], scopes: frozenset[str]) -> None:
    both = {(project, name) for project, name in everything_in(grants) if not scopes or any_covers(scopes, name)}

    assert everything_in(narrowed(grants, scopes)) == both


@given(grants_strategy, grants_strategy)
def test_nothing_is_lacking_only_where_everything_wanted_is_held(
    held: dict[str, frozenset[str]], wanted: dict[str, frozenset[str]]
) -> None:
    if not lacking(held, wanted):
        assert everything_in(wanted) <= everything_in(held)


@given(grants_strategy, patterns)
def test_who_narrows_a_grant_lacks_nothing_of_it(grants: dict[str, frozenset[str]], scopes: frozenset[str]) -> None:
    assert not lacking(grants, narrowed(grants, scopes))


@given(st.lists(st.tuples(st.sampled_from(PROJECTS), patterns), max_size=5))
def test_bindings_add_up(bindings: list[tuple[str, frozenset[str]]]) -> None:
    expected = {found for project, permissions in bindings for found in everything_in({project: permissions})}

    assert everything_in(compiled(bindings)) == expected


def test_a_project_has_what_every_project_has() -> None:
    assert permissions_in({"*": frozenset({"a.*"}), "team": frozenset({"ab.x.r"})}, "team") == {"a.*", "ab.x.r"}


def test_the_form_of_a_permission() -> None:
    assert all(map(is_permission, PATTERNS))
    assert not any(map(is_permission, ["", ".", "a.", "*.a", "A.b", "a b", "a.**", "a-b"]))
