"""Envoy's admin interface, over its Unix socket."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

_TIMEOUT_S = 2.0


class AdminError(Exception):
    """Envoy does not answer on its admin socket, or answers with an error."""


class Admin:
    """Asks an Envoy how it is, and tells it to drain.

    Args:
        socket: Path of the admin socket.
        timeout_s: Longest wait for an answer, in seconds.
    """

    def __init__(self, socket: Path, timeout_s: float = _TIMEOUT_S) -> None:
        self._socket = socket
        self._client = httpx.Client(
            transport=httpx.HTTPTransport(uds=str(socket)), base_url="http://envoy", timeout=timeout_s, trust_env=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection."""
        self._client.close()

    def is_ready(self) -> bool:
        """Whether Envoy has its configuration and serves."""
        try:
            return self._client.get("/ready").status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def check(self) -> None:
        """Returns where Envoy is ready: a dependency check.

        Raises:
            AdminError: It is not.
        """
        if not self.is_ready():
            raise AdminError("Envoy is not ready")

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
        found = json.loads(self._request("GET", "/stats", {"format": "json"}).text)["stats"]
        return {stat["name"]: stat["value"] for stat in found if stat.get("name", "").startswith(prefix) and "value" in stat}

    def healthy_endpoints(self, cluster: str) -> int:
        """Returns how many endpoints of a cluster pass their health checks and are not ejected.

        A rollout asks before it gives weight to a cluster: a route to one that is still warming is answered with 503.

        Raises:
            AdminError: Envoy does not answer.
        """
        return self.stat(f"cluster.{cluster}.membership_healthy")

    def metrics(self) -> str:
        """Returns all statistics in the Prometheus text format.

        Raises:
            AdminError: Envoy does not answer.
        """
        return self._request("GET", "/stats/prometheus", {"usedonly": ""}).text

    def config_dump(self) -> Any:
        """Returns the configuration that is in force, with endpoints.

        Raises:
            AdminError: Envoy does not answer.
        """
        return json.loads(self._request("GET", "/config_dump", {"include_eds": ""}).text)

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

    def _request(self, method: str, path: str, params: dict[str, str] | None = None) -> httpx.Response:
        try:
            response = self._client.request(method, path, params=params)
            response.raise_for_status()
        except httpx.HTTPError as error:
            raise AdminError(f"Envoy's admin interface at {self._socket}: {error}") from error
        return response
