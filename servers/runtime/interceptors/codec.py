"""Decodes requests and encodes responses inside the other interceptors.

gRPC would do both itself, outside of them: a malformed request would be an INTERNAL without details, and the token of a caller
would be looked at only after the caller's bytes were parsed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

from google.protobuf.message import DecodeError

from servers.runtime.calls import Behaviour, Call, Method
from servers.runtime.errors import DomainError, InvalidArgument
from servers.runtime.lane.frames import Compressed


class Codec:
    """Translates between bytes and messages.

    Args:
        decode: Bytes to request, as generated code registers it.
        encode: Response to bytes.
    """

    def __init__(self, decode: Callable[[bytes], Any] | None, encode: Callable[[Any], bytes] | None) -> None:
        self._decode = decode or (lambda raw: raw)
        self._encode = encode or (lambda message: message)

    def wrap(self, method: Method, inner: Behaviour) -> Behaviour:
        """Gives a behaviour over bytes."""
        decode = self._decode_many if method.request_streaming else self._decode_one
        if method.is_coroutine:

            async def awaited(request: Any, call: Call) -> bytes:
                try:
                    return self._encode(await inner(decode(request), call))
                except asyncio.CancelledError as error:
                    # Whether the caller has left or the servicer awaits what was cancelled: the interceptors around judge exceptions.
                    raise RuntimeError("the coroutine of a call was cancelled") from error

            return awaited
        if not method.response_streaming:
            return lambda request, call: self._encode(inner(decode(request), call))

        def streaming(request: Any, call: Call) -> Iterator[bytes]:
            for response in inner(decode(request), call):
                yield self._encode(response)

        return streaming

    def _decode_one(self, raw: bytes | Compressed | DomainError) -> Any:
        if isinstance(raw, DomainError):
            raise raw  # the transport could not read it
        if isinstance(raw, Compressed):
            raw = raw.inflated()
        try:
            return self._decode(raw)
        except DecodeError:
            raise InvalidArgument("The request is not a message of this method's type.", reason="MALFORMED_REQUEST") from None

    def _decode_many(self, raws: Iterator[bytes | Compressed | DomainError]) -> Iterator[Any]:
        return (self._decode_one(raw) for raw in raws)
