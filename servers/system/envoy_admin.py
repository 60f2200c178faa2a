"""Envoy's admin interface, over its Unix socket."""

from __future__ import annotations

import http.client
import socket
from pathlib import Path


class EnvoyUnavailableError(Exception):
    """Envoy's admin interface does not answer, or answers with something else than metrics."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("envoy", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def envoy_metrics(admin_socket: Path, *, timeout_s: float, max_bytes: int) -> str:
    """Fetches Envoy's metrics.

    Args:
        admin_socket: Unix socket of the admin interface.
        timeout_s: Longest wait for the next bytes, in seconds.
        max_bytes: Longest text that is taken, in bytes.

    Returns:
        Prometheus text.

    Raises:
        EnvoyUnavailableError: If there is none to be had.
    """
    connection = _UnixConnection(admin_socket, timeout_s)
    try:
        connection.request("GET", "/stats/prometheus?usedonly")
        answer = connection.getresponse()
        text = answer.read(max_bytes + 1)
    except (OSError, http.client.HTTPException) as error:
        raise EnvoyUnavailableError(f"Envoy's admin interface does not answer: {error}") from error
    finally:
        connection.close()
    if answer.status != http.HTTPStatus.OK:
        raise EnvoyUnavailableError(f"Envoy's admin interface answers {answer.status}")
    if len(text) > max_bytes:
        raise EnvoyUnavailableError(f"Envoy has more than {max_bytes} bytes of metrics (setting max_metrics_bytes)")
    return text.decode("utf-8", "replace")
