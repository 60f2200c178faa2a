"""One prediction request as bytes, and how its answer is read: `load` repeats it, `answer` makes it once with a real client."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import grpc
import httpx
import numpy as np
import orjson
from numpy.typing import NDArray

_TIMEOUT_S = 30.0


@dataclass(frozen=True, eq=False)
class Call:
    """A request.

    Args:
        url: Where to; of gRPC the method is the path.
        message: JSON document, or serialized message.
        read: Takes the predictions from the answer's document or message.
        is_grpc: Whether it is gRPC; otherwise JSON over HTTP/1.1.
        headers: Headers beside those of the protocol.
    """

    url: str
    message: bytes
    read: Callable[[bytes], NDArray[np.float32]]
    is_grpc: bool
    headers: Mapping[str, str]

    @property
    def body(self) -> bytes:
        """What travels: gRPC puts a flag and the length before a message."""
        return b"\0" + struct.pack(">I", len(self.message)) + self.message if self.is_grpc else self.message

    @property
    def all_headers(self) -> Mapping[str, str]:
        """Headers for a client that knows nothing of the protocol."""
        own = {"content-type": "application/grpc", "te": "trailers"} if self.is_grpc else {"content-type": "application/json"}
        return {**own, **self.headers}


def json_call(url: str, document: object, read: Callable[[Any], object], headers: Mapping[str, str] | None = None) -> Call:
    """Makes a JSON request.

    Args:
        url: Where to.
        document: What is sent.
        read: Takes the predictions from the parsed answer, as nested lists.
        headers: Headers beside the content type.

    Returns:
        The request.
    """

    def from_bytes(body: bytes) -> NDArray[np.float32]:
        return np.array(read(orjson.loads(body)), np.float32)

    return Call(url, orjson.dumps(document), from_bytes, is_grpc=False, headers=headers or {})


def answer(call: Call) -> bytes:
    """Makes a request once, by a client that checks the protocol.

    Args:
        call: The request.

    Returns:
        The answer's document or message.

    Raises:
        SystemExit: It was refused, or its protocol is broken.
    """
    address = urlsplit(call.url)
    try:
        if not call.is_grpc:
            answered = httpx.post(call.url, content=call.message, headers=dict(call.all_headers), timeout=_TIMEOUT_S)
            return answered.raise_for_status().content
        with grpc.insecure_channel(address.netloc, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            method: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
                address.path, request_serializer=None, response_deserializer=None
            )
            return bytes(method(call.message, timeout=_TIMEOUT_S, metadata=tuple(call.headers.items())))
    except (httpx.HTTPError, grpc.RpcError) as error:
        raise SystemExit(f"{call.url} does not answer as it should: {error}") from error
