"""Following the keys of the users server."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

from gateway.control_plane.jwks import JwksError, JwksWatch, normalized

MODULUS = base64.urlsafe_b64encode(
    rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key().public_numbers().n.to_bytes(256, "big")
)
KEY = {"kty": "RSA", "n": MODULUS.rstrip(b"=").decode(), "e": "AQAB", "use": "sig"}


def _set(*kids: str, **more: str) -> bytes:
    return json.dumps({"keys": [{**KEY, "kid": kid, **more} for kid in kids]}).encode()


def _wait(condition: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(500):
        if condition():
            return
        pause.wait(0.01)
    pytest.fail("the condition did not become true")


@given(st.permutations(["a", "b", "c"]), st.sampled_from([None, 1, 4]))
def test_spelling_and_order_make_no_other_key_set(kids: list[str], indent: int | None) -> None:
    spelt = json.dumps(json.loads(_set(*kids)), indent=indent).encode()

    assert normalized(spelt) == normalized(_set("a", "b", "c"))


def test_keys_that_verify_nothing_are_left_out() -> None:
    mixed = json.loads(_set("a"))
    mixed["keys"] += [{"kty": "oct", "k": "x", "kid": "b"}, {**KEY, "kid": "c", "use": "enc"}]

    assert normalized(json.dumps(mixed).encode()) == normalized(_set("a"))


@pytest.mark.parametrize(
    "document", [b"", b"[]", b'{"keys": 1}', b'{"keys": []}', b'{"keys": [{"kty": "RSA", "kid": "a", "n": "!"}]}', b"\xff"]
)
def test_what_is_no_key_set_is_refused(document: bytes) -> None:
    with pytest.raises(JwksError):
        normalized(document)


class Users:
    """A users server that may be away."""

    def __init__(self, *answers: bytes | Exception) -> None:
        self.answers = list(answers)
        self.asked = 0

    def __call__(self) -> bytes:
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_only_changes_are_told() -> None:
    told: list[str] = []
    users = Users(_set("a"), _set("a"), _set("a", "b"), _set("b", "a"))
    watch = JwksWatch(users, told.append, interval_s=0.005, retry_s=0.005)

    watch.start()
    _wait(lambda: users.asked > 6)
    watch.close()

    assert told == [normalized(_set("a")), normalized(_set("a", "b"))]
    watch.check()


def test_while_the_users_server_is_away_the_last_keys_stay_and_the_check_says_so() -> None:
    told: list[str] = []
    users = Users(_set("a"), grpc.RpcError("away"))
    watch = JwksWatch(users, told.append, interval_s=0.005, retry_s=0.005)

    watch.start()
    _wait(lambda: users.asked > 3)
    watch.close()

    assert told == [normalized(_set("a"))]
    with pytest.raises(ConnectionError, match="away"):
        watch.check()


def test_a_key_set_that_cannot_be_read_does_not_replace_one_that_can() -> None:
    told: list[str] = []
    users = Users(_set("a"), b'{"keys": []}')
    watch = JwksWatch(users, told.append, interval_s=0.005, retry_s=0.005)

    watch.start()
    _wait(lambda: users.asked > 3)
    watch.close()

    assert told == [normalized(_set("a"))]


def test_before_the_first_keys_the_check_fails() -> None:
    with pytest.raises(ConnectionError, match="no keys"):
        JwksWatch(Users(_set("a")), lambda _: None, interval_s=1).check()
