"""The lines that the server and a data process send each other: JSON, one message a line.

The server sends the settings, then for each operation `{"operation": …, "arguments": …}`. The process answers each one with any number of
`{"progress": …}`, then `{"result": …}` or `{"error": …}`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import orjson

from servers.runtime import errors
from servers.runtime.errors import DomainError

OnProgress = Callable[[Any], None]
"""Takes what an operation tells of its progress."""

MAX_LINE_BYTES = 64 << 20
"""Longest message, in bytes."""

OUT_OF_MEMORY_STATUS = 71
"""Exit status of a process that could not even say that memory ran out (sysexits.h: EX_OSERR)."""

_CODES = (
    errors.InvalidArgument,
    errors.NotFound,
    errors.AlreadyExists,
    errors.FailedPrecondition,
    errors.Aborted,
    errors.PermissionDenied,
    errors.Unauthenticated,
    errors.ResourceExhausted,
    errors.Unavailable,
    errors.Unimplemented,
)
"""The reason of each of these is the name of its gRPC code, which so is known without gRPC. All others are INTERNAL."""


class LineTooLong(Exception):
    """A message is longer than a line may be.

    Args:
        size_bytes: Its length, as far as it is known.
    """

    def __init__(self, size_bytes: int) -> None:
        super().__init__(f"a message of {size_bytes:,} bytes")
        self.size_bytes = size_bytes


def line_of(message: Any, max_line_bytes: int = MAX_LINE_BYTES) -> bytes:
    """Returns a message as a line.

    Args:
        message: What JSON can hold.
        max_line_bytes: Longest line.

    Raises:
        LineTooLong: If it is longer.
        TypeError: If JSON cannot hold it.
    """
    line = orjson.dumps(message, option=orjson.OPT_APPEND_NEWLINE)
    if len(line) > max_line_bytes:
        raise LineTooLong(len(line))
    return line


class Lines:
    """Puts lines together from the pieces in which they come.

    Args:
        max_line_bytes: Longest line.
    """

    def __init__(self, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self._max_line_bytes = max_line_bytes
        self._begun: list[bytes] = []
        self._begun_bytes = 0

    def received(self, piece: bytes) -> Iterator[bytes]:
        """Gives the lines that a piece completes.

        Raises:
            LineTooLong: If a line is longer than allowed, whether or not it has ended.
        """
        *ends, rest = piece.split(b"\n")
        for end in ends:
            self._add(end)
            line = b"".join(self._begun)
            self._begun, self._begun_bytes = [], 0
            yield line
        self._add(rest)

    def _add(self, part: bytes) -> None:
        self._begun_bytes += len(part)
        if self._begun_bytes > self._max_line_bytes:
            raise LineTooLong(self._begun_bytes)
        if part:
            self._begun.append(part)


def facts_of(error: DomainError) -> dict[str, Any]:
    """Returns all that a caller learns of an error, ready for JSON."""
    code = next((kind.reason for kind in _CODES if isinstance(error, kind)), "INTERNAL")
    return {
        "code": code,
        "reason": error.reason,
        "message": _text(error.message),
        "metadata": {_text(name): _text(value) for name, value in error.metadata.items()},
        "field_violations": [list(map(_text, violation)) for violation in error.field_violations],
        "preconditions": [list(map(_text, precondition)) for precondition in error.preconditions],
        "resource": None if error.resource is None else list(map(_text, error.resource)),
        "retry_after_s": error.retry_after_s,
    }


def _text(value: str) -> str:
    """A text that JSON can hold: names of files may have lone surrogates."""
    return value.encode("utf-8", "replace").decode()
