"""A call means the same whichever way it takes behind Envoy: gRPC's own server and the transcoder, or the lane."""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import grpc
import httpx
import pytest
from google.rpc import status_pb2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.gateway.lane_behind_envoy import LaneBehindEnvoy, lane_behind_envoy
from tests.integration.gateway.mesh_in_memory import GatewayUnderTest
from tests.integration.runtime.lane_contract import SERVICE, message, stub

WAYS = ("grpcio", "lane")
MIB = 1 << 20
# What differs from call to call, or says how a proxy passed it on.
_VOLATILE = re.compile(
    r"date|server|connection|x-request-id|content-length|content-type|transfer-encoding|x-envoy-.*|x-ratelimit-.*|grpc-.*"
)
_REQUEST_ID = re.compile(r"request id [0-9a-f-]{36}")


@pytest.fixture(scope="module")
def behind() -> Iterator[LaneBehindEnvoy]:
    with lane_behind_envoy() as running:
        yield running


def _ask(**fields: Any) -> Any:
    return message("Ask")(**fields)


def _both_ways(behind: LaneBehindEnvoy, observe: Callable[[], Any]) -> list[Any]:
    found = []
    for way in WAYS:
        behind.use(way)
        found.append(observe())
    return found


# gRPC.


def _observe_grpc(gateway: GatewayUnderTest, name: str, *requests: Any, **options: Any) -> dict[str, Any]:
    """All that a gRPC client can see of a call."""
    answers: list[Any] = []
    with gateway.channel() as channel:
        method = stub(channel, name)
        sent = iter(requests) if name in ("Collect", "Chat") else requests[0]
        call: Any
        try:
            if name in ("Many", "Chat"):
                call = method(sent, timeout=30, **options)
                answers.extend(call)
            else:
                answer, call = method.with_call(sent, timeout=30, **options)
                answers.append(answer)
        except grpc.RpcError as error:
            call = error
        initial, trailing = _metadata(call.initial_metadata()), _metadata(call.trailing_metadata())
        return {
            "answers": [answer.SerializeToString() for answer in answers],
            "code": call.code(),
            "message": _REQUEST_ID.sub("request id X", call.details()),
            "details": _details(call),
            # Where no message comes, all metadata may be in one piece, and gRPC itself shows them as either kind.
            "metadata": [initial, trailing] if answers else initial | trailing,
        }


def _metadata(pairs: Any) -> dict[str, Any]:
    return {name: value for name, value in pairs or () if not _VOLATILE.fullmatch(name)}


def _details(call: Any) -> list[str]:
    packed = dict(call.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
    details = status_pb2.Status.FromString(packed).details
    return [str(detail) for detail in details if not detail.type_url.endswith("RequestInfo")]


CALLS: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "unary": ("One", [{"text": "ä", "data": b"\x00\xff", "count": 3}]),
    "unary, empty": ("One", [{}]),
    "unary, metadata": ("One", [{"how": "metadata"}]),
    "unary, refused": ("One", [{"how": "not-found"}]),
    "unary, precondition": ("One", [{"how": "precondition"}]),
    "unary, bug": ("One", [{"how": "bug"}]),
    "unary, 15 MiB": ("One", [{"data": bytes(15 * MIB)}]),
    "unary, unauthenticated": ("Private", [{}]),
    "coroutine": ("Later", [{"text": "x", "data": b"\x01"}]),
    "coroutine, metadata": ("Later", [{"how": "metadata"}]),
    "coroutine, refused": ("Later", [{"how": "not-found"}]),
    "coroutine, bug": ("Later", [{"how": "bug"}]),
    "coroutine, cancels itself": ("Later", [{"how": "cancel-itself"}]),
    "server stream": ("Many", [{"text": "m", "count": 5}]),
    "server stream, none": ("Many", [{"count": 0}]),
    "server stream, metadata": ("Many", [{"count": 2, "how": "metadata"}]),
    "server stream, empty messages": ("Many", [{"count": 100}]),
    "server stream, fails at once": ("Many", [{"how": "at-once", "text": "not-found"}]),
    "server stream, fails half-way": ("Many", [{"how": "half-way", "text": "precondition", "count": 3}]),
    "server stream, bug half-way": ("Many", [{"how": "half-way", "text": "bug", "count": 3}]),
    "server stream, long messages": ("Many", [{"count": 3, "data": bytes(5 * MIB)}]),
    "client stream": ("Collect", [{"text": str(number), "data": bytes(1000)} for number in range(20)]),
    "client stream, none": ("Collect", []),
    "client stream, empty messages": ("Collect", [{}] * 1000),
    "client stream, refused at the second": ("Collect", [{"text": "a"}, {"how": "not-found"}, {"text": "b"}]),
    "client stream, answered early": ("Collect", [{"how": "early"}, *[{"data": bytes(MIB)}] * 5]),
    "both streams": ("Chat", [{"text": "a"}, {"text": "b"}]),
}


