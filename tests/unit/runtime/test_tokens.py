from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from servers.runtime.errors import Unauthenticated
from servers.runtime.tokens import TokenVerifier

NOW = 1_800_000_000
KEY = rsa.generate_private_key(65537, 2048)
OTHER_KEY = rsa.generate_private_key(65537, 2048)


class Keys:
    def __init__(self) -> None:
        self.keys: dict[str, Any] = {"k1": KEY.public_key()}
        self.revoked: set[str] = set()

    def public_key(self, key_id: str) -> Any:
        return self.keys.get(key_id)

    def is_revoked(self, session_id: str) -> bool:
        return session_id in self.revoked


class Clock:
    def __init__(self) -> None:
        self.now: float = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def keys() -> Keys:
    return Keys()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def verifier(keys: Keys, clock: Clock) -> TokenVerifier:
    return TokenVerifier(keys, "mlmesh", "mlmesh", keys, leeway_s=5, clock=clock)


CLAIMS = {
    "iss": "mlmesh",
    "aud": "mlmesh",
    "sub": "ada",
    "name": "Ada",
    "kind": "user",
    "iat": NOW,
    "exp": NOW + 900,
    "sid": "s1",
    "grants": {"default": ["registry.*"]},
}


def token(headers: dict[str, Any] | None = None, key: Any = KEY, algorithm: str = "RS256", without: str = "", **claims: Any) -> str:
    payload = {name: value for name, value in (CLAIMS | claims).items() if name != without}
    return jwt.encode(payload, key, algorithm, headers={"kid": "k1"} | (headers or {}))


def reason(verify: Callable[[], object]) -> str:
    with pytest.raises(Unauthenticated) as caught:
        verify()
    return caught.value.reason


def test_a_good_token_names_its_principal(verifier: TokenVerifier) -> None:
    principal = verifier.verify(token())

    assert (principal.subject, principal.display_name, principal.kind, principal.session_id) == ("ada", "Ada", "user", "s1")
    assert principal.may("registry.models.read", "default")


def test_a_token_without_grants_may_do_nothing(verifier: TokenVerifier) -> None:
    assert verifier.verify(token(without="grants")).grants == {}


def test_a_token_works_until_it_expires_also_from_the_cache(verifier: TokenVerifier, clock: Clock) -> None:
    issued = token()
    clock.now = NOW + 904
    assert verifier.verify(issued).subject == "ada"

    clock.now = NOW + 905

    assert reason(lambda: verifier.verify(issued)) == "TOKEN_EXPIRED"


def test_a_token_of_the_future_is_refused_beyond_the_leeway(verifier: TokenVerifier) -> None:
    assert verifier.verify(token(iat=NOW + 4)).subject == "ada"
    assert reason(lambda: verifier.verify(token(iat=NOW + 6))) == "TOKEN_NOT_YET_VALID"
    assert reason(lambda: verifier.verify(token(nbf=NOW + 6))) == "TOKEN_NOT_YET_VALID"


def test_revoking_a_session_ends_its_tokens_also_from_the_cache(verifier: TokenVerifier, keys: Keys) -> None:
    issued = token()
    verifier.verify(issued)

    keys.revoked.add("s1")

    assert reason(lambda: verifier.verify(issued)) == "TOKEN_REVOKED"


def test_withdrawing_a_key_ends_its_tokens_also_from_the_cache(verifier: TokenVerifier, keys: Keys) -> None:
    issued = token()
    verifier.verify(issued)

    del keys.keys["k1"]

    assert reason(lambda: verifier.verify(issued)) == "TOKEN_SIGNATURE"


def hs256_with_the_public_key() -> str:
    """The classic confusion: the public key, known to everybody, used as the secret of a symmetric algorithm."""

    def encoded(part: dict[str, Any]) -> bytes:
        return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=")

    secret = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signed = encoded({"alg": "HS256", "typ": "JWT", "kid": "k1"}) + b"." + encoded(CLAIMS)
    return (signed + b"." + base64.urlsafe_b64encode(hmac.digest(secret, signed, hashlib.sha256)).rstrip(b"=")).decode()


