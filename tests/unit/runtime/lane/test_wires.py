"""How answers look on the wire, read back by a parser that the lane did not write."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import unquote

import grpc
import httptools
import orjson
import pytest
from google.protobuf import any_pb2, duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st

from servers.runtime.lane.frames import FrameReader
from servers.runtime.lane.wires import STATUS_DETAILS, GrpcWire, RestBody, RestWire, plain_http

GRPC, REST = GrpcWire(), RestWire()

names = st.text(st.sampled_from("abcz019-_."), min_size=1, max_size=10).filter(lambda name: not name.startswith(("grpc-", "te")))
values = st.one_of(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=20), st.binary(max_size=20))
metadata = st.lists(st.tuples(names.map("x-{}".format), values), max_size=4, unique_by=lambda pair: pair[0])
evil = st.text(st.sampled_from("ab :\r\n\0\x7f\x01é日"), min_size=1, max_size=12)


class Status(NamedTuple):
    code: grpc.StatusCode
    details: str
    trailing_metadata: tuple[tuple[str, str | bytes], ...] = ()


class Seen:
    """An answer as a parser reads it."""

    def __init__(self, data: bytes) -> None:
        self.head: list[tuple[str, str]] = []
        self.trailers: list[tuple[str, str]] = []
        self.body = b""
        self.count = 0
        self._current = self.head
        parser = httptools.HttpResponseParser(self)
        parser.feed_data(data)
        self.status = parser.get_status_code()
        assert self.count == 1, "one complete answer, and nothing else"

    def on_header(self, name: bytes, value: bytes) -> None:
        self._current.append((name.decode(), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        self._current = self.trailers

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.count += 1

    @property
    def messages(self) -> list[bytes]:
        found: list[bytes] = []
        reader = FrameReader(1 << 20)
        reader.feed(self.body, found)
        reader.end()
        return found


def _texts(pairs: list[tuple[str, Any]]) -> list[tuple[str, str]]:
    return [(name, base64.b64encode(value).decode() if isinstance(value, bytes) else value) for name, value in pairs]


@given(initial=metadata, answer=st.binary(max_size=50), trailing=metadata, closes=st.booleans())
def test_a_unary_answer_is_read_back(initial: list[Any], answer: bytes, trailing: list[Any], closes: bool) -> None:
    seen = Seen(GRPC.whole(initial, answer, trailing, closes=closes))

    assert (seen.status, seen.messages) == (200, [answer])
    assert seen.trailers == [("grpc-status", "0"), *_texts(trailing)]
    assert [pair for pair in seen.head if pair[0].startswith("x-")] == _texts(initial)
    assert (("connection", "close") in seen.head) == closes


@given(initial=metadata, answers=st.lists(st.binary(max_size=50), max_size=5), trailing=metadata, closes=st.booleans())
def test_a_stream_is_read_back(initial: list[Any], answers: list[bytes], trailing: list[Any], closes: bool) -> None:
    data = GRPC.head(initial, None, closes=closes) + b"".join(map(GRPC.message, answers)) + GRPC.end(trailing)

    seen = Seen(data)

    assert seen.messages == answers
    assert seen.trailers == [("grpc-status", "0"), *_texts(trailing)]


@given(pieces=st.lists(st.binary(max_size=50), max_size=5))
def test_a_rest_stream_is_the_bytes_of_its_pieces(pieces: list[bytes]) -> None:
    bodies = [RestBody("text/x", piece) for piece in pieces]

    seen = Seen(REST.head((), bodies[0] if bodies else None, closes=False) + b"".join(map(REST.message, bodies)) + REST.end(()))

    assert seen.body == b"".join(pieces)
    assert ("content-type", "text/x" if pieces else "application/octet-stream") in seen.head


@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=40), code=st.sampled_from(list(grpc.StatusCode)), late=st.booleans())
def test_a_message_of_any_text_arrives_as_it_is_and_is_no_other_header(text: str, code: grpc.StatusCode, late: bool) -> None:
    status: Any = Status(code, text)
    data = GRPC.head((), None, closes=False) + GRPC.late_failure(status) if late else GRPC.failure(status, closes=False)

    seen = Seen(data)

    facts = dict(seen.trailers if late else seen.head)
    assert unquote(facts["grpc-message"]) == text
    assert int(facts["grpc-status"]) == code.value[0]
    assert set(facts) <= {"grpc-status", "grpc-message", "content-type", "content-length"}
    assert all(0x20 <= ord(character) <= 0x7E for character in facts["grpc-message"])


@given(details=st.binary(max_size=100))
def test_details_of_any_bytes_are_no_other_header(details: bytes) -> None:
    seen = Seen(GRPC.failure(Status(grpc.StatusCode.ABORTED, "x", ((STATUS_DETAILS, details),)), closes=True))  # type: ignore[arg-type]

    assert {name for name, _ in seen.head} == {
        "content-type",
        "grpc-status",
        "grpc-message",
        STATUS_DETAILS,
        "content-length",
        "connection",
    }


def _writers(name: str, value: str) -> list[Callable[[], bytes]]:
    pairs: Any = ((name, value),)
    body = RestBody("text/plain", b"x")
    status: Any = Status(grpc.StatusCode.ABORTED, "x", pairs)
    return [
        lambda: GRPC.whole(pairs, b"", (), closes=False),
        lambda: GRPC.whole((), b"", pairs, closes=False),
        lambda: GRPC.head(pairs, None, closes=False) + GRPC.end(()),
        lambda: GRPC.head((), None, closes=False) + GRPC.end(pairs),
        lambda: GRPC.failure(status, closes=False),
        lambda: GRPC.head((), None, closes=False) + GRPC.late_failure(status),
        lambda: REST.whole(pairs, body, (), closes=False),
        lambda: REST.whole((), body, pairs, closes=False),
        lambda: REST.head(pairs, body, closes=False) + REST.end(()),
        lambda: REST.failure(status, closes=False),
    ]


@given(text=evil)
def test_no_metadata_become_another_header_or_another_answer(text: str) -> None:
    for name, value in (("x-evil", text), (text, "value")):
        for write in _writers(name, value):
            try:
                data = write()
            except ValueError:
                continue
            seen = Seen(data)
            known = {"content-type", "content-length", "transfer-encoding", "grpc-status", "grpc-message", name}
            assert {key for key, _ in (*seen.head, *seen.trailers)} <= known


@given(text=evil)
def test_a_content_type_is_no_other_header(text: str) -> None:
    body = RestBody(text, b"x")
    writers: list[Callable[[], bytes]] = [
        lambda: REST.whole((), body, (), closes=False),
        lambda: REST.head((), body, closes=False) + REST.end(()),
    ]
    for write in writers:
        try:
            seen = Seen(write())
        except ValueError:
            continue
        assert {key for key, _ in seen.head} <= {"content-type", "content-length", "transfer-encoding"}


@pytest.mark.parametrize("name", ["content-length", "transfer-encoding", "connection", "grpc-status", "grpc-message", "content-type"])
def test_a_servicer_does_not_say_how_its_answer_is_framed(name: str) -> None:
    for write in _writers(name, "7"):
        with pytest.raises(ValueError, match=name):
            write()


@pytest.mark.parametrize("code", [code for code in code_pb2.Code.values() if code])
def test_every_code_has_the_http_status_of_the_transcoder(code: int) -> None:
    expected = {1: 499, 2: 500, 3: 400, 4: 504, 5: 404, 6: 409, 7: 403, 8: 429, 9: 400, 10: 409, 11: 400, 12: 501, 13: 500, 14: 503}
    expected |= {15: 500, 16: 401}
    status: Any = Status(next(known for known in grpc.StatusCode if known.value[0] == code), "text")

    seen = Seen(REST.failure(status, closes=False))

    assert seen.status == expected[code]
    assert orjson.loads(seen.body) == {"code": code, "message": "text", "details": []}


def test_an_error_says_when_to_come_back_and_shows_its_details() -> None:
    detail = any_pb2.Any()
    detail.Pack(error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=2, nanos=1)))
    rich = status_pb2.Status(code=8, message="full", details=[detail])
    status: Any = Status(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", ((STATUS_DETAILS, rich.SerializeToString()), ("x-own", "1")))

    seen = Seen(REST.failure(status, closes=False))

    assert dict(seen.head)["retry-after"] == "3"
    assert dict(seen.head)["x-own"] == "1"
    assert STATUS_DETAILS not in dict(seen.head)
    assert orjson.loads(seen.body)["details"][0]["retry_delay"] == "2.000000001s"


def test_a_plain_answer_says_whether_the_connection_ends() -> None:
    assert (Seen(plain_http(503, "not ready", closes=True)).body, Seen(plain_http(200, "", closes=False)).body) == (b"not ready", b"")
