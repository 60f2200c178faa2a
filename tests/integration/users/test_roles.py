from __future__ import annotations

import jwt
import pytest

from servers.runtime.errors import Aborted
from servers.runtime.paging import Listing
from servers.users.accounts import NewUser
from servers.users.composition import Domain
from servers.users.errors import (
    BindingExists,
    BindingNotFound,
    LastAdministrator,
    NeedsPermission,
    PrivilegeEscalation,
    RoleBuiltIn,
    RoleExists,
    RoleInUse,
    RoleNotFound,
    UserNotFound,
)
from servers.users.identities import User
from servers.users.roles import RoleUpdate, UnknownPermission, role_etag
from tests.users_under_test import PASSWORD, ROOT, caller_with


@pytest.fixture
def ada(domain: Domain) -> User:
    return domain.accounts.create(NewUser("ada", password=PASSWORD))


def grants_in_new_token(domain: Domain, username: str = "ada") -> dict[str, list[str]]:
    text = domain.logins.with_password(username, PASSWORD).access.text
    grants: dict[str, list[str]] = jwt.decode(text, options={"verify_signature": False})["grants"]
    return grants


def group_of(token: str) -> str:
    return str(jwt.decode(token, options={"verify_signature": False})["sid"])


def test_the_built_in_roles_are_there_and_stay(domain: Domain) -> None:
    roles, _ = domain.roles.page(Listing(filter="built_in = true"))

    assert [role.name for role in roles] == ["admin", "data-scientist", "mesh-service", "predictor", "viewer"]
    with pytest.raises(RoleBuiltIn):
        domain.roles.update(ROOT, "viewer", RoleUpdate(display_name="x"), "")
    with pytest.raises(RoleBuiltIn):
        domain.roles.delete("viewer", "")


