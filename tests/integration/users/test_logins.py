from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import jwt
import pytest

from servers.users.accounts import NewUser, UserUpdate
from servers.users.composition import Domain
from servers.users.errors import (
    ApiKeyInvalid,
    InvalidCredentials,
    InvalidScope,
    NotAServiceClient,
    RefreshTokenInvalid,
    RefreshTokenReused,
    UnsupportedGrantType,
    WeakPassword,
    WrongPassword,
)
from servers.users.identities import UserKind, UserState
from servers.users.logins import Tokens
from servers.users.token_grants import API_KEY_GRANT, TokenRequest, exchange
from tests.users_under_test import PASSWORD, ROOT, FakeClock, caller_with


def claims(tokens: Tokens) -> dict[str, object]:
    decoded: dict[str, object] = jwt.decode(tokens.access.text, options={"verify_signature": False})
    return decoded


def fail(domain: Domain, times: int, username: str = "admin") -> None:
    for _ in range(times):
        with pytest.raises(InvalidCredentials):
            domain.logins.with_password(username, "wrong password")


def test_a_login_gives_a_token_with_the_rights_of_the_bindings(domain: Domain) -> None:
    tokens = domain.logins.with_password("admin", PASSWORD)

    said = claims(tokens)
    assert (said["iss"], said["aud"], said["name"], said["kind"]) == ("mlmesh", "mlmesh", "admin", "user")
    assert said["grants"] == {"*": ["*"]}
    assert tokens.access.lifetime_s == 900
    assert tokens.refresh.startswith("mlr_")


def test_the_user_name_may_be_written_in_upper_case(domain: Domain) -> None:
    assert domain.logins.with_password(" Admin ", PASSWORD).access.text


@pytest.mark.parametrize("way", ["login", "change"])
def test_a_password_that_is_replaced_while_it_is_verified_opens_nothing(domain: Domain, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    ada = domain.accounts.create(NewUser("ada", password=PASSWORD))
    verified, new = domain.logins._verified, "another password of ada"

    def replaced_meanwhile(username: str, password: str) -> str | None:
        found = verified(username, password)
        monkeypatch.undo()
        domain.accounts.set_password(ROOT, ada.id, new)
        return found

    monkeypatch.setattr(domain.logins, "_verified", replaced_meanwhile)
    if way == "login":
        with pytest.raises(InvalidCredentials):
            domain.logins.with_password("ada", PASSWORD)
    else:
        with pytest.raises(WrongPassword):
            domain.logins.change_password(caller_with(subject=ada.id), PASSWORD, "what the thief wants it to be")

    assert domain.logins.with_password("ada", new).access.text


def test_every_refusal_reads_the_same(domain: Domain) -> None:
    domain.accounts.create(NewUser("off", password=PASSWORD, is_disabled=True))
    domain.accounts.create(NewUser("keyless"))
    fail(domain, 5, "admin")

    refusals = set()
    for username, password in [("admin", PASSWORD), ("nobody", "x"), ("off", PASSWORD), ("keyless", "x"), ("keyless", "")]:
        with pytest.raises(InvalidCredentials) as refused:
            domain.logins.with_password(username, password)
        refusals.add((refused.value.message, refused.value.reason, tuple(refused.value.metadata.items())))
    assert len(refusals) == 1


def test_an_identifier_is_not_a_login_name(domain: Domain) -> None:
    user = domain.accounts.get("admin")

    with pytest.raises(InvalidCredentials):
        domain.logins.with_password(user.id, PASSWORD)


def test_guessing_locks_the_user_and_the_lock_ends_by_itself(domain: Domain, clock: FakeClock) -> None:
    fail(domain, 5)
    assert domain.accounts.get("admin").state(clock()) is UserState.LOCKED
    with pytest.raises(InvalidCredentials):
        domain.logins.with_password("admin", PASSWORD)

    clock.advance(31)

    assert domain.accounts.get("admin").state(clock()) is UserState.ACTIVE
    assert domain.logins.with_password("admin", PASSWORD).access.text


def test_each_further_wrong_password_doubles_the_lock(domain: Domain, clock: FakeClock) -> None:
    fail(domain, 5)
    clock.advance(31)
    fail(domain, 1)
    clock.advance(31)

    assert domain.accounts.get("admin").state(clock()) is UserState.LOCKED
    clock.advance(30)
    assert domain.accounts.get("admin").state(clock()) is UserState.ACTIVE


def test_the_right_password_forgets_the_wrong_ones(domain: Domain) -> None:
    fail(domain, 4)
    domain.logins.with_password("admin", PASSWORD)
    fail(domain, 4)

    assert domain.logins.with_password("admin", PASSWORD).access.text


def test_an_administrator_ends_a_lock(domain: Domain) -> None:
    fail(domain, 5)

    domain.accounts.update(ROOT, domain.accounts.get("admin").id, UserUpdate(state=UserState.ACTIVE), "")

    assert domain.logins.with_password("admin", PASSWORD).access.text


def test_sixteen_people_log_in_at_the_same_time(domain: Domain) -> None:
    gate = threading.Barrier(16)

    def login(_: int) -> Tokens:
        gate.wait()
        return domain.logins.with_password("admin", PASSWORD)

    with ThreadPoolExecutor(16) as pool:
        tokens = list(pool.map(login, range(16)))

    assert len({token.refresh for token in tokens}) == 16
    assert len({str(claims(token)["sid"]) for token in tokens}) == 16


def test_guesses_at_the_same_time_are_all_counted(domain: Domain, clock: FakeClock) -> None:
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda _: fail(domain, 1), range(16)))

    assert domain.accounts.get("admin").state(clock()) is UserState.LOCKED


