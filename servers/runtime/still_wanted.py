"""The call that work is done for."""

from __future__ import annotations

from servers.runtime.errors import Unavailable
from servers.runtime.streams import should_end


def check_still_wanted() -> None:
    """Lets work pass as long as somebody waits for it.

    Raises:
        Unavailable: The server stops, or the caller has left.
    """
    if should_end():
        raise Unavailable("the server stops, or the caller has left; repeat the call", reason="SERVER_STOPPING")
