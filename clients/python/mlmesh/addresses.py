"""Addresses of a mesh as people write them."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Address:
    """Where a mesh is.

    Args:
        target: GRPC target.
        is_secure: Whether TLS is used.
        url: The address as it is stored and compared: lower case, with its port, without a slash at the end.
    """

    target: str
    is_secure: bool
    url: str


def parse_address(text: str) -> Address:
    """Reads an address.

    Args:
        text: `http://host:port`, `https://host`, or `unix:/path` for one server inside a mesh. Without a scheme it is `http://`.

    Returns:
        The address.

    Raises:
        ValueError: It is none of these; the message says what is expected.
    """
    if text.startswith("unix:"):
        return Address(text, False, text)
    parts = urlsplit(text if "://" in text else f"http://{text}")
    try:
        port = parts.port
    except ValueError:
        raise ValueError(f"{text!r} is not the address of a mesh: the port has to be a number from 1 to 65535") from None
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or port == 0:
        raise ValueError(f"{text!r} is not the address of a mesh: expected for example http://127.0.0.1:8080 or https://mesh.example.org")
    if parts.path not in ("", "/") or parts.query or parts.fragment or parts.username is not None:
        raise ValueError(f"{text!r} is not the address of a mesh: give only scheme, host and port; credentials have arguments of their own")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    target = f"{host}:{port or _DEFAULT_PORTS[parts.scheme]}"
    return Address(target, parts.scheme == "https", f"{parts.scheme}://{target}")
