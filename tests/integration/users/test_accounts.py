from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from aip_filter import FilterError, OrderByError, PageTokenError
from servers.runtime.errors import Aborted, DomainError
from servers.runtime.paging import Listing
from servers.users.accounts import NewUser, UserUpdate, user_etag
from servers.users.composition import Domain
from servers.users.errors import (
    LastAdministrator,
    PasswordNotAllowed,
    PrivilegeEscalation,
    UnsupportedState,
    UserExists,
    UserNotFound,
)
from servers.users.identities import UserKind, UserState
from servers.users.rights import MANAGE_USERS
from tests.users_under_test import PASSWORD, ROOT, FakeClock, caller_with


def names(domain: Domain, **listing: object) -> list[str]:
    return [user.username for user in domain.accounts.page(Listing(**listing))[0]]  # type: ignore[arg-type]


def test_a_user_can_be_read_by_identifier_and_by_name(domain: Domain) -> None:
    ada = domain.accounts.create(NewUser("ada", "Ada", "ada@example.org", labels={"team": "a"}))

    assert domain.accounts.get(ada.id) == domain.accounts.get("ada") == ada
    assert dict(domain.accounts.get("ada").labels) == {"team": "a"}


def test_a_name_is_given_once_even_at_the_same_moment(domain: Domain) -> None:
    def create(_: int) -> str:
        try:
            return domain.accounts.create(NewUser("ada")).id
        except UserExists:
            return "exists"

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(create, range(8)))

    assert outcomes.count("exists") == 7


def test_an_update_changes_what_it_names_and_the_etag(domain: Domain, clock: FakeClock) -> None:
    before = domain.accounts.create(NewUser("ada", "Ada", "ada@example.org", labels={"team": "a"}))
    clock.advance(5)

    after = domain.accounts.update(ROOT, before.id, UserUpdate(display_name="Ada L.", labels={"team": "b", "x": ""}), user_etag(before))

    assert (after.display_name, after.email, dict(after.labels)) == ("Ada L.", "ada@example.org", {"team": "b", "x": ""})
    assert (after.create_time, after.update_time) == (before.create_time, clock())
    with pytest.raises(Aborted):
        domain.accounts.update(ROOT, before.id, UserUpdate(email="x"), user_etag(before))
    with pytest.raises(Aborted):
        domain.accounts.delete(ROOT, before.id, user_etag(before))


def test_a_login_does_not_change_the_etag(domain: Domain) -> None:
    before = domain.accounts.get("admin")

    domain.logins.with_password("admin", PASSWORD)

    after = domain.accounts.get("admin")
    assert user_etag(after) == user_etag(before)
    assert after.last_login_time is not None


def test_of_many_updates_of_one_state_one_wins(domain: Domain) -> None:
    user = domain.accounts.create(NewUser("ada"))

    def update(number: int) -> bool:
        try:
            domain.accounts.update(ROOT, user.id, UserUpdate(display_name=str(number)), user_etag(user))
        except Aborted:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(update, range(8))) == 1


def test_locked_cannot_be_asked_for_but_may_be_sent_back(domain: Domain) -> None:
    user = domain.accounts.create(NewUser("ada", password=PASSWORD))
    with pytest.raises(UnsupportedState):
        domain.accounts.update(ROOT, user.id, UserUpdate(state=UserState.LOCKED), "")

    for _ in range(5):
        with pytest.raises(DomainError):
            domain.logins.with_password("ada", "wrong")
    updated = domain.accounts.update(ROOT, user.id, UserUpdate(display_name="Ada", state=UserState.LOCKED), "")
    assert updated.display_name == "Ada"
    assert updated.lock_expire_time is not None


def test_the_last_administrator_stays(domain: Domain) -> None:
    admin = domain.accounts.get("admin")
    (binding,) = [binding for binding in domain.roles.bindings_page(ROOT, Listing())[0] if binding.user_id == admin.id]

    for attempt in (
        lambda: domain.accounts.delete(ROOT, admin.id, ""),
        lambda: domain.accounts.update(ROOT, admin.id, UserUpdate(state=UserState.DISABLED), ""),
        lambda: domain.roles.unbind(ROOT, binding.id),
    ):
        with pytest.raises(LastAdministrator):
            attempt()
    assert domain.logins.with_password("admin", PASSWORD).access.text
    assert domain.revoked() == []


def test_of_two_administrators_that_go_at_the_same_moment_one_stays(domain: Domain) -> None:
    for round_ in range(5):
        second = domain.accounts.create(NewUser(f"second-{round_}"))
        domain.roles.bind(ROOT, second.id, "admin", "*")
        administrators = [
            binding.user_id for binding in domain.roles.bindings_page(ROOT, Listing(filter='role = "admin" AND project = "*"'))[0]
        ]
        assert len(administrators) == 2

        def delete(user_id: str) -> bool:
            try:
                domain.accounts.delete(ROOT, user_id, "")
            except LastAdministrator:
                return False
            return True

        with ThreadPoolExecutor(2) as pool:
            assert sorted(pool.map(delete, administrators)) == [False, True]


