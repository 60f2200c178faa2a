"""What a lane takes from a peer that does not keep to HTTP/1.1 or to gRPC: everything ends soon, nothing grows, and the next is served."""

from __future__ import annotations

import contextlib
import threading
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from servers.runtime.admission import REFUSED
from servers.runtime.lane.frames import frame
from tests.integration.runtime.lane_contract import SERVICE, message
from tests.integration.runtime.lane_server import MAX_MESSAGE_BYTES, LaneServer, Peer, grpc_head, grpc_request, lane_server
from tests.integration.runtime.waiting import eventually

ENDLESS_BYTES = 64 << 20
PIECE = 128 << 10
# What a lane may hold for one connection beside the limit of a message: its read buffer, and what Python makes of a read.
SOME_BYTES = 6 << 20


@pytest.fixture(scope="module")
def lane() -> Iterator[LaneServer]:
    with lane_server() as server:
        yield server


@pytest.fixture
def peer(lane: LaneServer) -> Iterator[Peer]:
    with contextlib.closing(lane.connect()) as connection:
        yield connection


def _ask(**fields: Any) -> Any:
    return message("Ask")(**fields)


@contextlib.contextmanager
def _growing_at_most(limit_bytes: int) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < limit_bytes, f"{peak:,} bytes"


# What is right, to know that the rest is judged by something that works.


def test_calls_follow_each_other_on_a_connection(lane: LaneServer, peer: Peer) -> None:
    answers = [peer.call("One", _ask(text=str(number))) for number in range(3)]

    assert [answer.message("Answer").text for answer in answers] == ["0", "1", "2"]
    assert {(answer.status, answer.grpc_status, answer.is_complete) for answer in answers} == {(200, 0, True)}


def test_a_body_may_come_byte_by_byte(peer: Peer) -> None:
    for byte in grpc_request("One", _ask(text="slow")):
        peer.send(bytes([byte]))

    answer = peer.read()
    assert answer is not None
    assert answer.message("Answer").text == "slow"


def test_an_unknown_method_is_unimplemented_and_the_connection_lives(peer: Peer) -> None:
    assert peer.call("Missing", _ask()).grpc_status == 12
    assert peer.call("One", _ask(text="x")).grpc_status == 0


def test_an_unknown_path_is_not_found_and_readiness_is_told(peer: Peer) -> None:
    peer.send(b"GET /nowhere HTTP/1.1\r\nhost: lane\r\n\r\n")
    nowhere = peer.read()
    peer.send(b"GET /ready HTTP/1.1\r\nhost: lane\r\n\r\n")
    ready = peer.read()

    assert nowhere is not None
    assert ready is not None
    assert (nowhere.status, ready.status, ready.body) == (404, 200, b"ready")


# Malformed HTTP.


@pytest.mark.parametrize(
    "data",
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\0\0\0\0\0\0\0\0\0\0\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /ready HTTP/9.9\r\nhost: lane\r\n\r\n",
        b"GET /ready HTTP/1.1\r\nhost\r\n\r\n",
        b"GET /ready HTTP/1.1\r\nho st: lane\r\n\r\n",
        b"GET /ready HTTP/1.1\r\nhost: la\0ne\r\n\r\n",
        b"GET /ready HTTP/1.1\r\nhost: lane\r\n folded: yes\r\nx\r\n\r\n",
        grpc_head("One") + b"zz\r\nabc\r\n0\r\n\r\n",
        grpc_head("One") + b"-1\r\nabc\r\n0\r\n\r\n",
        grpc_head("One") + b"ffffffffffffffffff\r\nabc\r\n0\r\n\r\n",
        grpc_head("One") + b"3\r\nabcd\r\n0\r\n\r\n",
        grpc_head("One", headers={"content-length": "5"}) + b"0\r\n\r\n",
        b"POST /x HTTP/1.1\r\nhost: lane\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nabcde",
        b"POST /x HTTP/1.1\r\nhost: lane\r\ncontent-length: -5\r\n\r\nabcde",
        b"POST /x HTTP/1.1\r\nhost: lane\r\ncontent-length: 99999999999999999999999999\r\n\r\nabcde",
        b"CONNECT lane:80 HTTP/1.1\r\nhost: lane\r\n\r\n",
        b"GET /ready HTTP/1.1\r\nhost: lane\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
    ],
    ids=lambda data: repr(data[:60] if data[:4] != b"POST" else data[-40:]),
)
def test_what_is_not_http_is_answered_or_cut_off_at_once(lane: LaneServer, peer: Peer, data: bytes) -> None:
    peer.send(data)
    answer = peer.read()

    assert answer is None or 200 <= answer.status < 500
    if answer is None or answer.headers.get("connection") == "close":
        assert peer.is_closed()
    assert lane.is_well()


