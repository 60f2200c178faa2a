"""Frames between a server and a model's process: a prefix with two lengths, a JSON header, and bytes that nobody copies twice.

    magic (4) | header length (4, little-endian) | payload length (8) | header (JSON) | payload

The lengths are checked before anything is allocated for them. Both sides read with `FrameReader`, which does no input or output itself
and has the shape of `asyncio.BufferedProtocol`: whoever reads asks where the next bytes go, and says how many came.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

MAX_HEADER_BYTES = 1 << 20
"""Longest header: names and shapes of some ten thousand tensors."""

_PREFIX = struct.Struct("<4sIQ")
_MAGIC = b"MLM1"
"""Changes with the format: after an upgrade of the files on disk, an older server may start a newer process."""

_SMALL_BYTES = 1 << 16
"""Up to here a frame travels in one piece: one copy is cheaper than a system call for each part."""

Part = bytes | memoryview
Payload = np.ndarray[Any, np.dtype[np.uint8]]


class MalformedFrame(ValueError):
    """The other side sent what the protocol does not have."""


class PayloadTooLarge(ValueError):
    """A payload is longer than the other side takes; nothing was sent.

    Args:
        size_bytes: How long it is.
    """

    def __init__(self, size_bytes: int) -> None:
        super().__init__(f"a payload of {size_bytes:,} bytes is too large")
        self.size_bytes = size_bytes


@dataclass(frozen=True, slots=True)
class Frame:
    """What one side tells the other.

    Args:
        header: A JSON object.
        payload: The bytes behind it, in memory of their own.
    """

    header: dict[str, Any]
    payload: Payload


def frame_parts(header: Mapping[str, Any], payload: Sequence[Part] = (), *, max_payload_bytes: int = 0) -> list[Part]:
    """Writes a frame.

    Args:
        header: A JSON object.
        payload: Bytes, or views of bytes. They must not change until they are sent.
        max_payload_bytes: Longest payload that the other side takes.

    Returns:
        What has to be sent, in order: one piece where the frame is small, else the pieces of `payload` themselves.

    Raises:
        PayloadTooLarge: If the payload is.
        ValueError: If the header is longer than `MAX_HEADER_BYTES`.
    """
    written = orjson.dumps(header)
    if len(written) > MAX_HEADER_BYTES:
        raise ValueError(f"a header may have {MAX_HEADER_BYTES:,} bytes; this one has {len(written):,}")
    payload_bytes = sum(map(len, payload))
    if payload_bytes > max_payload_bytes:
        raise PayloadTooLarge(payload_bytes)
    prefix = _PREFIX.pack(_MAGIC, len(written), payload_bytes)
    if payload_bytes <= _SMALL_BYTES:
        return [b"".join((prefix, written, *payload))]
    return [prefix + written, *payload]


class FrameReader:
    """Puts frames together out of bytes that come in any cut.

    Args:
        max_payload_bytes: Longest payload.
    """

    __slots__ = ("_filled", "_head", "_header", "_payload", "_payload_filled", "max_payload_bytes")

    def __init__(self, max_payload_bytes: int) -> None:
        self.max_payload_bytes = max_payload_bytes
        self._head = memoryview(bytearray(_SMALL_BYTES))
        self._filled = 0
        self._header: dict[str, Any] | None = None
        self._payload: Payload = _NO_PAYLOAD
        self._payload_filled = 0

    @property
    def is_within_frame(self) -> bool:
        """Whether a frame has begun and not ended."""
        return self._filled > 0 or self._header is not None

    def buffer(self) -> memoryview:
        """Where the next bytes go; never empty. A large payload is received in place."""
        if self._header is not None:
            return self._payload.data[self._payload_filled :]
        return self._head[self._filled :]

    def received(self, size_bytes: int) -> list[Frame]:
        """Takes note of bytes.

        Args:
            size_bytes: How many were put at the start of `buffer()`.

        Returns:
            The frames that are complete now.

        Raises:
            MalformedFrame: If the bytes are no frame, or a length is above its limit. The reader is of no use afterwards.
        """
        if self._header is not None:
            self._payload_filled += size_bytes
            if self._payload_filled < len(self._payload):
                return []
            frame = Frame(self._header, self._payload)
            self._header, self._payload = None, _NO_PAYLOAD
            return [frame]
        self._filled += size_bytes
        return self._frames_in_head()

    def _frames_in_head(self) -> list[Frame]:
        frames = []
        start = 0
        while self._header is None and self._filled - start >= _PREFIX.size:
            magic, header_bytes, payload_bytes = _PREFIX.unpack_from(self._head, start)
            self._check(magic, header_bytes, payload_bytes)
            behind = start + _PREFIX.size + header_bytes
            if behind > self._filled:
                break
            header = _header(self._head[start + _PREFIX.size : behind])
            start = min(behind + payload_bytes, self._filled)
            here = self._head[behind:start]
            if len(here) == payload_bytes:
                frames.append(Frame(header, np.frombuffer(bytearray(here), np.uint8) if payload_bytes else _NO_PAYLOAD))
            else:
                payload: Payload = np.empty(payload_bytes, np.uint8)
                payload.data[: len(here)] = here
                self._header, self._payload, self._payload_filled = header, payload, len(here)
        self._keep_from(start)
        return frames

    def _keep_from(self, start: int) -> None:
        """Moves the bytes that belong to the next frame to the front, where there is room for its prefix and header."""
        if start == self._filled:
            self._filled = 0
            return
        rest = bytes(self._head[start : self._filled])
        wanted = _PREFIX.size
        if len(rest) >= _PREFIX.size:
            wanted += _PREFIX.unpack_from(rest)[1]
        if wanted > len(self._head):
            self._head = memoryview(bytearray(wanted))
        self._head[: len(rest)] = rest
        self._filled = len(rest)

    def _check(self, magic: bytes, header_bytes: int, payload_bytes: int) -> None:
        if magic != _MAGIC:
            raise MalformedFrame(f"a frame starts with {_MAGIC!r}, not with {magic!r}")
        if header_bytes > MAX_HEADER_BYTES:
            raise MalformedFrame(f"a header may have {MAX_HEADER_BYTES:,} bytes; one of {header_bytes:,} is announced")
        if payload_bytes > self.max_payload_bytes:
            raise MalformedFrame(f"a payload may have {self.max_payload_bytes:,} bytes; one of {payload_bytes:,} is announced")


_NO_PAYLOAD: Payload = np.empty(0, np.uint8)


def _header(written: memoryview) -> dict[str, Any]:
    try:
        header = orjson.loads(written)
    except orjson.JSONDecodeError as error:
        raise MalformedFrame(f"a header is not JSON: {error}") from None
    if not isinstance(header, dict):
        raise MalformedFrame("a header is not a JSON object")
    return header