def test_deleting_a_user_ends_everything_of_the_user(domain: Domain) -> None:
    ada = domain.accounts.create(NewUser("ada", password=PASSWORD))
    domain.roles.bind(ROOT, ada.id, "viewer", "default")
    tokens = domain.logins.with_password("ada", PASSWORD)
    _, key = domain.api_keys.create(ROOT, ada.id, "ci", (), None)

    domain.accounts.delete(ROOT, ada.id, "")

    assert len(domain.revoked()) == 2
    for attempt in (
        lambda: domain.accounts.get("ada"),
        lambda: domain.logins.with_password("ada", PASSWORD),
        lambda: domain.logins.with_refresh_token(tokens.refresh),
        lambda: domain.logins.with_api_key(key),
    ):
        with pytest.raises(DomainError):
            attempt()
    assert domain.roles.bindings_page(ROOT, Listing(filter=f'user_id = "{ada.id}"'))[0] == []


def test_nobody_takes_over_somebody_who_may_do_more(domain: Domain) -> None:
    helpdesk = caller_with(MANAGE_USERS)
    admin = domain.accounts.get("admin")

    for attempt in (
        lambda: domain.accounts.set_password(helpdesk, admin.id, "helpdesk knows this"),
        lambda: domain.accounts.update(helpdesk, admin.id, UserUpdate(email="me@helpdesk"), ""),
        lambda: domain.accounts.delete(helpdesk, admin.id, ""),
        lambda: domain.api_keys.create(helpdesk, admin.id, "mine now", (), None),
    ):
        with pytest.raises(PrivilegeEscalation, match=r"'\*' in project '\*'"):
            attempt()
    harmless = domain.accounts.create(NewUser("ada", password=PASSWORD))
    domain.accounts.set_password(helpdesk, harmless.id, "a brand new password")


def test_service_users_have_no_password(domain: Domain) -> None:
    with pytest.raises(PasswordNotAllowed):
        domain.accounts.create(NewUser("robot", kind=UserKind.SERVICE, password=PASSWORD))
    robot = domain.accounts.create(NewUser("robot", kind=UserKind.SERVICE))
    with pytest.raises(PasswordNotAllowed):
        domain.accounts.set_password(ROOT, robot.id, PASSWORD)


def test_unknown_users_are_not_found(domain: Domain) -> None:
    for attempt in (
        lambda: domain.accounts.get("nobody"),
        lambda: domain.accounts.update(ROOT, "nobody", UserUpdate(), ""),
        lambda: domain.accounts.delete(ROOT, "nobody", ""),
        lambda: domain.accounts.set_password(ROOT, "nobody", PASSWORD),
    ):
        with pytest.raises(UserNotFound):
            attempt()


@pytest.mark.parametrize("order_by", ["", "username desc", "create_time", "create_time desc", "last_login_time", "last_login_time desc"])
def test_pages_part_the_whole_in_every_order(domain: Domain, clock: FakeClock, order_by: str) -> None:
    for number in range(7):
        clock.advance(number % 3)
        domain.accounts.create(NewUser(f"user-{number}", password=PASSWORD if number % 2 else None))
        if number % 2:
            domain.logins.with_password(f"user-{number}", PASSWORD)
    whole = names(domain, order_by=order_by)

    found, token = [], ""
    while True:
        page, token = domain.accounts.page(Listing(page_size=2, order_by=order_by, page_token=token))
        found += [user.username for user in page]
        if not token:
            break

    assert found == whole
    assert len(set(found)) == 9


def test_filters_select_by_every_field(domain: Domain, clock: FakeClock) -> None:
    domain.accounts.create(NewUser("ada", "Ada", "ada@example.org", labels={"team": "a", "app.kind/x": "1"}, password=PASSWORD))
    domain.accounts.create(NewUser("off", is_disabled=True, labels={"team": "b"}))
    domain.accounts.create(NewUser("robot", kind=UserKind.SERVICE))
    for _ in range(5):
        with pytest.raises(DomainError):
            domain.logins.with_password("ada", "wrong")

    assert names(domain, filter='state = "LOCKED"') == ["ada"]
    assert names(domain, filter='state = "DISABLED" OR username = "a*"') == ["ada", "admin", "off"]
    assert names(domain, filter='state = "ACTIVE" AND kind = "SERVICE"') == ["mesh", "robot"]
    assert names(domain, filter='labels.team = "a"') == ["ada"]
    assert names(domain, filter='labels:team AND NOT labels.team = "a"') == ["off"]
    assert names(domain, filter='email:"example" AND display_name = "Ada"') == ["ada"]
    assert names(domain, filter='create_time > "2026-03-02T00:00:00Z"') == []
    assert names(domain, filter="last_login_time:*") == []

    clock.advance(31)
    assert names(domain, filter='state = "LOCKED"') == []


def test_wrong_queries_say_what_is_right(domain: Domain) -> None:
    with pytest.raises(FilterError, match="username"):
        names(domain, filter='password_hash = "x"')
    with pytest.raises(OrderByError, match="last_login_time"):
        names(domain, order_by="email")
    _, token = domain.accounts.page(Listing(page_size=1))
    with pytest.raises(PageTokenError):
        names(domain, page_size=1, page_token=token, filter='username = "a*"')
