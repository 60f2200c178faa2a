"""Addresses as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.configuration import Mesh
from gateway.routes import Target
from gateway.settings import environment_upstreams
from gateway.topology import AddressError, TcpEndpoint, UnixEndpoint, parse_endpoint, upstreams_of


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("unix:/run/users.sock", UnixEndpoint("/run/users.sock")),
        ("unix:///run/users.sock", UnixEndpoint("/run/users.sock")),
        ("10.0.0.5:9103", TcpEndpoint("10.0.0.5", 9103)),
        ("users.mesh.svc:9103", TcpEndpoint("users.mesh.svc", 9103)),
        ("[::1]:9103", TcpEndpoint("::1", 9103)),
    ],
)
def test_an_address_is_read(text: str, endpoint: object) -> None:
    assert parse_endpoint(text) == endpoint


@pytest.mark.parametrize(
    "text",
    [
        "",
        "host",
        "host:",
        ":1",
        "host:0",
        "host:65536",
        "host:-1",
        "host:x",
        "http://host:80",
        "::1:9103",
        "a b:1",
        "unix:relative",
        "host:١",
    ],
)
def test_what_is_no_address_is_refused_with_what_would_be_one(text: str) -> None:
    with pytest.raises(AddressError, match=r"unix:/absolute/path\.sock|absolute|brackets"):
        parse_endpoint(text)


def test_a_socket_path_that_the_kernel_cannot_take_is_refused() -> None:
    with pytest.raises(AddressError, match="107 bytes"):
        parse_endpoint("unix:/" + "x" * 107)


@given(st.text(max_size=40))
def test_any_text_is_an_address_or_an_address_error(text: str) -> None:
    try:
        endpoint = parse_endpoint(text)
    except AddressError:
        return
    assert isinstance(endpoint, UnixEndpoint) or 1 <= endpoint.port <= 65_535


def test_a_host_name_is_told_from_an_ip_address() -> None:
    assert TcpEndpoint("users.mesh.svc", 1).is_named
    assert not TcpEndpoint("10.0.0.5", 1).is_named
    assert not TcpEndpoint("::1", 1).is_named


def test_components_without_addresses_are_left_out() -> None:
    found = upstreams_of({"users": ["unix:/u.sock"], "serving": [], "unheard": ["a:1"]}, {"users": "U", "serving": "S"})

    assert list(found) == ["users"]
    assert found["users"].service == "U"


def test_the_environment_names_several_endpoints_of_a_component() -> None:
    environment = {"MLMESH_SERVING_ADDRESS": "10.0.0.1:1, 10.0.0.2:1", "MLMESH_SERVING_LANE": "unix:/l.sock", "OTHER": "x"}
    components = frozenset({"serving", "users"})

    assert environment_upstreams(components, environment=environment) == {"serving": ("10.0.0.1:1", "10.0.0.2:1")}
    assert environment_upstreams(components, "LANE", environment) == {"serving": ("unix:/l.sock",)}


def test_a_split_replaces_the_cluster_of_the_components_own_name() -> None:
    upstreams = upstreams_of({"serving": ["unix:/s.sock"]}, {"serving": "S"})
    split = (Target("serving@a", 90), Target("serving@b", 10))

    assert Mesh(upstreams).targets("serving") == (Target("serving", 1),)
    assert Mesh(upstreams).targets("users") == ()
    assert Mesh(upstreams, {"serving": split}).targets("serving") == split