def test_an_upgrade_brings_its_built_in_permissions(domain: Domain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(domain.roles.write_built_in.__globals__["BUILT_IN_ROLES"], "viewer", ("Viewer", ("registry.*",)))

    domain.roles.write_built_in()
    once = domain.roles.get("viewer")
    domain.roles.write_built_in()

    assert once.permissions == ("registry.*",)
    assert domain.roles.get("viewer") == once


def test_bindings_become_grants_of_the_next_token(domain: Domain, ada: User) -> None:
    assert grants_in_new_token(domain) == {}

    domain.roles.bind(ROOT, ada.id, "viewer", "default")
    domain.roles.bind(ROOT, ada.id, "predictor", "*")

    assert grants_in_new_token(domain) == {
        "default": [
            "features.definitions.read",
            "features.jobs.read",
            "features.values.read",
            "ingestion.data.read",
            "processing.jobs.read",
            "processing.pipelines.read",
            "registry.models.read",
            "system.metrics.read",
        ],
        "*": ["serving.models.predict", "serving.models.read"],
    }


def test_a_binding_is_made_once_and_of_what_exists(domain: Domain, ada: User) -> None:
    domain.roles.bind(ROOT, ada.id, "viewer", "default")

    with pytest.raises(BindingExists):
        domain.roles.bind(ROOT, ada.id, "viewer", "default")
    with pytest.raises(RoleNotFound):
        domain.roles.bind(ROOT, ada.id, "nothing", "default")
    with pytest.raises(UserNotFound):
        domain.roles.bind(ROOT, "00000000-0000-0000-0000-000000000000", "viewer", "default")


def test_taking_a_role_away_ends_the_tokens_and_not_the_session(domain: Domain, ada: User) -> None:
    binding = domain.roles.bind(ROOT, ada.id, "viewer", "default")
    tokens = domain.logins.with_password("ada", PASSWORD)
    _, key = domain.api_keys.create(ROOT, ada.id, "ci", (), None)
    by_key = domain.logins.with_api_key(key)

    domain.roles.unbind(ROOT, binding.id)

    assert {group_of(tokens.access.text), group_of(by_key.access.text)} == set(domain.revoked())
    refreshed = domain.logins.with_refresh_token(tokens.refresh)
    assert jwt.decode(refreshed.access.text, options={"verify_signature": False})["grants"] == {}
    assert group_of(refreshed.access.text) not in domain.revoked()
    assert group_of(domain.logins.with_api_key(key).access.text) not in domain.revoked()
    with pytest.raises(BindingNotFound):
        domain.roles.unbind(ROOT, binding.id)


def test_taking_away_what_another_role_gives_ends_no_token(domain: Domain, ada: User) -> None:
    domain.roles.bind(ROOT, ada.id, "viewer", "*")
    binding = domain.roles.bind(ROOT, ada.id, "viewer", "default")
    domain.logins.with_password("ada", PASSWORD)

    domain.roles.unbind(ROOT, binding.id)

    assert domain.revoked() == []


def test_a_role_that_loses_a_permission_ends_the_tokens_of_all_who_have_it(domain: Domain, ada: User) -> None:
    role = domain.roles.create(ROOT, "reader", "Reader", ["registry.models.read", "serving.models.read"])
    domain.roles.bind(ROOT, ada.id, "reader", "default")
    tokens = domain.logins.with_password("ada", PASSWORD)
    admin = domain.logins.with_password("admin", PASSWORD)

    wider = domain.roles.update(ROOT, "reader", RoleUpdate(permissions=("registry.*", "serving.models.read")), role_etag(role))
    assert domain.revoked() == []
    with pytest.raises(Aborted):
        domain.roles.update(ROOT, "reader", RoleUpdate(display_name="late"), role_etag(role))

    domain.roles.update(ROOT, "reader", RoleUpdate(permissions=("registry.*",)), role_etag(wider))
    assert domain.revoked() == [group_of(tokens.access.text)]
    assert group_of(admin.access.text) not in domain.revoked()


def test_a_role_in_use_cannot_be_deleted(domain: Domain, ada: User) -> None:
    domain.roles.create(ROOT, "reader", "", ["registry.models.read"])
    binding = domain.roles.bind(ROOT, ada.id, "reader", "default")

    with pytest.raises(RoleInUse, match="bound 1 times"):
        domain.roles.delete("reader", "")
    domain.roles.unbind(ROOT, binding.id)
    domain.roles.delete("reader", "")
    with pytest.raises(RoleNotFound):
        domain.roles.get("reader")


def test_a_role_name_is_given_once(domain: Domain) -> None:
    domain.roles.create(ROOT, "reader", "", ["registry.models.read"])

    with pytest.raises(RoleExists):
        domain.roles.create(ROOT, "reader", "", ["registry.models.read"])


def test_a_mistyped_permission_is_refused_with_the_right_one(domain: Domain) -> None:
    with pytest.raises(UnknownPermission, match=r"did you mean registry\.models\.read"):
        domain.roles.create(ROOT, "reader", "", ["registry.model.read"])
    with pytest.raises(UnknownPermission):
        domain.roles.create(ROOT, "reader", "", ["nothing.*"])


def test_nobody_gives_rights_beyond_their_own(domain: Domain, ada: User) -> None:
    manager = caller_with("users.roles.manage", "registry.*", project="default")
    everywhere = caller_with("users.roles.manage", "registry.*")

    with pytest.raises(PrivilegeEscalation):
        domain.roles.bind(manager, ada.id, "admin", "default")
    with pytest.raises(PrivilegeEscalation):
        domain.roles.create(manager, "reader", "", ["registry.models.read"])
    domain.roles.create(everywhere, "reader", "", ["registry.models.read"])
    domain.roles.bind(manager, ada.id, "reader", "default")
    with pytest.raises(PrivilegeEscalation):
        domain.roles.bind(manager, ada.id, "reader", "*")
    with pytest.raises(PrivilegeEscalation):
        domain.roles.update(everywhere, "reader", RoleUpdate(permissions=("*",)), "")


def test_an_administrating_role_of_ones_own_counts_and_cannot_be_emptied(domain: Domain, ada: User) -> None:
    domain.roles.create(ROOT, "owner", "", ["*"])
    domain.roles.bind(ROOT, ada.id, "owner", "*")
    domain.accounts.delete(ROOT, domain.accounts.get("admin").id, "")

    with pytest.raises(LastAdministrator):
        domain.roles.update(ROOT, "owner", RoleUpdate(permissions=("registry.*",)), "")


def test_a_check_parts_what_is_granted_from_what_is_not(domain: Domain, ada: User) -> None:
    domain.roles.bind(ROOT, ada.id, "viewer", "team")
    asked = ["registry.models.read", "registry.models.write"]

    assert domain.roles.check(ROOT, asked, ada.id, "team") == (asked[:1], asked[1:])
    assert domain.roles.check(ROOT, asked, "ada", "default") == ([], asked)
    assert domain.roles.check(caller_with("registry.*", project="team"), asked, "", "team") == (asked, [])
    with pytest.raises(NeedsPermission):
        domain.roles.check(caller_with("registry.*"), asked, ada.id, "team")
    with pytest.raises(UserNotFound):
        domain.roles.check(ROOT, asked, "nobody", "team")


def test_bindings_are_listed_where_the_caller_may_read_them(domain: Domain, ada: User) -> None:
    for project in ("default", "team", "secret"):
        domain.roles.bind(ROOT, ada.id, "viewer", project)
    caller = caller_with("users.roles.read", project="team")

    assert [binding.project for binding in domain.roles.bindings_page(caller, Listing())[0]] == ["team"]
    ordered = domain.roles.bindings_page(ROOT, Listing(filter='role = "viewer"', order_by="project desc"))[0]
    assert [binding.project for binding in ordered] == ["team", "secret", "default"]
