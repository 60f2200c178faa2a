"""Takes traffic away from Envoy before it is stopped, since Envoy exits at once on SIGTERM: `python -m gateway.drain`."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable

from gateway.admin import Admin, AdminError
from gateway.settings import GatewaySettings

_POLL_S = 0.05
_QUIET_S = 0.2  # a client that was told to leave may have sent one more request by then


def drain(admin: Admin, timeout_s: float, *, pause: Callable[[float], object], clock: Callable[[], float] = time.monotonic) -> bool:
    """Drains an Envoy: answers carry `connection: close` or GOAWAY, new requests are still served, and running ones finish.

    Args:
        admin: The Envoy's admin interface.
        timeout_s: Longest wait for running requests, in seconds.
        pause: Waits for some seconds.
        clock: Monotonic seconds.

    Returns:
        Whether nothing was running at the end.

    Raises:
        AdminError: Envoy does not answer.
    """
    deadline = clock() + timeout_s
    admin.start_draining()
    quiet_since: float | None = None
    while clock() < deadline:
        if admin.active_requests():
            quiet_since = None
        elif quiet_since is None:
            quiet_since = clock()
        elif clock() - quiet_since >= _QUIET_S:
            return True
        pause(_POLL_S)
    return admin.active_requests() == 0


def main() -> int:
    """Drains the Envoy of the environment's settings. Exit code 0 = nothing was running, 1 = something still was, 2 = no Envoy."""
    settings = GatewaySettings()
    try:
        is_quiet = drain(Admin(settings.admin_socket), settings.drain_before_stop_s, pause=threading.Event().wait)
    except AdminError as error:
        print(error, file=sys.stderr)
        return 2
    return 0 if is_quiet else 1


if __name__ == "__main__":
    sys.exit(main())
