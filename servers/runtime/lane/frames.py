"""gRPC's length-prefixed messages (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md), out of bytes that come in any cut."""

from __future__ import annotations

import zlib
from typing import Any

from servers.runtime.errors import InvalidArgument, ResourceExhausted, Unimplemented

PREFIX_BYTES = 5
"""Compressed flag and length before each message."""

ACCEPTED_ENCODINGS = "identity,gzip,deflate"
"""Compressions that requests may have, as `grpc-accept-encoding` lists them."""

# Window bits of zlib's two containers (RFC 1952 and RFC 1950).
_WINDOW_BITS = {"gzip": 31, "deflate": 15}


class MessageTooLarge(ResourceExhausted):
    """A message is longer than the server takes."""

    reason = "REQUEST_TOO_LARGE"

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(
            f"A request message may have {limit_bytes:,} bytes, and this one has more. Send less at once, or use a streaming method.",
            metadata={"max_message_bytes": str(limit_bytes)},
        )


class MalformedFrame(InvalidArgument):
    """The body is not a sequence of length-prefixed messages."""

    reason = "MALFORMED_REQUEST"


def frame(message: bytes) -> bytes:
    """Puts the prefix before an uncompressed message."""
    return b"\0" + len(message).to_bytes(4, "big") + message


class Compressed:
    """A message that is still compressed.

    It is decompressed by who serves the call, one at a time and after the caller's credentials were looked at: a few kilobytes may hold
    many messages of the greatest length.

    Args:
        payload: Its bytes.
        window_bits: As in `zlib.decompressobj`.
        limit_bytes: Longest result.
    """

    __slots__ = ("_limit_bytes", "_payload", "_window_bits")

    def __init__(self, payload: bytes, window_bits: int, limit_bytes: int) -> None:
        self._payload = payload
        self._window_bits = window_bits
        self._limit_bytes = limit_bytes

    def __len__(self) -> int:
        return len(self._payload)

    def inflated(self) -> bytes:
        """Returns the message; raises as `inflate` does."""
        return inflate(self._payload, self._window_bits, self._limit_bytes)


class FrameReader:
    """Cuts a body into messages. Lengths are checked before anything is kept.

    Args:
        limit_bytes: Longest message, in bytes.
        encoding: The request's `grpc-encoding`.
    """

    __slots__ = ("_encoding", "_limit", "_rest", "_wanted")

    def __init__(self, limit_bytes: int, encoding: str = "") -> None:
        self._limit = limit_bytes
        self._encoding = encoding
        # One array, and no list of pieces: of a piece that has one byte, a list would keep forty.
        self._rest = bytearray()
        self._wanted = PREFIX_BYTES

    def feed(self, data: bytes, messages: list[Any]) -> None:
        """Takes the next bytes of the body. Not to be called again after it has raised.

        Args:
            data: Any number of bytes.
            messages: Gets the messages that are complete now: bytes, or `Compressed`. Those before a malformed one too.

        Raises:
            MessageTooLarge: A length is above the limit.
            MalformedFrame: The bytes are not what a prefix announces.
            Unimplemented: A message is compressed in a way that is not known.
        """
        body: bytes | memoryview = data
        if self._rest:
            self._rest += data
            if len(self._rest) < self._wanted:
                return
            body = memoryview(self._rest)
        start = 0
        while len(body) - start >= PREFIX_BYTES:
            length = int.from_bytes(body[start + 1 : start + PREFIX_BYTES], "big")
            if length > self._limit:
                raise MessageTooLarge(self._limit)
            end = start + PREFIX_BYTES + length
            if end > len(body):
                self._wanted = end - start
                break
            messages.append(self._message(body[start], bytes(body[start + PREFIX_BYTES : end])))
            start = end
        else:
            self._wanted = PREFIX_BYTES
        self._rest = bytearray(body[start:])

    def end(self) -> None:
        """Says that the body is complete.

        Raises:
            MalformedFrame: It ends within a message.
        """
        if self._rest:
            raise MalformedFrame(f"The body ends {self._wanted - len(self._rest):,} bytes before the end of its last message.")

    def _message(self, flag: int, payload: bytes) -> bytes | Compressed:
        if flag == 0:
            return payload
        if flag != 1:
            raise MalformedFrame(f"The compressed flag of a message is 0 or 1, and this one is {flag}.")
        bits = _WINDOW_BITS.get(self._encoding)
        if bits is None:
            raise Unimplemented(
                f"A message is compressed as {self._encoding or 'nothing'!r}; this server reads {ACCEPTED_ENCODINGS}.",
                reason="ENCODING_UNKNOWN",
            )
        return Compressed(payload, bits, self._limit)


def inflate(payload: bytes, window_bits: int, limit_bytes: int) -> bytes:
    """Decompresses, and stops at a limit.

    Args:
        payload: zlib or gzip data.
        window_bits: As in `zlib.decompressobj`.
        limit_bytes: Longest result.

    Raises:
        MessageTooLarge: The result is longer.
        MalformedFrame: The data are damaged.
    """
    inflater = zlib.decompressobj(window_bits)
    try:
        message = inflater.decompress(payload, limit_bytes + 1)
    except zlib.error:
        raise MalformedFrame("A compressed message cannot be decompressed.") from None
    if len(message) > limit_bytes:
        raise MessageTooLarge(limit_bytes)
    if not inflater.eof or inflater.unused_data:
        raise MalformedFrame("A compressed message ends too early or too late.")
    return message
