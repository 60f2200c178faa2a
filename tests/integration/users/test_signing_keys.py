from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import jwt
import pytest
from sqlalchemy import Engine, select

from servers.runtime.auth import LocalKeys, TokenVerifier, keys_of_jwks
from servers.runtime.errors import Unauthenticated
from servers.users.access_tokens import TokenIssuer, TokenSubject
from servers.users.composition import Domain
from servers.users.errors import GrantsTooLarge
from servers.users.signing_keys import RotationPolicy, SigningKeys
from servers.users.store.tables import signing_keys as table
from tests.users_under_test import FakeClock

POLICY = RotationPolicy(period_s=10_000, publish_ahead_s=500, token_lifetime_s=960, reload_interval_s=0)
SUBJECT = TokenSubject("u-1", "ada", "user", "group-1", {"default": frozenset({"registry.*"})})


@pytest.fixture
def engine(domain: Domain) -> Engine:
    with domain.engine.begin() as connection:
        connection.execute(table.delete())
    return domain.engine


@pytest.fixture
def keys(engine: Engine, clock: FakeClock) -> SigningKeys:
    return SigningKeys(engine, b"k" * 32, POLICY, clock)


def issuer_of(keys: SigningKeys, clock: FakeClock) -> TokenIssuer:
    return TokenIssuer(keys, "mlmesh", "mlmesh", 900, clock)


def accepts(keys: SigningKeys, token: str, clock: FakeClock) -> bool:
    verifier = TokenVerifier(
        LocalKeys(keys.public_keys, refresh_interval_s=0), "mlmesh", "mlmesh", clock=lambda: clock().timestamp(), leeway_s=5
    )
    try:
        return verifier.verify(token).subject == "u-1"
    except Unauthenticated:
        return False


def test_the_first_key_signs_at_once_and_is_published(keys: SigningKeys, clock: FakeClock) -> None:
    token = issuer_of(keys, clock).issue(SUBJECT).text

    published = keys_of_jwks(keys.jwks())
    assert list(published) == [keys.signer().key_id]
    assert jwt.get_unverified_header(token) == {"alg": "RS256", "typ": "JWT", "kid": keys.signer().key_id}
    assert accepts(keys, token, clock)


def test_nothing_private_is_published(keys: SigningKeys) -> None:
    (document,) = json.loads(keys.jwks())["keys"]

    assert set(document) == {"kty", "n", "e", "kid", "use", "alg"}


def test_private_keys_are_sealed_at_rest(keys: SigningKeys, engine: Engine) -> None:
    keys.signer()

    with engine.connect() as connection:
        sealed = connection.execute(select(table.c.sealed_private_key)).scalar_one()
    der = keys.signer().private_key.private_numbers().d.to_bytes(256, "big")
    assert der[:16] not in sealed


def test_a_key_is_published_before_it_signs_and_after_it_stopped(keys: SigningKeys, clock: FakeClock) -> None:
    keys.maintain()
    issuer = issuer_of(keys, clock)
    first = keys.signer().key_id

    clock.advance(9_500)
    keys.maintain()
    (second,) = set(keys.public_keys()) - {first}
    assert keys.signer().key_id == first

    clock.advance(499)
    last_token = issuer.issue(SUBJECT).text
    clock.advance(1)
    assert keys.signer().key_id == second

    clock.advance(900)
    assert accepts(keys, last_token, clock)
    clock.advance(5)
    assert not accepts(keys, last_token, clock)
    clock.advance(60)
    keys.maintain()
    assert set(keys.public_keys()) == {second}


def test_no_token_is_refused_across_many_rotations(keys: SigningKeys, clock: FakeClock) -> None:
    keys.maintain()
    issuer = issuer_of(keys, clock)
    tokens: list[tuple[float, str]] = []
    for _ in range(120):
        clock.advance(300)
        keys.maintain()
        tokens.append((clock.monotonic(), issuer.issue(SUBJECT).text))
        tokens = [(at, token) for at, token in tokens if clock.monotonic() - at < 900]
        assert all(accepts(keys, token, clock) for _, token in tokens)
        assert len(keys.public_keys()) <= 2
    assert len({jwt.get_unverified_header(token)["kid"] for _, token in tokens}) >= 1


def test_the_private_half_is_dropped_once_it_signs_no_more(keys: SigningKeys, engine: Engine, clock: FakeClock) -> None:
    keys.maintain()
    clock.advance(9_500)
    keys.maintain()
    clock.advance(500)
    keys.maintain()

    with engine.connect() as connection:
        held = connection.execute(select(table.c.sealed_private_key.is_not(None)).order_by(table.c.generation)).scalars().all()
    assert [bool(is_held) for is_held in held] == [False, True]


def test_withdrawing_ends_every_token_at_once(keys: SigningKeys, clock: FakeClock) -> None:
    issuer = issuer_of(keys, clock)
    before = issuer.issue(SUBJECT).text

    keys.rotate(withdraw=True)

    assert not accepts(keys, before, clock)
    assert accepts(keys, issuer.issue(SUBJECT).text, clock)


def test_rotating_by_hand_fails_nobody(keys: SigningKeys, clock: FakeClock) -> None:
    issuer = issuer_of(keys, clock)
    before = issuer.issue(SUBJECT).text

    keys.rotate()

    assert accepts(keys, before, clock)
    assert len(keys.public_keys()) == 2


def test_with_another_sealing_key_new_tokens_work_and_old_ones_stay_valid(keys: SigningKeys, engine: Engine, clock: FakeClock) -> None:
    before = issuer_of(keys, clock).issue(SUBJECT).text

    restored = SigningKeys(engine, b"x" * 32, POLICY, clock)
    after = issuer_of(restored, clock).issue(SUBJECT).text

    assert accepts(restored, before, clock)
    assert accepts(restored, after, clock)
    assert jwt.get_unverified_header(before)["kid"] != jwt.get_unverified_header(after)["kid"]


def test_servers_that_rotate_at_the_same_time_make_one_key(engine: Engine, clock: FakeClock) -> None:
    servers = [SigningKeys(engine, b"k" * 32, POLICY, clock) for _ in range(4)]

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(SigningKeys.maintain, servers))

    assert len({server.signer().key_id for server in servers}) == 1
    assert len(servers[0].public_keys()) == 1


def test_a_token_of_a_key_that_expires_sooner_expires_with_it(keys: SigningKeys, clock: FakeClock) -> None:
    from datetime import timedelta

    token = issuer_of(keys, clock).issue(SUBJECT, not_after=clock() + timedelta(seconds=60))

    assert token.lifetime_s == 60
    clock.advance(66)
    assert not accepts(keys, token.text, clock)


def test_rights_that_no_header_can_carry_are_refused_with_what_to_do(keys: SigningKeys, clock: FakeClock) -> None:
    many = {f"project-{number}": frozenset({"registry.models.read", "serving.models.predict"}) for number in range(200)}

    with pytest.raises(GrantsTooLarge, match="scope"):
        issuer_of(keys, clock).issue(TokenSubject("u", "ada", "user", "g", many))
