"""What a servicer sees of a call on the lane: gRPC's own `ServicerContext`."""

from __future__ import annotations

import base64
import binascii
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, cast

import grpc

Metadata = Sequence[tuple[str, str | bytes]]

_LOGGER = logging.getLogger(__name__)


class Aborted(Exception):
    """Unwinds a call whose status the context has."""


class LaneContext(grpc.ServicerContext):
    """One call. Used by the thread that runs the call, and ended by the thread of the event loop.

    Args:
        headers: Headers of the request, names in lower case.
        deadline: When the caller stops waiting, in seconds of `time.monotonic`; None = never.
    """

    def __init__(self, headers: dict[bytes, bytes], deadline: float | None) -> None:
        self._headers = headers
        self._deadline = deadline
        # A call may end, by its caller, while its thread adds to what is to be told: nothing must be added that nobody calls.
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[], object]] = []
        self._is_over = False
        self.failure: grpc.Status | None = None
        """How the call was aborted."""
        self.initial_metadata: Metadata = ()
        """Headers of the answer."""
        self.trailers: Metadata = ()
        """Trailers of a successful answer."""

    def invocation_metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        """The headers of the request."""
        return tuple((name.decode("latin-1"), _value(name, value)) for name, value in self._headers.items())

    def header(self, name: str) -> str | bytes | None:
        """One header of the request, by its lower-case name. The others are never decoded."""
        key = name.encode("latin-1")
        value = self._headers.get(key)
        return None if value is None else _value(key, value)

    def is_active(self) -> bool:
        """Whether the caller still waits."""
        return not self._is_over and (self._deadline is None or self._deadline > time.monotonic())

    def time_remaining(self) -> float | None:  # type: ignore[override] # the stubs forget calls without a deadline
        """Seconds until the deadline, 0 after it; None where there is none."""
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def add_callback(self, callback: Callable[[], object]) -> bool:
        """Calls something when the call is over; False where it is already."""
        with self._lock:
            if self._is_over:
                return False
            self._callbacks.append(callback)
            return True

    def end(self) -> None:
        """Marks the call as over and tells whoever wanted to know. Called by the loop's thread, once."""
        with self._lock:
            self._is_over = True
        for callback in self._callbacks:
            try:
                callback()
            except Exception:  # the others have to be told all the same
                _LOGGER.exception("what was to be told the end of a call failed")

    def cancel(self) -> bool:
        """Not a thing for servicers here: they raise."""
        return False

    def peer(self) -> str:
        """Envoy, whoever stands behind it."""
        return "unix:"

    def peer_identities(self) -> None:
        """None: the socket's mode says who may call."""

    def peer_identity_key(self) -> None:
        """None, likewise."""

    def auth_context(self) -> dict[str, Any]:
        """Empty, likewise."""
        return {}

    def send_initial_metadata(self, initial_metadata: Any) -> None:
        """Adds headers to the answer; they go out with its first message."""
        self.initial_metadata = tuple(initial_metadata)

    def set_trailing_metadata(self, trailing_metadata: Any) -> None:
        """Adds trailers to the answer; those of an error come from the error."""
        self.trailers = tuple(trailing_metadata)

    def abort(self, code: grpc.StatusCode, details: str) -> NoReturn:
        """Ends the call with a plain status, and the trailers that were set."""
        self.abort_with_status(cast(grpc.Status, _PlainStatus(code, details, self.trailers)))

    def abort_with_status(self, status: grpc.Status) -> NoReturn:
        """Ends the call with a status."""
        self.failure = status
        raise Aborted

    def set_code(self, code: grpc.StatusCode) -> NoReturn:
        """Not supported: a servicer raises a domain error."""
        raise NotImplementedError("raise a DomainError")

    def set_details(self, details: str) -> NoReturn:
        """Not supported, likewise."""
        raise NotImplementedError("raise a DomainError")


def _value(name: bytes, value: bytes) -> str | bytes:
    """Binary metadata travel in base64; what is none is taken as it is."""
    if not name.endswith(b"-bin"):
        return value.decode("latin-1")
    try:
        return base64.b64decode(value + b"=" * (-len(value) % 4), validate=True)
    except (binascii.Error, ValueError):
        return value


class _PlainStatus:
    def __init__(self, code: grpc.StatusCode, details: str, trailers: Metadata) -> None:
        self.code = code
        self.details = details
        self.trailing_metadata = trailers
