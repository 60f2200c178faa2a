from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlmesh.addresses import parse_address


@pytest.mark.parametrize(
    ("text", "target", "is_secure", "url"),
    [
        ("http://127.0.0.1:8080", "127.0.0.1:8080", False, "http://127.0.0.1:8080"),
        ("http://127.0.0.1:8080/", "127.0.0.1:8080", False, "http://127.0.0.1:8080"),
        ("localhost:8080", "localhost:8080", False, "http://localhost:8080"),
        ("https://Mesh.Example.ORG", "mesh.example.org:443", True, "https://mesh.example.org:443"),
        ("http://mesh", "mesh:80", False, "http://mesh:80"),
        ("https://[::1]:9", "[::1]:9", True, "https://[::1]:9"),
        ("unix:/run/users.sock", "unix:/run/users.sock", False, "unix:/run/users.sock"),
    ],
)
def test_an_address_is_read_as_people_write_it(text: str, target: str, is_secure: bool, url: str) -> None:
    address = parse_address(text)
    assert (address.target, address.is_secure, address.url) == (target, is_secure, url)


@pytest.mark.parametrize(
    "text", ["", "ftp://mesh:1", "http://", "http://mesh:0", "http://mesh:99999", "http://mesh:x", "http://mesh/api", "http://mesh?x=1"]
)
def test_an_address_that_cannot_be_meant_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not the address of a mesh"):
        parse_address(text)


def test_a_password_in_an_address_is_refused_because_addresses_are_printed() -> None:
    with pytest.raises(ValueError, match="credentials have arguments of their own"):
        parse_address("http://ada:secret@mesh:8080")


@given(st.from_regex(r"https?://[a-z][a-z0-9.-]{0,20}[a-z0-9](:[1-9][0-9]{0,3})?", fullmatch=True))
def test_the_stored_form_of_an_address_reads_as_itself(text: str) -> None:
    address = parse_address(text)
    assert parse_address(address.url) == address