@pytest.mark.parametrize(
    ("forged", "expected"),
    [
        (token(key="", algorithm="none"), "TOKEN_SIGNATURE"),
        (hs256_with_the_public_key(), "TOKEN_SIGNATURE"),
        (token(key="a" * 64, algorithm="HS256"), "TOKEN_SIGNATURE"),
        (token(algorithm="RS512"), "TOKEN_SIGNATURE"),
        (token(key=OTHER_KEY), "TOKEN_SIGNATURE"),
        (token(headers={"kid": "unknown"}), "TOKEN_SIGNATURE"),
        (token()[:-6] + "AAAAAA", "TOKEN_SIGNATURE"),
        (token(headers={"kid": ""}), "TOKEN_MALFORMED"),
        (token(headers={"crit": ["exp"]}), "TOKEN_MALFORMED"),
        (token(iss="another"), "TOKEN_ISSUER"),
        (token(aud="another"), "TOKEN_AUDIENCE"),
        (token(aud=["another", "third"]), "TOKEN_AUDIENCE"),
        (token(without="aud"), "TOKEN_AUDIENCE"),
        (token(without="iss"), "TOKEN_ISSUER"),
        (token(without="exp"), "TOKEN_EXPIRED"),
        (token(without="sub"), "TOKEN_MALFORMED"),
        (token(exp="soon"), "TOKEN_MALFORMED"),
        (token(exp=True), "TOKEN_MALFORMED"),
        (token(kind="emperor"), "TOKEN_MALFORMED"),
        (token(grants=["*"]), "TOKEN_MALFORMED"),
        (token(grants={"default": "*"}), "TOKEN_MALFORMED"),
        (token(grants={"default": [1]}), "TOKEN_MALFORMED"),
        (token(sid=7), "TOKEN_MALFORMED"),
        ("", "TOKEN_MALFORMED"),
        ("a.b.c", "TOKEN_MALFORMED"),
        ("ü.ü.ü", "TOKEN_MALFORMED"),
        (token(name="x" * 9000), "TOKEN_MALFORMED"),
    ],
)
def test_a_wrong_token_is_refused_with_its_reason(verifier: TokenVerifier, forged: str, expected: str) -> None:
    assert reason(lambda: verifier.verify(forged)) == expected


def test_a_long_token_is_refused_before_it_is_decoded(keys: Keys) -> None:
    class Exploding(Keys):
        def public_key(self, key_id: str) -> Any:
            raise AssertionError("the token was decoded")

    assert reason(lambda: TokenVerifier(Exploding(), "mlmesh", "mlmesh").verify("a" * 8193)) == "TOKEN_MALFORMED"


@given(st.text(max_size=400) | st.binary(max_size=300).map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
def test_no_text_is_anything_but_refused(text: str) -> None:
    keys = Keys()

    assert reason(lambda: TokenVerifier(keys, "mlmesh", "mlmesh", keys).verify(text)) == "TOKEN_MALFORMED"


@given(st.data())
def test_no_change_of_a_single_character_is_accepted(data: st.DataObject) -> None:
    keys, good = Keys(), token()
    position = data.draw(st.integers(0, len(good) - 2))
    changed = good[:position] + data.draw(st.sampled_from("AZaz09-_.")) + good[position + 1 :]
    verifier = TokenVerifier(keys, "mlmesh", "mlmesh", keys, clock=lambda: NOW)

    if changed != good:
        assert reason(lambda: verifier.verify(changed)) in {"TOKEN_MALFORMED", "TOKEN_SIGNATURE"}


def test_the_cache_is_bounded_and_forgets_the_oldest(keys: Keys, clock: Clock) -> None:
    verifier = TokenVerifier(keys, "mlmesh", "mlmesh", keys, clock=clock, cache_size=2)
    tokens = [token(sub=f"user-{number}") for number in range(4)]

    assert [verifier.verify(issued).subject for issued in tokens * 2] == [f"user-{number}" for number in range(4)] * 2
    assert len(verifier._cache) == 2