@pytest.mark.parametrize("case", CALLS)
def test_a_grpc_call_is_the_same_both_ways(behind: LaneBehindEnvoy, case: str) -> None:
    name, fields = CALLS[case]
    requests = [_ask(**each) for each in fields]

    by_grpcio, by_lane = _both_ways(behind, lambda: _observe_grpc(behind.gateway, name, *requests))

    assert by_lane == by_grpcio


@pytest.mark.parametrize("algorithm", [grpc.Compression.Gzip, grpc.Compression.Deflate])
@pytest.mark.parametrize("name", ["One", "Later", "Many", "Collect"])
def test_compressed_requests_are_the_same_both_ways(behind: LaneBehindEnvoy, name: str, algorithm: grpc.Compression) -> None:
    request = _ask(text="x", data=b"abc" * 50_000, count=2)

    by_grpcio, by_lane = _both_ways(behind, lambda: _observe_grpc(behind.gateway, name, request, compression=algorithm))

    assert by_lane == by_grpcio
    assert by_lane["code"] is grpc.StatusCode.OK


def test_metadata_of_a_caller_arrive_the_same_both_ways(behind: LaneBehindEnvoy) -> None:
    sent = [("x-text", "a b,c;d=~"), ("x-empty", ""), ("x-twice", "1"), ("x-twice", "2")]

    def observe() -> dict[str, Any]:
        _observe_grpc(behind.gateway, "One", _ask(), metadata=sent)
        return {name: value for name, value in behind.servicer.metadata.items() if name in dict(sent)}

    by_grpcio, by_lane = _both_ways(behind, observe)

    assert by_lane == by_grpcio
    assert by_lane["x-text"] == "a b,c;d=~"


@pytest.mark.parametrize("name", ["One", "Later", "Collect"])
def test_a_deadline_ends_a_call_both_ways(behind: LaneBehindEnvoy, name: str) -> None:
    request = _ask(how="hang" if name == "Later" else "wait")

    def observe() -> grpc.StatusCode:
        with behind.gateway.channel() as channel, pytest.raises(grpc.RpcError) as caught:
            stub(channel, name)(iter([request]) if name == "Collect" else request, timeout=0.3)
        code: grpc.StatusCode = caught.value.code()
        return code

    behind.servicer.go_on.clear()
    try:
        codes = _both_ways(behind, observe)
    finally:
        behind.servicer.go_on.set()

    assert codes == [grpc.StatusCode.DEADLINE_EXCEEDED] * 2


@pytest.mark.parametrize("way", WAYS)
def test_a_caller_who_cancels_cancels_the_coroutine(behind: LaneBehindEnvoy, way: str) -> None:
    behind.use(way)
    behind.servicer.was_cancelled.clear()
    behind.servicer.entered.clear()

    with behind.gateway.channel() as channel:
        call = stub(channel, "Later").future(_ask(how="hang"))
        assert behind.servicer.entered.wait(10)
        call.cancel()

        assert behind.servicer.was_cancelled.wait(10)


