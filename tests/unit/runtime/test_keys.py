from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from servers.runtime.errors import Unavailable
from servers.runtime.keys import LocalKeys, RemoteKeys, fetch_pause_s, keys_of_jwks

KEY = rsa.generate_private_key(65537, 2048).public_key()


def jwks(*key_ids: str) -> bytes:
    key = jwt.algorithms.RSAAlgorithm.to_jwk(KEY, as_dict=True)
    return json.dumps({"keys": [key | {"kid": key_id, "use": "sig"} for key_id in key_ids]}).encode()


def test_a_key_set_is_read_and_keys_of_other_kinds_are_left_out() -> None:
    elliptic = jwt.algorithms.ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()).public_key(), as_dict=True)
    document = json.loads(jwks("a", "b"))
    document["keys"] += [elliptic | {"kid": "e"}, {"kty": "RSA", "use": "enc", "kid": "c"}, "nonsense"]

    keys = keys_of_jwks(json.dumps(document))

    assert set(keys) == {"a", "b"}
    assert keys["a"].public_numbers() == KEY.public_numbers()


@pytest.mark.parametrize("document", [b"", b"[]", b'{"keys": 1}'])
def test_what_is_no_key_set_is_refused(document: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - json's own error is a ValueError too
        keys_of_jwks(document)


class Users:
    """The users server as `RemoteKeys` sees it."""

    def __init__(self) -> None:
        self.key_ids: tuple[str, ...] = ("a",)
        self.revoked: list[str] = []
        self.is_away = False
        self.fetches = 0
        self.fetched = threading.Condition()

    def jwks(self) -> bytes:
        with self.fetched:
            self.fetches += 1
            self.fetched.notify_all()
        if self.is_away:
            raise ValueError("away")
        return jwks(*self.key_ids)

    def wait_for_fetches(self, count: int) -> None:
        with self.fetched:
            seen = self.fetches
            assert self.fetched.wait_for(lambda: self.fetches >= seen + count, 10)


@pytest.fixture
def users() -> Users:
    return Users()


@pytest.fixture
def remote(users: Users) -> Iterator[RemoteKeys]:
    keys = RemoteKeys(users.jwks, lambda: users.revoked, interval_s=0.02)
    yield keys
    keys.close()


def test_nothing_can_be_judged_before_the_first_fetch(users: Users, remote: RemoteKeys) -> None:
    users.is_away = True
    remote.start()

    with pytest.raises(Unavailable) as caught:
        remote.public_key("a")

    assert caught.value.reason == "KEYS_UNAVAILABLE"
    with pytest.raises(ConnectionError, match="no keys"):
        remote.check_arrived()


def test_keys_and_revocations_follow_the_users_server(users: Users, remote: RemoteKeys) -> None:
    remote.start()
    assert remote.public_key("a") is not None
    remote.check_arrived()

    users.key_ids, users.revoked = ("b",), ["s1"]
    users.wait_for_fetches(3)

    assert remote.public_key("b") is not None
    assert remote.public_key("a") is None
    assert remote.is_revoked("s1")
    assert not remote.is_revoked("s2")


def test_the_last_answer_stays_in_force_while_the_users_server_is_away(users: Users, remote: RemoteKeys) -> None:
    users.revoked = ["s1"]
    remote.start()
    users.wait_for_fetches(3)

    users.is_away = True
    users.wait_for_fetches(3)

    assert remote.public_key("a") is not None
    assert remote.is_revoked("s1")
    with pytest.raises(ConnectionError, match="last known keys"):
        remote.check_reachable()

    users.is_away = False
    users.wait_for_fetches(3)
    remote.check_reachable()


def test_a_users_server_that_is_away_is_asked_again_sooner_than_one_that_answers() -> None:
    assert fetch_pause_s(2.0, is_reachable=True) == 2.0
    assert fetch_pause_s(2.0, is_reachable=False) <= 0.25
    assert fetch_pause_s(0.02, is_reachable=False) == 0.02


class Store:
    def __init__(self) -> None:
        self.keys: dict[str, Any] = {"a": KEY}
        self.revoked: set[str] = set()
        self.loads = 0

    def load(self) -> dict[str, Any]:
        self.loads += 1
        return self.keys


def test_local_keys_ask_the_store_once_an_interval_and_at_once_for_a_new_key() -> None:
    store, now = Store(), [0.0]
    keys = LocalKeys(store.load, lambda: store.revoked, refresh_interval_s=1, clock=lambda: now[0])

    assert [keys.public_key("a") is KEY for _ in range(10)] == [True] * 10
    assert store.loads == 1

    now[0] = 0.1
    store.keys = {"a": KEY, "b": KEY}
    assert keys.public_key("b") is KEY
    assert store.loads == 2


def test_made_up_key_ids_do_not_hammer_the_store() -> None:
    store, now = Store(), [0.0]
    keys = LocalKeys(store.load, refresh_interval_s=1, clock=lambda: now[0])

    assert [keys.public_key(f"made-up-{number}") for number in range(100)] == [None] * 100
    assert store.loads == 1


def test_local_revocations_act_within_the_interval() -> None:
    store, now = Store(), [0.0]
    keys = LocalKeys(store.load, lambda: store.revoked, refresh_interval_s=1, clock=lambda: now[0])
    assert not keys.is_revoked("s1")

    store.revoked = {"s1"}
    now[0] = 1.0

    assert keys.is_revoked("s1")
