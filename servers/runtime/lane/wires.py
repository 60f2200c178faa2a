"""How an answer looks on the wire: gRPC with its status in the trailers, or REST with its status in the first line."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any
from urllib.parse import quote

import grpc
import orjson
from google.protobuf import duration_pb2, json_format
from google.rpc import error_details_pb2, status_pb2

from servers.runtime.lane.context import Metadata

STATUS_DETAILS = "grpc-status-details-bin"
"""Trailer with the rich status."""

# https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto, as Envoy's transcoder maps them.
_HTTP_STATUSES = {0: 200, 1: 499, 2: 500, 3: 400, 4: 504, 5: 404, 6: 409, 7: 403, 8: 429, 9: 400, 10: 409, 11: 400, 12: 501, 13: 500}
_HTTP_STATUSES |= {14: 503, 15: 500, 16: 401}
# Envoy reads the number only.
_REASONS = {200: "OK"}
_END = b"0\r\n\r\n"
_OUTER_SPACES = re.compile(r"^ +| +$")
_SAFE = " !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~"
# What gRPC allows as names, and HTTP as values.
_NAME = re.compile(r"[0-9a-z_.-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_FRAMING = frozenset({"connection", "content-length", "content-type", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"})
_FRAMING |= {"grpc-status", "grpc-message", "grpc-encoding"}


class RestBody:
    """Bytes that a REST answer consists of.

    Args:
        content_type: Media type.
        data: The bytes.
    """

    __slots__ = ("content_type", "data")

    def __init__(self, content_type: str, data: bytes) -> None:
        self.content_type = content_type
        self.data = data


class GrpcWire:
    """gRPC over HTTP/1.1: chunks, then the status as trailers. Envoy makes HTTP/2 of it."""

    _HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ntransfer-encoding: chunked\r\n"
    _OK = b"\r\n0\r\ngrpc-status: 0\r\n"

    def whole(self, metadata: Metadata, answer: Any, trailers: Metadata, *, closes: bool) -> bytes:
        """A unary answer."""
        size = len(answer)
        return b"".join(
            (
                self._HEAD,
                _metadata(metadata) if metadata else b"",
                b"connection: close\r\n\r\n" if closes else b"\r\n",
                b"%x\r\n\0" % (size + 5),
                size.to_bytes(4, "big"),
                answer,
                self._OK,
                _metadata(trailers) if trailers else b"",
                b"\r\n",
            )
        )

    def head(self, metadata: Metadata, first: Any, *, closes: bool) -> bytes:
        """What comes before the first message of a stream."""
        del first
        return self._HEAD + _metadata(metadata) + (b"connection: close\r\n\r\n" if closes else b"\r\n")

    def message(self, answer: Any) -> bytes:
        """A message of a stream."""
        size = len(answer)
        return b"".join((b"%x\r\n\0" % (size + 5), size.to_bytes(4, "big"), answer, b"\r\n"))

    def end(self, trailers: Metadata) -> bytes:
        """The end of a stream."""
        return b"0\r\ngrpc-status: 0\r\n" + _metadata(trailers) + b"\r\n"

    def failure(self, status: grpc.Status, *, closes: bool) -> bytes:
        """The whole answer of a call that failed before its first message: gRPC's "Trailers-Only", which Envoy's retries look at."""
        end = b"content-length: 0\r\nconnection: close\r\n\r\n" if closes else b"content-length: 0\r\n\r\n"
        return b"HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\n" + _status_headers(status) + end

    def late_failure(self, status: grpc.Status) -> bytes:
        """The end of a stream that failed half-way."""
        return b"0\r\n" + _status_headers(status) + b"\r\n"


class RestWire:
    """HTTP/1.1 as people know it; errors are `google.rpc.Status` in JSON, in the shape of the gateway."""

    def __init__(self, error_body: Callable[[status_pb2.Status], bytes] | None = None) -> None:
        self._error_body = error_body or error_json

    def whole(self, metadata: Metadata, answer: Any, trailers: Metadata, *, closes: bool) -> bytes:
        """A unary answer."""
        return _rest_answer(200, answer.content_type, answer.data, (*metadata, *trailers), closes=closes)

    def head(self, metadata: Metadata, first: Any, *, closes: bool) -> bytes:
        """What comes before the first message of a stream."""
        content_type = first.content_type if isinstance(first, RestBody) else "application/octet-stream"
        facts = [("content-type", content_type), ("transfer-encoding", "chunked"), *([("connection", "close")] if closes else [])]
        return b"HTTP/1.1 200 OK\r\n" + _headers(facts) + _metadata(metadata) + b"\r\n"

    def message(self, answer: Any) -> bytes:
        """A message of a stream."""
        # A chunk without bytes would be the end.
        return b"%x\r\n%b\r\n" % (len(answer.data), answer.data) if answer.data else b""

    def end(self, trailers: Metadata) -> bytes:
        """The end of a stream."""
        del trailers
        return _END

    def failure(self, status: grpc.Status, *, closes: bool) -> bytes:
        """The whole answer of a call that failed before its first message."""
        rich = _rich(status)
        facts = [(name, value) for name, value in status.trailing_metadata or () if name != STATUS_DETAILS]
        retry = error_details_pb2.RetryInfo()
        facts += [("retry-after", str(_whole_seconds(retry.retry_delay))) for detail in rich.details if detail.Unpack(retry)]
        body = self._error_body(rich)
        return _rest_answer(_HTTP_STATUSES.get(rich.code, 500), "application/json", body, facts, closes=closes)

    def late_failure(self, status: grpc.Status) -> None:
        """Nothing: HTTP has no word for it, so the connection is broken off."""
        del status


def error_json(status: status_pb2.Status) -> bytes:
    """A status as the gateway's transcoder prints it."""
    return orjson.dumps(error_fields(status))