def test_a_caller_without_envoy_cancels_and_calls_a_coroutine_too(behind: LaneBehindEnvoy) -> None:
    behind.servicer.was_cancelled.clear()
    behind.servicer.entered.clear()

    with grpc.insecure_channel(behind.backend.server.address) as channel:
        assert stub(channel, "Later")(_ask(text="x"), timeout=10, metadata=[("x-bytes-bin", b"\x00\xff")]).text == "x"
        seen = behind.servicer.metadata["x-bytes-bin"]
        behind.servicer.entered.clear()
        call = stub(channel, "Later").future(_ask(how="hang"))
        assert behind.servicer.entered.wait(10)
        call.cancel()

        assert behind.servicer.was_cancelled.wait(10)
    assert seen == b"\x00\xff"


# gRPC-Web.


def _observe_grpc_web(gateway: GatewayUnderTest, name: str, request: Any, *, is_text: bool) -> dict[str, Any]:
    raw = request.SerializeToString()
    body = struct.pack(">BI", 0, len(raw)) + raw
    kind = "application/grpc-web-text" if is_text else "application/grpc-web+proto"
    response = gateway.client.post(
        f"/{SERVICE}/{name}",
        headers={"content-type": kind, "accept": kind, "x-grpc-web": "1"},
        content=base64.b64encode(body) if is_text else body,
    )
    parts = re.findall(rb"[A-Za-z0-9+/]+=*", response.content)
    content = b"".join(base64.b64decode(part) for part in parts) if is_text else response.content
    frames: list[tuple[int, Any]] = []
    while content:
        flag, size = struct.unpack(">BI", content[:5])
        frames.append((flag, content[5 : 5 + size] if flag == 0 else _known(content[5 : 5 + size])))
        content = content[5 + size :]
    known = ("grpc-status", "grpc-message", "x-initial", "content-type")
    return {"status": response.status_code, "frames": frames, "headers": {key: response.headers.get(key) for key in known}}


def _known(trailers: bytes) -> dict[str, str]:
    """Trailers without those that say nothing: an empty message, and the padding of base64."""
    pairs = (line.decode().split(":", 1) for line in trailers.splitlines())
    return {name: value.rstrip("=") for name, value in pairs if value and name.startswith(("grpc-status", "grpc-message", "x-trailing"))}


@pytest.mark.parametrize("is_text", [False, True], ids=["binary", "text"])
@pytest.mark.parametrize(
    "case", ["unary", "unary, refused", "unary, metadata", "server stream", "server stream, fails half-way", "coroutine"]
)
def test_a_grpc_web_call_is_the_same_both_ways(behind: LaneBehindEnvoy, case: str, is_text: bool) -> None:
    name, (fields,) = CALLS[case]

    def observe() -> Any:
        seen = _observe_grpc_web(behind.gateway, name, _ask(**fields), is_text=is_text)
        for _, trailers in seen["frames"][-1:]:
            trailers.pop("grpc-status-details-bin", None) if isinstance(trailers, dict) else None
        return seen

    by_grpcio, by_lane = _both_ways(behind, observe)

    assert by_lane == by_grpcio


# REST.


def _observe_rest(gateway: GatewayUnderTest, verb: str, url: str, **options: Any) -> dict[str, Any]:
    response = gateway.client.request(verb, url, **options)
    headers = {name: value for name, value in response.headers.items() if not _VOLATILE.fullmatch(name)}
    content_type = response.headers.get("content-type")
    body: Any = response.json() if content_type == "application/json" and response.content else response.content
    if response.status_code >= 400 and body:
        body["message"] = _REQUEST_ID.sub("request id X", body["message"])
        body["details"] = [detail for detail in body["details"] if not detail["@type"].endswith("RequestInfo")]
    return {"status": response.status_code, "type": content_type, "headers": headers, "body": body}


def _outline(seen: dict[str, Any]) -> Any:
    """What has to be the same also where the text of an error is the transcoder's, which says less."""
    if seen["status"] < 400:
        return seen
    return seen["status"], seen["body"]["code"], [detail["reason"] for detail in seen["body"]["details"] if "reason" in detail]


