"""Ports for servers that do not listen yet."""

from __future__ import annotations

import errno
import random
import socket
from pathlib import Path

_LEAST = 10_000
_MOST = 65_536
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_USUALLY_EPHEMERAL = 32_768
_MOST_IN_USE = 100


def free_port(host: str = "127.0.0.1") -> int:
    """Returns a port that nobody listens on; see `free_ports`."""
    return free_ports(1, host)[0]


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """Returns different ports that nobody listens on, none of those that the kernel gives to connections and to whoever asks for any port.

    One of these might be somebody else's before the server listens, or while it is started again.

    Raises:
        OSError: The host is no address of this machine, or too many ports are in use.
    """
    found: list[int] = []
    candidates = random.SystemRandom().sample(range(_LEAST, _end()), count + _MOST_IN_USE)
    while len(found) < count:
        port = candidates.pop()
        try:
            check_port(host, port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or not candidates:
                raise
        else:
            found.append(port)
    return found


def check_port(host: str, port: int) -> None:
    """Makes sure that a server could listen on a port now.

    Raises:
        OSError: It is in use, or not ours to serve on.
        OverflowError: There is no such port.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # Without it, connections that were closed a moment ago would hold the port for a minute (TIME_WAIT).
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))


def _end() -> int:
    try:
        first = int(_EPHEMERAL.read_text("ascii").split()[0])
    except (OSError, ValueError, IndexError):  # not Linux
        first = _USUALLY_EPHEMERAL
    return first if first >= _LEAST + 10 * _MOST_IN_USE else _MOST