def error_fields(status: status_pb2.Status) -> dict[str, Any]:
    """The fields of an error's body."""
    return json_format.MessageToDict(status, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


def plain_http(status: int, text: str, *, closes: bool) -> bytes:
    """An answer to what is no call: a health check, or what cannot be read."""
    return _rest_answer(status, "text/plain", text.encode(), (), closes=closes)


def _rest_answer(status: int, content_type: str, body: bytes, metadata: Iterable[tuple[str, str | bytes]], *, closes: bool) -> bytes:
    head = _first_lines(status, content_type)
    close = b"connection: close\r\n\r\n" if closes else b"\r\n"
    return b"".join((head, b"content-length: %d\r\n" % len(body), _metadata(metadata) if metadata else b"", close, body))


@lru_cache(maxsize=256)
def _first_lines(status: int, content_type: str) -> bytes:
    return f"HTTP/1.1 {status} {_REASONS.get(status, 'Error')}\r\n".encode() + _headers((("content-type", content_type),))


def _metadata(metadata: Iterable[tuple[str, str | bytes]]) -> bytes:
    """Headers that a servicer sends. Those that say how the answer is framed are not its own to say."""
    pairs = tuple(metadata)
    for name, _ in pairs:
        if name in _FRAMING:
            raise ValueError(f"{name} is not for a servicer to send")
    return _headers(pairs)


def _headers(pairs: Iterable[tuple[str, str | bytes]]) -> bytes:
    lines = []
    for name, value in pairs:
        text = base64.b64encode(value).decode() if isinstance(value, bytes) else value
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not the name of a header")
        if not _VALUE.fullmatch(text):
            raise ValueError(f"the value of {name} has characters that a header cannot have")
        lines.append(f"{name}: {text}\r\n")
    return "".join(lines).encode("latin-1")


def _status_headers(status: grpc.Status) -> bytes:
    facts = (("grpc-status", str(status.code.value[0])), ("grpc-message", _percent_encoded(status.details)))
    return _headers(facts) + _metadata(status.trailing_metadata or ())


def _percent_encoded(text: str | None) -> str:
    """A message as gRPC wants it: space to tilde without the percent sign. HTTP drops spaces at the ends, so those are encoded too."""
    return _OUTER_SPACES.sub(lambda spaces: "%20" * len(spaces[0]), quote(text or "", safe=_SAFE))


def _rich(status: grpc.Status) -> status_pb2.Status:
    for name, value in status.trailing_metadata or ():
        if name == STATUS_DETAILS and isinstance(value, bytes):
            return status_pb2.Status.FromString(value)
    return status_pb2.Status(code=status.code.value[0], message=status.details or "")


def _whole_seconds(duration: duration_pb2.Duration) -> int:
    return max(1, duration.seconds + (1 if duration.nanos else 0))