CALLS_OF_BYTES: list[tuple[str, str, bytes | None]] = [
    ("GET", "/lane/fields", None),
    ("GET", "/lane/fields/plain", None),
    ("GET", "/lane/fields/a%20b%2Bc+d", None),
    ("GET", "/lane/fields/%C3%A4%E2%82%AC", None),
    ("GET", "/lane/fields/a%2525b", None),
    ("GET", "/lane/fields/a%2Fb", None),
    ("GET", "/lane/fields/a%3Ab", None),
    ("GET", "/lane/fields/a%FFb", None),
    ("GET", "/lane/fields/x?text=other", None),
    ("GET", "/lane/fields/x/number/-7", None),
    ("GET", "/lane/fields/x/number/seven", None),
    ("GET", "/lane/fields/x:y/number/7", None),
    ("GET", "/lane/fields/x:verb", None),
    ("GET", "/lane/fields/x:y:verb", None),
    ("GET", "/lane/fields/x:other", None),
    ("GET", "/lane/fields/x:", None),
    ("GET", "/lane/fields/:verb", None),
    ("GET", "/lane/nested/deep", None),
    ("GET", "/lane/files/a/b/c.txt", None),
    ("GET", "/lane/files/a%2Fb/c%20d", None),
    ("GET", "/lane/files/a:b/c", None),
    ("GET", "/lane/files/a/b:c", None),
    ("POST", "/lane/fields/x", b'{"a": 1}'),
    ("POST", "/lane/fields/x?number32=4&inner.text=y", b"\x00\xff"),
    ("POST", "/lane/fields/x", b""),
    ("POST", "/lane/fields?text=x", b"second"),
    ("POST", "/lane/later/x?texts=1&texts=2", b"body"),
    ("PUT", "/lane/raw/name", b"bytes" * 1000),
    ("PUT", "/lane/raw/name", b""),
    ("PUT", "/lane/raw/not-found", b"bytes"),
    ("GET", "/lane/raw/name?number32=3&number64=10", None),
    ("GET", "/lane/raw/not-found", None),
    ("POST", "/lane/fields/not-found", b"x"),
    ("POST", "/lane/fields/bug", b"x"),
    ("POST", "/lane/later/not-found", b"x"),
    ("PATCH", "/lane/fields/x", b"x"),
    ("HEAD", "/lane/raw/x", None),
    ("DELETE", "/lane/raw/x", None),
    ("GET", "/lane/nowhere", None),
    ("GET", "/lane/fields/", None),
    ("GET", "/lane/fields/a/b", None),
]


@pytest.mark.parametrize(("verb", "url", "content"), CALLS_OF_BYTES, ids=lambda value: repr(value)[:50])
def test_a_rest_call_of_bytes_is_the_same_both_ways(behind: LaneBehindEnvoy, verb: str, url: str, content: bytes | None) -> None:
    headers = {} if content is None else {"content-type": "application/x-test"}

    by_transcoder, by_lane = _both_ways(behind, lambda: _observe_rest(behind.gateway, verb, url, content=content, headers=headers))

    if content is None and by_transcoder["status"] == 400:
        by_lane, by_transcoder = _outline(by_lane), _outline(by_transcoder)
    assert by_lane == by_transcoder


def test_what_the_transcoder_cannot_say_the_lane_does(behind: LaneBehindEnvoy) -> None:
    behind.use("lane")

    nothing = behind.gateway.client.get("/lane/raw/name?number32=0")
    later = behind.gateway.client.post("/lane/fields/precondition", content=b"x")

    assert (nothing.status_code, nothing.headers["content-type"]) == (200, "application/octet-stream")
    assert (later.status_code, later.headers["retry-after"]) == (400, "2")