def test_a_refresh_token_works_once_and_gives_the_next(domain: Domain) -> None:
    first = domain.logins.with_password("admin", PASSWORD)
    second = domain.logins.with_refresh_token(first.refresh)
    third = domain.logins.with_refresh_token(second.refresh)

    assert len({first.refresh, second.refresh, third.refresh}) == 3
    assert claims(third)["sid"] == claims(first)["sid"]


def test_a_used_refresh_token_ends_the_whole_session(domain: Domain) -> None:
    first = domain.logins.with_password("admin", PASSWORD)
    other_session = domain.logins.with_password("admin", PASSWORD)
    second = domain.logins.with_refresh_token(first.refresh)

    with pytest.raises(RefreshTokenReused):
        domain.logins.with_refresh_token(first.refresh)

    with pytest.raises(RefreshTokenInvalid):
        domain.logins.with_refresh_token(second.refresh)
    assert domain.revoked() == [claims(first)["sid"]]
    assert domain.logins.with_refresh_token(other_session.refresh).access.text


def test_of_many_uses_at_the_same_time_one_succeeds_and_the_session_ends(domain: Domain) -> None:
    first = domain.logins.with_password("admin", PASSWORD)

    def use(_: int) -> str:
        try:
            domain.logins.with_refresh_token(first.refresh)
        except (RefreshTokenReused, RefreshTokenInvalid) as refused:
            return refused.reason
        return "given"

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(use, range(8)))

    assert outcomes.count("given") == 1
    assert outcomes.count("REFRESH_TOKEN_REUSED") == 1
    assert domain.revoked() == [claims(first)["sid"]]


def test_a_refresh_token_expires_when_idle_and_with_its_session(domain: Domain, clock: FakeClock) -> None:
    idle = domain.logins.with_password("admin", PASSWORD)
    clock.advance(7 * 86400)
    with pytest.raises(RefreshTokenInvalid):
        domain.logins.with_refresh_token(idle.refresh)

    busy = domain.logins.with_password("admin", PASSWORD)
    for _ in range(5):
        clock.advance(6 * 86400 - 60)
        busy = domain.logins.with_refresh_token(busy.refresh)
    clock.advance(600)
    with pytest.raises(RefreshTokenInvalid):
        domain.logins.with_refresh_token(busy.refresh)


def test_a_logout_ends_the_session_and_its_tokens(domain: Domain) -> None:
    tokens = domain.logins.with_password("admin", PASSWORD)
    caller = caller_with("*")
    group = str(claims(tokens)["sid"])

    domain.logins.logout(type(caller)(caller.subject, caller.display_name, caller.kind, caller.grants, group))

    assert domain.revoked() == [group]
    with pytest.raises(RefreshTokenInvalid):
        domain.logins.with_refresh_token(tokens.refresh)


def test_a_revocation_is_forgotten_once_no_token_can_be_left(domain: Domain, clock: FakeClock) -> None:
    first = domain.logins.with_password("admin", PASSWORD)
    domain.accounts.set_password(ROOT, "admin", "another good password")
    assert domain.revoked() == [claims(first)["sid"]]

    clock.advance(901)
    assert domain.revoked() == [claims(first)["sid"]]
    clock.advance(100)
    assert domain.revoked() == []


def test_a_scope_narrows_a_session_and_a_refresh_cannot_widen_it(domain: Domain) -> None:
    request = TokenRequest("password", username="admin", password=PASSWORD, scopes=("registry.*", "serving.models.predict"))
    tokens = exchange(domain.logins, request)
    assert claims(tokens)["grants"] == {"*": ["registry.*", "serving.models.predict"]}
    assert tokens.scopes == ("registry.*", "serving.models.predict")

    narrower = exchange(
        domain.logins, TokenRequest("refresh_token", refresh_token=tokens.refresh, scopes=("registry.models.read", "users.*"))
    )
    assert claims(narrower)["grants"] == {"*": ["registry.models.read"]}

    again = exchange(domain.logins, TokenRequest("refresh_token", refresh_token=narrower.refresh))
    assert claims(again)["grants"] == {"*": ["registry.*", "serving.models.predict"]}


def test_a_scope_that_leaves_nothing_is_refused_and_uses_no_token_up(domain: Domain) -> None:
    tokens = exchange(domain.logins, TokenRequest("password", username="admin", password=PASSWORD, scopes=("registry.*",)))

    with pytest.raises(InvalidScope):
        exchange(domain.logins, TokenRequest("refresh_token", refresh_token=tokens.refresh, scopes=("serving.*",)))
    with pytest.raises(InvalidScope):
        exchange(domain.logins, TokenRequest("password", username="admin", password=PASSWORD, scopes=("Not A Scope",)))

    assert domain.logins.with_refresh_token(tokens.refresh).access.text


