"""Where the components are: addresses as people write them, checked once."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

_MAX_SOCKET_PATH_BYTES = 107  # sun_path on Linux
_MAX_PORT = 65_535


class AddressError(ValueError):
    """An address is neither `unix:/path` nor `host:port`."""


@dataclass(frozen=True)
class UnixEndpoint:
    """A server behind a Unix socket.

    Args:
        path: Absolute path of the socket.
    """

    path: str


@dataclass(frozen=True)
class TcpEndpoint:
    """A server behind a port.

    Args:
        host: IP address or host name.
        port: 1 to 65,535.
    """

    host: str
    port: int

    @property
    def is_named(self) -> bool:
        """Whether the host is a name, which DNS has to resolve."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return True
        return False


Endpoint = UnixEndpoint | TcpEndpoint


@dataclass(frozen=True)
class Upstream:
    """A component and where it runs.

    Args:
        component: Name of the component; its cluster has the same.
        endpoints: At least one.
        service: Full name of the gRPC service whose readiness counts.
        lane: Where it serves Envoy in the form that costs less; empty = nowhere.
    """

    component: str
    endpoints: tuple[Endpoint, ...]
    service: str
    lane: tuple[Endpoint, ...] = ()


def parse_endpoint(text: str) -> Endpoint:
    """Reads an address.

    Args:
        text: `unix:/absolute/path.sock`, `host:port` or `[ipv6]:port`.

    Returns:
        The endpoint.

    Raises:
        AddressError: It is none of these.
    """
    if text.startswith("unix:"):
        return _unix(text, text.removeprefix("unix:").removeprefix("//"))
    host, separator, port = text.rpartition(":")
    is_bracketed = host.startswith("[") and host.endswith("]")
    if is_bracketed:
        host = host[1:-1]
    is_port = port.isascii() and port.isdecimal() and 1 <= int(port) <= _MAX_PORT
    if not separator or not host or not is_port or "/" in host or any(map(str.isspace, host)):
        raise AddressError(f"{text!r} is not an address: expected unix:/absolute/path.sock or host:port, for example 10.0.0.5:9103")
    if is_bracketed != (":" in host) or (is_bracketed and not _is_ipv6(host)):
        raise AddressError(f"{text!r} is not an address: an IPv6 address, and nothing else, is written in brackets, [::1]:9103")
    return TcpEndpoint(host, int(port))


def upstreams_of(
    addresses: Mapping[str, Iterable[str]], services: Mapping[str, str], lanes: Mapping[str, Iterable[str]] | None = None
) -> dict[str, Upstream]:
    """Reads where each component is.

    Args:
        addresses: Addresses by component.
        services: Full name of the gRPC service of each component.
        lanes: Addresses of their lanes, by component.

    Returns:
        Upstreams by component. A component without addresses or without a service is left out.

    Raises:
        AddressError: An address cannot be read.
    """
    parsed = {component: tuple(parse_endpoint(text) for text in texts) for component, texts in addresses.items()}
    parsed_lanes = {component: tuple(parse_endpoint(text) for text in texts) for component, texts in (lanes or {}).items()}
    return {
        component: Upstream(component, endpoints, services[component], parsed_lanes.get(component, ()))
        for component, endpoints in sorted(parsed.items())
        if endpoints and component in services
    }


def _unix(text: str, path: str) -> UnixEndpoint:
    if not Path(path).is_absolute():
        raise AddressError(f"{text!r} is not an address: the path of a Unix socket has to be absolute")
    if len(path.encode()) > _MAX_SOCKET_PATH_BYTES:
        raise AddressError(f"{text!r} is too long: the path of a Unix socket has at most {_MAX_SOCKET_PATH_BYTES} bytes")
    return UnixEndpoint(path)


def _is_ipv6(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).version == 6
    except ValueError:
        return False
