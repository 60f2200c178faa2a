"""Runs the edge app on its Unix socket, in a thread beside the control plane."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

_START_TIMEOUT_S = 10.0
_STOP_TIMEOUT_S = 5


class EdgeError(Exception):
    """The edge app could not be started."""


class EdgeServer:
    """Serves an ASGI app on a Unix socket.

    Args:
        app: The app.
        socket: Path of the socket; whatever is there is replaced.
    """

    def __init__(self, app: ASGIApp, socket: Path) -> None:
        self._socket = socket
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                uds=str(socket),
                # Envoy logs every request; this would log them twice.
                access_log=False,
                log_config=None,
                log_level=logging.WARNING,
                server_header=False,
                date_header=False,
                timeout_graceful_shutdown=_STOP_TIMEOUT_S,
            )
        )
        self._thread = threading.Thread(target=self._server.run, name="edge", daemon=True)

    def start(self) -> None:
        """Starts to serve.

        Raises:
            EdgeError: It does not within ten seconds.
        """
        self._socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._socket.unlink(missing_ok=True)
        self._thread.start()
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not self._server.started:
            self._thread.join(timeout=0.01)
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise EdgeError(f"the edge app does not serve on {self._socket}")
        self._socket.chmod(0o600)

    def close(self) -> None:
        """Stops, once running requests have finished."""
        self._server.should_exit = True
        self._thread.join(timeout=_STOP_TIMEOUT_S + 1)
        self._socket.unlink(missing_ok=True)