@pytest.mark.parametrize("sent", [b"POST /x HTTP/1.1\nhost: lane\n\n", b"GET /ready HTTP/1.1\nhost: lane\n\n"])
def test_lines_that_end_with_a_bare_line_feed_do_not_hang(lane: LaneServer, peer: Peer, sent: bytes) -> None:
    peer.send(sent)

    answer = peer.read()

    assert answer is None or answer.is_complete
    assert lane.is_well()


@pytest.mark.parametrize(
    ("beginning", "piece"),
    [
        (b"POST /", b"a" * PIECE),
        (b"POST / HTTP/1.1\r\nx-endless: ", b"a" * PIECE),
        (b"POST / HTTP/1.1\r\n", b"a" * PIECE),
        (b"POST / HTTP/1.1\r\n", b"x-flood: a\r\n" * (PIECE // 12)),
        (grpc_head("One"), b"0" * PIECE),
        (grpc_head("One") + b"1;", b"a" * PIECE),
        (grpc_head("One") + b"1;extension=", b"a" * PIECE),
        (grpc_head("One") + b"0\r\nx-endless: ", b"a" * PIECE),
        (grpc_head("One") + b"0\r\n", b"x-flood: a\r\n" * (PIECE // 12)),
        (b"", b"\r\n" * (PIECE // 2)),
    ],
    ids=["target", "header", "name", "headers", "chunk size", "extension", "extension value", "trailer", "trailers", "empty lines"],
)
def test_what_has_no_end_is_cut_off_before_it_takes_memory(lane: LaneServer, peer: Peer, beginning: bytes, piece: bytes) -> None:
    with _growing_at_most(SOME_BYTES):
        is_open = peer.send(beginning)
        sent = 0
        while is_open and sent < ENDLESS_BYTES:
            is_open = peer.send(piece)
            sent += len(piece)

    assert not is_open
    assert lane.is_well()


def test_headers_of_128_names_are_taken_and_more_are_not(lane: LaneServer) -> None:
    outcomes = []
    for count in (100, 200):
        with contextlib.closing(lane.connect()) as peer:
            peer.send(grpc_request("One", _ask(text="x"), headers={f"x-{number}": "v" for number in range(count)}))
            outcomes.append(peer.read() is not None)

    assert outcomes == [True, False]


def test_a_request_before_the_answer_to_the_last_ends_the_connection_and_not_the_server(lane: LaneServer, peer: Peer) -> None:
    lane.servicer.go_on.clear()
    peer.send(grpc_request("One", _ask(how="wait")) + grpc_request("One", _ask(text="second")))

    is_closed = peer.is_closed()
    lane.servicer.go_on.set()

    assert is_closed
    assert lane.is_well()


def test_a_body_of_an_unknown_path_is_read_past(peer: Peer) -> None:
    peer.send(b"POST /nowhere HTTP/1.1\r\nhost: lane\r\ncontent-length: 5\r\n\r\nabcde")
    answer = peer.read()

    assert answer is not None
    assert answer.status == 404
    assert peer.call("One", _ask(text="next")).message("Answer").text == "next"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    data=st.one_of(
        st.binary(max_size=300),
        st.lists(
            st.sampled_from(
                [
                    b"GET /ready HTTP/1.1\r\n",
                    b"POST /" + SERVICE.encode() + b"/One HTTP/1.1\r\n",
                    b"content-type: application/grpc\r\n",
                    b"transfer-encoding: chunked\r\n",
                    b"content-length: 7\r\n",
                    b"grpc-timeout: 1n\r\n",
                    b"grpc-encoding: gzip\r\n",
                    b"\r\n",
                    b"\n",
                    b"\0",
                    b"5\r\n",
                    b"0\r\n\r\n",
                    b"\0\0\0\0\0",
                    b"\1\0\0\0\0",
                    b"\0\0\0\0\2\x0a\0",
                    b"HTTP/2.0",
                ]
            ),
            max_size=20,
        ).map(b"".join),
    ),
    cut=st.integers(0, 300),
)
def test_no_bytes_at_all_hang_a_connection_or_end_the_server(lane: LaneServer, data: bytes, cut: int) -> None:
    with contextlib.closing(lane.connect()) as peer:
        peer.send(data[:cut])
        peer.send(data[cut:])
        peer.socket.shutdown(1)  # a peer that sends no more is cut off
        assert peer.is_closed()

    assert lane.is_well()


# Malformed gRPC.


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    name=st.sampled_from(["One", "Later", "Many", "Collect"]),
    body=st.one_of(
        st.binary(max_size=60),
        st.builds(
            lambda flag, length, rest: bytes([flag]) + length.to_bytes(4, "big") + rest,
            st.integers(0, 3),
            st.integers(0, 70),
            st.binary(max_size=70),
        ),
        st.lists(st.binary(max_size=20).map(frame), max_size=4).map(b"".join),
    ),
    encoding=st.sampled_from(["", "identity", "gzip", "deflate", "br", "\x80"]),
)
def test_every_body_has_an_answer_with_a_status_and_the_connection_lives(lane: LaneServer, name: str, body: bytes, encoding: str) -> None:
    with contextlib.closing(lane.connect()) as peer:
        peer.send(grpc_request(name, body=body, headers={"grpc-encoding": encoding} if encoding else None))
        answer = peer.read()
        assert answer is not None
        assert answer.is_complete
        assert answer.grpc_status in (0, 3, 8, 12)
        assert peer.call("One", _ask(text="next")).message("Answer").text == "next"


@pytest.mark.parametrize("name", ["One", "Later", "Many", "Collect"])
def test_a_message_above_the_limit_is_refused_before_it_has_come(peer: Peer, name: str) -> None:
    prefix = b"\0" + (MAX_MESSAGE_BYTES + 1).to_bytes(4, "big")

    peer.send(grpc_head(name) + b"%x\r\n%b\r\n" % (len(prefix), prefix))
    answer = peer.read()

    assert answer is not None
    assert (answer.status, answer.grpc_status) == (200, 8)
    assert "1,048,576 bytes" in answer.headers["grpc-message"]


@pytest.mark.parametrize(
    ("name", "piece"),
    [
        ("One", frame(bytes(1000)) * 100),
        ("One", frame(b"") * 20_000),
        ("Collect", frame(b"") * 20_000),
        ("Collect", b"\0" + (MAX_MESSAGE_BYTES + 1).to_bytes(4, "big") + bytes(100_000)),
        ("Collect", b"\7\0\0\0\0" + bytes(100_000)),
    ],
    ids=["messages", "empty messages", "stream of empty messages", "stream after a long one", "stream after a malformed one"],
)
def test_an_endless_body_takes_no_memory_while_its_servicer_does_not_read(lane: LaneServer, name: str, piece: bytes) -> None:
    servicer = lane.servicer
    servicer.go_on.clear()
    servicer.entered.clear()
    # Enough for the lane to hold back or to cut off, should it only count what messages hold.
    chunk = b"%x\r\n%b\r\n" % (len(piece), piece)
    with contextlib.closing(Peer(lane.path, timeout_s=1)) as peer:
        peer.send(grpc_request(name, _ask(how="wait"))[:-5] if name == "Collect" else grpc_head(name))
        if name == "Collect":
            assert servicer.entered.wait(60)
        with _growing_at_most(2 * SOME_BYTES + 8 * (1 << 20)):
            sent = 0
            with contextlib.suppress(TimeoutError):
                while sent < ENDLESS_BYTES and peer.send(chunk):
                    sent += len(chunk)
    servicer.go_on.set()

    assert lane.is_well()


@pytest.mark.parametrize("name", ["One", "Later", "Collect", "Many"])
def test_a_peer_that_leaves_in_the_middle_leaves_nothing_behind(lane: LaneServer, name: str) -> None:
    whole = grpc_request(name, _ask(text="x", count=5))

    for end in range(0, len(whole), 7):
        with contextlib.closing(lane.connect()) as peer:
            peer.send(whole[:end])

    assert eventually(lambda: lane.server._admission._running == 0)
    assert lane.is_well()


def test_an_answer_before_the_end_of_its_request_leaves_a_connection_that_goes_on(peer: Peer) -> None:
    """Envoy takes a connection whose request it has sent for one that may be used again, whatever the lane had read by then."""
    whole = grpc_request("Collect", _ask(how="early"), *[_ask(data=bytes(100_000))] * 60)

    peer.send(whole[:-5])
    early = peer.read()
    peer.send(whole[-5:])
    answers = [peer.call("One", _ask(text=str(number))).message("Answer").text for number in range(3)]

    assert early is not None
    assert early.message("Answer").text == "early"
    assert answers == ["0", "1", "2"]


def test_an_early_answer_to_a_request_that_held_the_sender_back_leaves_no_deaf_connection(lane: LaneServer, peer: Peer) -> None:
    servicer = lane.servicer
    servicer.entered.clear()
    servicer.go_on.clear()
    # More waits than a stream holds, and all of it has been read from the socket.
    head, rest = _ask(how="wait"), [_ask(how="not-found"), *[_ask(data=bytes(1_000_000))] * 5]
    peer.send(grpc_request("Collect", head, *rest))
    servicer.go_on.set()

    refused = peer.read()

    assert refused is not None
    assert refused.grpc_status == 5
    assert peer.call("One", _ask(text="next")).message("Answer").text == "next"


@pytest.mark.parametrize("how", ["cancel-itself", "bug"])
def test_a_coroutine_whatever_ends_it_is_answered(peer: Peer, how: str) -> None:
    answer = peer.call("Later", _ask(how=how))

    assert answer.grpc_status == 13
    assert "hunter2" not in answer.headers["grpc-message"]


@pytest.mark.parametrize("name", ["One", "Many"])
@pytest.mark.parametrize("text", ["a\r\nset-cookie: evil=1", "a\nb", "a\0b", "a\rb", "日本"])
def test_a_header_that_cannot_be_written_is_an_internal_error_and_no_other_header(peer: Peer, name: str, text: str) -> None:
    answer = peer.call(name, _ask(how="injection", text=text, count=2))

    assert answer.grpc_status == 13
    assert "set-cookie" not in answer.headers
    assert peer.call("One", _ask(text="next")).message("Answer").text == "next"


@pytest.mark.parametrize("name", ["Later", "One"])
def test_a_deadline_ends_the_call_and_cancels_a_coroutine(lane: LaneServer, peer: Peer, name: str) -> None:
    lane.servicer.was_cancelled.clear()
    lane.servicer.go_on.clear()

    # Long enough for the coroutine to have begun: one that has not cannot tell that it was cancelled.
    answer = peer.call(name, _ask(how="hang" if name == "Later" else "wait"), headers={"grpc-timeout": "500m"})
    lane.servicer.go_on.set()

    assert answer.grpc_status == 4
    assert name == "One" or lane.servicer.was_cancelled.wait(60)
    assert eventually(lambda: lane.server._admission._running == 0)


def test_a_caller_who_leaves_cancels_a_coroutine(lane: LaneServer) -> None:
    lane.servicer.was_cancelled.clear()
    lane.servicer.entered.clear()
    with contextlib.closing(lane.connect()) as peer:
        peer.send(grpc_request("Later", _ask(how="hang")))
        assert lane.servicer.entered.wait(60)

    assert lane.servicer.was_cancelled.wait(60)


@pytest.mark.parametrize("how", ["leave", "close"])
def test_a_caller_who_leaves_half_way_ends_the_iteration_and_frees_its_thread(lane: LaneServer, how: str) -> None:
    servicer = lane.servicer
    servicer.ended.clear()
    with contextlib.closing(lane.connect()) as peer:
        peer.send(grpc_request("Many", _ask(data=bytes(100_000), count=10_000)))
        assert peer.socket.recv(1)
        if how == "close":
            peer.socket.shutdown(1)
            assert servicer.ended.wait(60)

    assert servicer.ended.wait(60)
    assert eventually(lambda: lane.server._admission._running == 0)


def test_a_slow_reader_holds_the_servicer_back(lane: LaneServer, peer: Peer) -> None:
    servicer, count, size = lane.servicer, 500, 100_000
    servicer.produced = 0
    peer.send(grpc_request("Many", _ask(data=bytes(size), count=count)))
    assert peer.socket.recv(1)

    # It stands still once what may wait is full.
    seen = -1
    while seen != servicer.produced:
        seen = servicer.produced
        _turns(lane, 20)
    body_bytes = len(_drained(peer, count * size))

    assert seen * size < 8 << 20
    assert body_bytes >= count * size
    assert servicer.produced == count


def _turns(lane: LaneServer, count: int) -> None:
    """Lets the lane go on, as far as it can, for some calls' time."""
    for _ in range(count):
        assert lane.is_well()


def _drained(peer: Peer, at_least: int) -> bytes:
    data = b""
    while not data.endswith(b"grpc-status: 0\r\n\r\n"):
        data += peer.socket.recv(1 << 20)
    assert len(data) > at_least
    return data


def test_a_thousand_connections_are_served_and_let_go(lane: LaneServer) -> None:
    before = len(lane.server._lane.connections) if lane.server._lane else 0
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(contextlib.closing(lane.connect())) for _ in range(1000)]
        for number, peer in enumerate(peers):
            peer.send(grpc_request("One", _ask(text=str(number))))
        answers = [peer.read() for peer in peers]
        texts = [answer.message("Answer").text for answer in answers if answer is not None]

    assert texts == [str(number) for number in range(1000)]
    assert eventually(lambda: lane.server._lane is not None and len(lane.server._lane.connections) <= before)


# The end.


def test_a_stop_answers_what_has_arrived_and_then_closes(monkeypatch: pytest.MonkeyPatch) -> None:
    # Half a second is what answers get that are being made, and this one waits for the test.
    monkeypatch.setattr("servers.runtime.lane.listener._LAST_ANSWERS_S", 60)
    with lane_server() as lane, contextlib.closing(lane.connect()) as busy, contextlib.closing(lane.connect()) as idle:
        lane.servicer.go_on.clear()
        assert idle.call("One", _ask(text="x")).grpc_status == 0
        lane.servicer.entered.clear()
        busy.send(grpc_request("One", _ask(how="wait", text="last")))
        assert lane.servicer.entered.wait(60)
        assert lane.server._lane is not None
        stop = threading.Thread(target=lane.server._lane.close)
        stop.start()
        # Nobody new gets in from here on.
        assert eventually(lambda: not lane.path.exists())
        assert idle.is_closed()
        lane.servicer.go_on.set()
        answer = busy.read()

        assert answer is not None
        assert answer.message("Answer").text == "last"
        assert answer.headers["connection"] == "close"
        assert busy.is_closed()
        stop.join(60)
        assert not stop.is_alive()


def test_a_server_that_stops_refuses_with_a_header_and_ends_the_connection() -> None:
    """Envoy looks for the header among those of an answer that has no body, and repeats the call whatever its method."""
    with lane_server() as lane, contextlib.closing(lane.connect()) as grpc_peer, contextlib.closing(lane.connect()) as rest_peer:
        lane.server.announce_stop()
        lane.server._admission.close()
        refused = grpc_peer.call("One", _ask())
        rest_peer.send(b"POST /lane/later/x HTTP/1.1\r\nhost: lane\r\ncontent-length: 1\r\n\r\nx")
        rest = rest_peer.read()

        assert rest is not None
        assert (refused.grpc_status, refused.headers[REFUSED], refused.headers["content-length"]) == (14, "1", "0")
        assert (rest.status, rest.headers[REFUSED]) == (503, "1")
        assert grpc_peer.is_closed()
        assert rest_peer.is_closed()
    assert lane.servicer.calls == []


def test_a_stream_that_has_begun_outlives_the_announcement_of_a_stop() -> None:
    with lane_server() as lane, contextlib.closing(lane.connect()) as peer:
        peer.send(grpc_request("Many", _ask(data=bytes(100_000), count=100)))
        first = peer.socket.recv(1)
        lane.server.announce_stop()

        assert len(first + _drained(peer, 100 * 100_000)) > 100 * 100_000
        # It had been said that the connection goes on, so it does, for one more call.
        last = peer.call("One", _ask(text="x"))
        assert (last.grpc_status, last.headers["connection"]) == (0, "close")
        assert peer.is_closed()