def test_an_unknown_grant_is_refused_with_those_that_exist(domain: Domain) -> None:
    with pytest.raises(UnsupportedGrantType, match=r"client_credentials, password, refresh_token, urn:mlmesh"):
        exchange(domain.logins, TokenRequest("implicit"))


def test_client_credentials_are_for_service_users_only(domain: Domain) -> None:
    robot = domain.accounts.create(NewUser("robot", kind=UserKind.SERVICE))
    key, text = domain.api_keys.create(ROOT, robot.id, "ci", (), None)
    human_key, human_text = domain.api_keys.create(ROOT, domain.accounts.get("admin").id, "ci", (), None)

    assert claims(domain.logins.with_client_credentials(key.id, text))["kind"] == "service"
    with pytest.raises(NotAServiceClient):
        domain.logins.with_client_credentials(human_key.id, human_text)
    with pytest.raises(NotAServiceClient):
        domain.logins.with_client_credentials("robot", text)


def test_an_api_key_is_exchanged_within_its_scopes(domain: Domain) -> None:
    _, text = domain.api_keys.create(ROOT, domain.accounts.get("admin").id, "read", ("registry.models.read",), None)

    tokens = exchange(domain.logins, TokenRequest(API_KEY_GRANT, api_key=text))

    assert claims(tokens)["grants"] == {"*": ["registry.models.read"]}
    assert claims(tokens)["kind"] == "api_key"
    assert tokens.refresh == ""
    assert tokens.scopes == ("registry.models.read",)


def test_a_disabled_user_can_do_nothing_until_enabled(domain: Domain) -> None:
    ada = domain.accounts.create(NewUser("ada", password=PASSWORD))
    tokens = domain.logins.with_password("ada", PASSWORD)
    _, text = domain.api_keys.create(ROOT, ada.id, "ci", (), None)
    by_key = domain.logins.with_api_key(text)

    domain.accounts.update(ROOT, ada.id, UserUpdate(state=UserState.DISABLED), "")

    assert {claims(tokens)["sid"], claims(by_key)["sid"]} <= set(domain.revoked())
    with pytest.raises(InvalidCredentials):
        domain.logins.with_password("ada", PASSWORD)
    with pytest.raises(RefreshTokenInvalid):
        domain.logins.with_refresh_token(tokens.refresh)
    with pytest.raises(ApiKeyInvalid):
        domain.logins.with_api_key(text)

    domain.accounts.update(ROOT, ada.id, UserUpdate(state=UserState.ACTIVE), "")

    assert domain.logins.with_password("ada", PASSWORD).access.text
    assert claims(domain.logins.with_api_key(text))["sid"] not in domain.revoked()


def test_changing_the_password_ends_the_other_sessions_only(domain: Domain) -> None:
    mine, other = domain.logins.with_password("admin", PASSWORD), domain.logins.with_password("admin", PASSWORD)
    said = claims(mine)
    caller = type(ROOT)(str(said["sub"]), "admin", "user", ROOT.grants, str(said["sid"]))

    domain.logins.change_password(caller, PASSWORD, "an even better password")

    assert domain.revoked() == [claims(other)["sid"]]
    assert domain.logins.with_refresh_token(mine.refresh).access.text
    assert domain.logins.with_password("admin", "an even better password").access.text


def test_changing_the_password_needs_the_current_one_and_counts_guesses(domain: Domain, clock: FakeClock) -> None:
    admin = domain.accounts.get("admin")
    caller = caller_with("*", subject=admin.id)

    for _ in range(5):
        with pytest.raises(WrongPassword):
            domain.logins.change_password(caller, "guess", "an even better password")

    assert domain.accounts.get("admin").state(clock()) is UserState.LOCKED


@pytest.mark.parametrize("password", ["short", "aaaaaaaaaaaaaaaa", "my-name-is-administrator-1", "x" * 1025])
def test_weak_passwords_are_refused(domain: Domain, password: str) -> None:
    with pytest.raises(WeakPassword):
        domain.accounts.create(NewUser("administrator", password=password))


def test_a_password_hash_is_renewed_when_the_parameters_change(domain: Domain, tmp_path: object) -> None:
    from sqlalchemy import select

    from servers.users.passwords import PasswordCost, PasswordHasher
    from servers.users.store.tables import users

    old = PasswordHasher(PasswordCost(memory_kib=32, iterations=1, lanes=1)).hash(PASSWORD)
    with domain.engine.begin() as connection:
        connection.execute(users.update().where(users.c.username == "admin").values(password_hash=old))

    domain.logins.with_password("admin", PASSWORD)

    with domain.engine.connect() as connection:
        assert "m=64,t=1,p=1" in str(connection.execute(select(users.c.password_hash).where(users.c.username == "admin")).scalar_one())
