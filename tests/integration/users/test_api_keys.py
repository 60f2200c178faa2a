from __future__ import annotations

from datetime import timedelta

import jwt
import pytest
from sqlalchemy import Engine, event, select

from servers.runtime.paging import Listing
from servers.users.accounts import NewUser
from servers.users.composition import Domain
from servers.users.errors import (
    ApiKeyInvalid,
    ApiKeyMalformed,
    ApiKeyNotFound,
    ExpiryInThePast,
    InvalidScope,
    NeedsPermission,
    PrivilegeEscalation,
)
from servers.users.identities import User
from servers.users.key_exchange import KeyExchange
from servers.users.key_format import new_key
from servers.users.rights import MANAGE_USERS
from servers.users.store.tables import api_keys as table
from tests.users_under_test import PASSWORD, ROOT, FakeClock, caller_with


@pytest.fixture
def ada(domain: Domain) -> User:
    user = domain.accounts.create(NewUser("ada", password=PASSWORD))
    domain.roles.bind(ROOT, user.id, "data-scientist", "default")
    return user


def count_statements(engine: Engine) -> list[str]:
    seen: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda _c, _cursor, statement, *_: seen.append(statement))
    return seen


def test_only_a_hash_of_the_key_is_stored(domain: Domain, ada: User) -> None:
    _, text = domain.api_keys.create(ROOT, ada.id, "ci", (), None)

    with domain.engine.connect() as connection:
        rows = connection.execute(select(table)).all()
    secret = text.split("_")[2]
    assert all(secret not in repr(row) and secret[:-6] not in repr(row) for row in rows)


def test_a_key_expires(domain: Domain, ada: User, clock: FakeClock) -> None:
    key, text = domain.api_keys.create(ROOT, ada.id, "ci", (), clock() + timedelta(minutes=1))

    assert domain.logins.with_api_key(text).access.expire_time == key.expire_time
    clock.advance(60)
    with pytest.raises(ApiKeyInvalid):
        domain.logins.with_api_key(text)
    with pytest.raises(ExpiryInThePast):
        domain.api_keys.create(ROOT, ada.id, "ci", (), clock())


def test_unknown_and_mistyped_keys_are_refused(domain: Domain, ada: User) -> None:
    key, text = domain.api_keys.create(ROOT, ada.id, "ci", (), None)
    seen = count_statements(domain.engine)

    with pytest.raises(ApiKeyMalformed):
        domain.logins.with_api_key(text[:-1] + ("0" if text[-1] != "0" else "1"))
    assert seen == []
    with pytest.raises(ApiKeyInvalid):
        domain.logins.with_api_key(new_key())
    fabricated = new_key(lambda length: key.id if length == 16 else "x" * length)
    with pytest.raises(ApiKeyInvalid):
        domain.logins.with_api_key(fabricated)


def test_the_last_use_is_noted_once_a_minute(domain: Domain, ada: User, clock: FakeClock) -> None:
    _, text = domain.api_keys.create(ROOT, ada.id, "ci", (), None)

    def last_use() -> object:
        return domain.api_keys.page(ROOT, ada.id, Listing())[0][0].last_use_time

    assert last_use() is None
    domain.logins.with_api_key(text)
    first = clock()
    clock.advance(59)
    domain.logins.with_api_key(text)
    assert last_use() == first
    clock.advance(1)
    domain.logins.with_api_key(text)
    assert last_use() == clock()


def test_a_key_cannot_do_more_than_its_maker(domain: Domain, ada: User) -> None:
    narrowed = caller_with("users.keys.create", "registry.models.read", project="default", subject=ada.id)

    with pytest.raises(PrivilegeEscalation):
        domain.api_keys.create(narrowed, "", "wide", (), None)
    with pytest.raises(PrivilegeEscalation):
        domain.api_keys.create(narrowed, "", "wide", ("registry.*",), None)
    _, text = domain.api_keys.create(narrowed, "", "narrow", ("registry.models.read",), None)
    grants = jwt.decode(domain.logins.with_api_key(text).access.text, options={"verify_signature": False})["grants"]
    assert grants == {"default": ["registry.models.read"]}


