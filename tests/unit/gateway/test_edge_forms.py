"""Forms of the token endpoint, RFC 6749."""

from __future__ import annotations

import base64
from urllib.parse import quote_plus, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.edge.tokens import FormError, exchange_request

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(TEXT, TEXT)
def test_what_a_client_encodes_arrives_as_it_was(username: str, password: str) -> None:
    form = urlencode({"grant_type": "password", "username": username, "password": password, "unheard_of": "x"}).encode()

    request = exchange_request(form)

    assert (request.grant_type, request.username, request.password) == ("password", username, password)


@given(TEXT.filter(lambda text: ":" not in text), TEXT)
def test_basic_authorization_names_the_client(client: str, secret: str) -> None:
    header = "Basic " + base64.b64encode(f"{quote_plus(client)}:{quote_plus(secret)}".encode()).decode()

    request = exchange_request(b"grant_type=client_credentials", header)

    assert (request.client_id, request.client_secret) == (client, secret)


@given(st.binary(max_size=60), st.text(max_size=30))
def test_any_bytes_are_a_request_or_a_form_error(form: bytes, authorization: str) -> None:
    try:
        request = exchange_request(form, authorization)
    except FormError:
        return
    assert request.ByteSize() <= 9 * (len(form) + len(authorization)) + 64


@pytest.mark.parametrize(
    ("form", "authorization", "why"),
    [
        (b"grant_type=a&grant_type=b", "", "twice"),
        (b"grant_type", "", "not a form"),
        (b"a=%ff", "", "not a form"),
        (b"&".join(b"a%d=1" % number for number in range(40)), "", "not a form"),
        (b"client_id=a", "Basic " + base64.b64encode(b"b:c").decode(), "contradicts"),
        (b"grant_type=a", "Basic ???", "base64"),
        (b"grant_type=a", "Basic " + base64.b64encode(b"nocolon").decode(), "colon"),
    ],
)
def test_a_bad_form_is_refused_with_the_reason(form: bytes, authorization: str, why: str) -> None:
    with pytest.raises(FormError, match=why):
        exchange_request(form, authorization)


def test_a_bearer_token_is_no_client() -> None:
    assert exchange_request(b"grant_type=refresh_token", "Bearer a.b.c").client_id == ""