def test_a_call_without_a_content_type_is_not_transcoded_either(behind: LaneBehindEnvoy) -> None:
    behind.use("lane")

    kinds = []
    for verb, url in (("GET", "/lane/raw/x"), ("PUT", "/lane/raw/x"), ("GET", "/lane/fields")):
        assert behind.gateway.client.request(verb, url).status_code == 200
        kinds.append(behind.servicer.metadata.get("content-type"))

    assert kinds == [None] * 3


_NUMBERS = """
number32=5 number32=-5 number32=2147483647 number32=2147483648 number32= number32=x number32=1.0 number32=1e2 number32=%205 number32=0x10
number32=007 number32=--1 number32=- number64=9223372036854775807 number64=9223372036854775808 number64=-1 positive32=4294967295
positive32=4294967296 positive32=-1 positive64=18446744073709551615 positive64=18446744073709551616 zigzag32=-2147483648 fixed=7
small_float=1.5 small_float=1e39 small_float=NaN small_float=Infinity big_float=1e308 big_float=1e309 big_float=-Infinity big_float=inf
big_float=nan big_float=1_0 big_float=x big_float= big_float=.5 big_float=5. big_float=1e-400 bigFloat=2 maybe=0
"""
_OTHERS = """
is_so=true is_so=false is_so=True is_so=TRUE is_so=1 is_so=0 is_so=t is_so=yes is_so=n is_so= is_so=2 isSo=true colour=COLOUR_RED
colour=colour_red colour=1 colour=7 colour=PINK colour= octets=AP8= octets=AP8 octets=-_8= octets=* colours=COLOUR_RED&colours=2
texts=a&texts=b texts=a,b texts= numbers=1&numbers=2 numbers=1,2 inner.text=a inner.number=4 inner.deeper.deeper.text=a inner.missing=1
inner=1 inners=1 labels=1 labels.a=1 labels[a]=1 body.data=x body.content_type=x body=1 missing=1 text=a&text=b number32=1&number32=2
"""
_TEXTS = """
text=a+b text=a%2Bb text=a%20b text= text & text=a&&number32=1 text=a;number32=1 text=a%26number32=1 text=%C3%A4 text=%FF text=% text=%zz
text=a=b text=a%00b te%78t=a TEXT=a .text=a inner..text=a inner.=a text.a=1
"""
_LONG = ["number32=" + "1" * 5000, "&".join(f"texts={number}" for number in range(150))]


@pytest.mark.parametrize("query", [*_NUMBERS.split(), *_OTHERS.split(), *_TEXTS.split(), *_LONG], ids=lambda query: query[:40])
def test_query_parameters_fill_fields_as_the_transcoder_fills_them(behind: LaneBehindEnvoy, query: str) -> None:
    by_transcoder, by_lane = _both_ways(behind, lambda: _observe_rest(behind.gateway, "GET", f"/lane/fields?{query}"))

    assert _outline(by_lane) == _outline(by_transcoder)


# The first text takes long to draw on a busy machine: tables of all of Unicode are made for it.
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20))
def test_any_text_in_a_path_and_in_a_query_arrives(behind: LaneBehindEnvoy, text: str) -> None:
    with behind.gateway.channel() as channel:
        by_grpc = stub(channel, "Fields")(message("FieldSet")(text=text), timeout=10).data

    def observe() -> set[bytes]:
        seen = {behind.gateway.client.get(f"/lane/fields?text={quote(text, safe='')}").content}
        # Paths are normalized by httpx and Envoy.
        if text not in (".", "..") and "/" not in text and "\\" not in text:
            seen.add(behind.gateway.client.get(f"/lane/fields/{quote(text, safe='')}").content)
        return seen

    behind.use("lane")

    assert observe() == {by_grpc}


def test_more_parameters_than_a_query_may_have_are_refused(behind: LaneBehindEnvoy) -> None:
    behind.use("lane")

    refused: httpx.Response = behind.gateway.client.get("/lane/fields?" + "&".join(["texts=1"] * 1001))

    assert refused.status_code == 400
    assert "1,000 parameters" in refused.json()["message"]