def test_a_key_that_could_do_nothing_is_refused(domain: Domain, ada: User) -> None:
    with pytest.raises(InvalidScope):
        domain.api_keys.create(ROOT, ada.id, "nothing", ("users.users.manage",), None)


def test_keys_of_others_are_the_business_of_who_manages_users(domain: Domain, ada: User) -> None:
    key, _ = domain.api_keys.create(ROOT, ada.id, "ci", (), None)
    stranger = caller_with("users.keys.create")

    with pytest.raises(NeedsPermission):
        domain.api_keys.create(stranger, ada.id, "mine", (), None)
    with pytest.raises(NeedsPermission):
        domain.api_keys.page(stranger, "-", Listing())
    with pytest.raises(ApiKeyNotFound):
        domain.api_keys.revoke(stranger, key.id)
    with pytest.raises(PrivilegeEscalation):
        domain.api_keys.revoke(caller_with(MANAGE_USERS), key.id)
    assert domain.api_keys.page(stranger, "", Listing())[0] == []
    assert len(domain.api_keys.page(ROOT, "-", Listing())[0]) == 3
    domain.api_keys.revoke(caller_with("*", subject=ada.id), key.id)


def test_a_revoked_key_and_its_tokens_end_and_revoking_again_changes_nothing(domain: Domain, ada: User, clock: FakeClock) -> None:
    key, text = domain.api_keys.create(ROOT, ada.id, "ci", (), None)
    token = domain.logins.with_api_key(text).access.text

    domain.api_keys.revoke(ROOT, key.id)
    revoked_at = clock()
    clock.advance(5)
    domain.api_keys.revoke(ROOT, key.id)

    assert jwt.decode(token, options={"verify_signature": False})["sid"] in domain.revoked()
    with pytest.raises(ApiKeyInvalid):
        domain.logins.with_api_key(text)
    assert domain.api_keys.page(ROOT, ada.id, Listing(filter="revoke_time:*"))[0][0].revoke_time == revoked_at


class TestKeyExchange:
    @pytest.fixture
    def exchange(self, domain: Domain, clock: FakeClock) -> KeyExchange:
        return KeyExchange(domain.api_keys, domain.issuer, lambda group: group in domain.revoked(), 60, clock.monotonic)

    def test_a_burst_of_calls_shares_a_token_for_a_minute(self, domain: Domain, ada: User, exchange: KeyExchange, clock: FakeClock) -> None:
        _, text = domain.api_keys.create(ROOT, ada.id, "ci", (), None)

        first = exchange.token_for(text)
        clock.advance(59)
        assert exchange.token_for(text) == first
        clock.advance(1)
        assert exchange.token_for(text) != first

    def test_a_revoke_here_is_seen_at_once_though_nobody_asks_the_database(self, domain: Domain, ada: User, clock: FakeClock) -> None:
        exchange = KeyExchange(domain.api_keys, domain.issuer, lambda _group: False, 60, clock.monotonic)
        key, text = domain.api_keys.create(ROOT, ada.id, "ci", (), None)
        exchange.token_for(text)
        seen = count_statements(domain.engine)
        exchange.token_for(text)
        assert seen == []

        domain.api_keys.revoke(ROOT, key.id)

        with pytest.raises(ApiKeyInvalid):
            exchange.token_for(text)

    def test_rights_that_are_taken_away_are_gone_from_the_next_token(self, domain: Domain, ada: User, exchange: KeyExchange) -> None:
        _, text = domain.api_keys.create(ROOT, ada.id, "ci", (), None)
        first = exchange.token_for(text)

        (binding,) = domain.roles.bindings_page(ROOT, Listing(filter=f'user_id = "{ada.id}"'))[0]
        domain.roles.unbind(ROOT, binding.id)

        second = exchange.token_for(text)
        assert second != first
        assert jwt.decode(second, options={"verify_signature": False})["grants"] == {}

    def test_a_key_about_to_expire_is_not_remembered_beyond_its_end(
        self, domain: Domain, ada: User, exchange: KeyExchange, clock: FakeClock
    ) -> None:
        _, text = domain.api_keys.create(ROOT, ada.id, "ci", (), clock() + timedelta(seconds=20))
        exchange.token_for(text)
        clock.advance(20)

        with pytest.raises(ApiKeyInvalid):
            exchange.token_for(text)
