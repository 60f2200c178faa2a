"""Envoy's admin interface, over its Unix socket."""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

_TIMEOUT_S = 2.0

# Envoy has two thousand statistics for a mesh of four components; these are a tenth, and the ones that alerts are made of.
_WATCHED = (
    r"^http\.public\.(downstream_(cx_(active|total)|rq_(active|total|time|completed|[1-5]xx|timeout|too_large))|jwt_authn|ext_authz)"
    r"|^http_local_rate_limit\."
    r"|^callers\.http_local_rate_limit\."
    r"|^cluster\.[^.]+\.(upstream_(rq_(active|total|time|retry|timeout|pending_overflow|[1-5]xx)|cx_(active|connect_fail))"
    r"|membership_(healthy|total)|outlier_detection\.ejections_active|health_check\.failure|ext_authz\.(ok|denied|error))$"
    r"|^listener_manager\.(total_listeners_(active|draining)|listener_create_failure)$"
    r"|^control_plane\.connected_state$"
    r"|^server\.(uptime|live|memory_(allocated|heap_size)|total_connections)$"
)


class AdminError(Exception):
    """Envoy does not answer on its admin socket, or answers with an error."""


class Admin:
    """Asks an Envoy how it is, and tells it to drain. Safe to use from several threads: each question has a connection of its own.

    Args:
        path: Path of the admin socket.
        timeout_s: Longest wait for an answer, in seconds.
    """

    def __init__(self, path: Path, timeout_s: float = _TIMEOUT_S) -> None:
        self._path = path
        self._timeout_s = timeout_s

    def is_ready(self) -> bool:
        """Whether Envoy has its configuration and serves."""
        try:
            self._request("GET", "/ready")
        except AdminError:
            return False
        return True

    def check(self) -> None:
        """Returns where Envoy is ready: a dependency check.

        Raises:
            AdminError: It is not.
        """
        self._request("GET", "/ready")

    def stat(self, name: str) -> int:
        """Returns a counter or gauge; 0 where Envoy has none of that name.

        Raises:
            AdminError: Envoy does not answer.
        """
        return self.stats(name).get(name, 0)

    def stats(self, prefix: str = "") -> dict[str, int]:
        """Returns counters and gauges whose names begin with a prefix.

        Raises:
            AdminError: Envoy does not answer.
        """
        found = json.loads(self._request("GET", "/stats", {"format": "json"}))["stats"]
        return {stat["name"]: stat["value"] for stat in found if stat.get("name", "").startswith(prefix) and "value" in stat}

    def healthy_endpoints(self, cluster: str) -> int:
        """Returns how many endpoints of a cluster pass their health checks and are not ejected.

        A rollout asks before it gives weight to a cluster: a route to one that is still warming is answered with 503.

        Raises:
            AdminError: Envoy does not answer.
        """
        return self.stat(f"cluster.{cluster}.membership_healthy")

    def metrics(self) -> str:
        """Returns what is worth watching of Envoy's statistics, in the Prometheus text format.

        Raises:
            AdminError: Envoy does not answer.
        """
        return self._request("GET", "/stats/prometheus", {"usedonly": "", "filter": _WATCHED})

    def config_dump(self) -> Any:
        """Returns the configuration that is in force, with endpoints.

        Raises:
            AdminError: Envoy does not answer.
        """
        return json.loads(self._request("GET", "/config_dump", {"include_eds": ""}))

    def start_draining(self) -> None:
        """Tells clients, answer by answer, to go elsewhere, and goes on serving.

        Raises:
            AdminError: Envoy does not answer.
        """
        self._request("POST", "/healthcheck/fail")
        self._request("POST", "/drain_listeners", {"graceful": "", "skip_exit": ""})

    def active_requests(self) -> int:
        """Returns how many requests of clients are being served.

        Raises:
            AdminError: Envoy does not answer.
        """
        return self.stat("http.public.downstream_rq_active")

    def _request(self, method: str, path: str, params: dict[str, str] | None = None) -> str:
        connection = _UnixConnection(self._path, self._timeout_s)
        try:
            connection.request(method, f"{path}?{urlencode(params)}" if params else path)
            response = connection.getresponse()
            text = response.read().decode("utf-8", "replace")
        except (OSError, http.client.HTTPException) as error:
            raise AdminError(f"Envoy's admin interface at {self._path} does not answer: {error}") from error
        finally:
            connection.close()
        if response.status >= http.client.BAD_REQUEST:
            raise AdminError(f"Envoy answers {response.status} to {method} {path}: {text[:200].strip()}")
        return text


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("envoy", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        """Connects to the socket."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
