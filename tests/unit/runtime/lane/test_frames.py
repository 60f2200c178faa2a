"""Bodies of gRPC calls, in every cut and with every kind of damage."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servers.runtime.errors import DomainError, Unimplemented
from servers.runtime.lane.frames import Compressed, FrameReader, MalformedFrame, MessageTooLarge, frame, inflate

LIMIT = 1000
GZIP_BITS, ZLIB_BITS = 31, 15
_PACK: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress}

messages = st.lists(st.binary(max_size=60), max_size=6)
cuts = st.lists(st.integers(0, 400), max_size=12)


def _read(body: bytes, cut_at: list[int], encoding: str = "") -> tuple[list[bytes], DomainError | None]:
    """What comes out of a body that arrives in pieces, decompressed, and the error that ends it."""
    reader, found = FrameReader(LIMIT, encoding), list[Any]()
    places = sorted({0, len(body), *(place for place in cut_at if place < len(body))})
    error: DomainError | None = None
    try:
        for start, end in pairwise(places):
            reader.feed(body[start:end], found)
        reader.end()
    except DomainError as raised:
        error = raised
    opened = []
    for message in found:
        try:
            opened.append(message.inflated() if isinstance(message, Compressed) else message)
        except DomainError as raised:
            return opened, raised
    return opened, error


def _compressed(message: bytes, encoding: str) -> bytes:
    packed = _PACK[encoding](message)
    return b"\1" + len(packed).to_bytes(4, "big") + packed


@given(sent=messages, cut_at=cuts)
def test_messages_come_out_as_they_went_in_wherever_the_network_cuts(sent: list[bytes], cut_at: list[int]) -> None:
    assert _read(b"".join(map(frame, sent)), cut_at) == (sent, None)


@given(sent=messages, cut_at=cuts, encoding=st.sampled_from(["gzip", "deflate"]), mixed=st.booleans())
def test_compressed_messages_come_out_as_they_went_in(sent: list[bytes], cut_at: list[int], encoding: str, mixed: bool) -> None:
    body = b"".join(frame(message) if mixed and number % 2 else _compressed(message, encoding) for number, message in enumerate(sent))

    assert _read(body, cut_at, encoding) == (sent, None)


@given(body=st.binary(max_size=300), cut_at=cuts, encoding=st.sampled_from(["", "gzip", "deflate", "br"]))
def test_garbage_means_the_same_in_every_cut_and_nothing_but_a_typed_error(body: bytes, cut_at: list[int], encoding: str) -> None:
    whole, error = _read(body, [], encoding)
    cut, cut_error = _read(body, cut_at, encoding)

    assert (cut, type(cut_error), str(cut_error)) == (whole, type(error), str(error))


@given(sent=messages, damage=st.binary(min_size=5, max_size=50), cut_at=cuts)
def test_what_came_before_a_malformed_message_is_seen(sent: list[bytes], damage: bytes, cut_at: list[int]) -> None:
    malformed = b"\7" + len(damage).to_bytes(4, "big") + damage

    found, error = _read(b"".join(map(frame, sent)) + malformed, cut_at)

    assert found == sent
    assert isinstance(error, MalformedFrame)


@given(sent=st.binary(max_size=60), missing=st.integers(1, 64))
def test_a_body_that_ends_within_a_message_is_refused_with_what_is_missing(sent: bytes, missing: int) -> None:
    body = frame(sent)
    short = body[: max(1, len(body) - missing)]

    _, error = _read(short, [])

    assert isinstance(error, MalformedFrame)
    assert " bytes before the end of its last message" in str(error)


@given(length=st.integers(LIMIT + 1, 2**32 - 1), flag=st.integers(0, 255))
def test_a_length_above_the_limit_is_refused_at_its_prefix(length: int, flag: int) -> None:
    with pytest.raises(MessageTooLarge, match="may have 1,000 bytes"):
        FrameReader(LIMIT).feed(bytes([flag]) + length.to_bytes(4, "big"), [])


def test_a_message_of_the_greatest_length_is_taken() -> None:
    assert _read(frame(bytes(LIMIT)) + _compressed(bytes(LIMIT), "gzip"), [], "gzip") == ([bytes(LIMIT)] * 2, None)


def test_an_unknown_compression_is_unimplemented_only_where_it_is_used() -> None:
    assert _read(frame(b"plain"), [], "br") == ([b"plain"], None)
    _, error = _read(_compressed(b"x", "gzip"), [], "br")

    assert isinstance(error, Unimplemented)
    assert "identity,gzip,deflate" in str(error)


@pytest.mark.parametrize(("encoding", "bits"), [("gzip", GZIP_BITS), ("deflate", ZLIB_BITS)])
def test_a_bomb_is_refused_without_the_memory_it_asks_for(encoding: str, bits: int) -> None:
    bomb = _PACK[encoding](bytes(64 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(MessageTooLarge):
            inflate(bomb, bits, 1 << 20)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 4 << 20


def test_many_small_bombs_stay_small_until_somebody_reads_them() -> None:
    """A read of 256 KiB may hold hundreds of messages of the greatest length."""
    packed = gzip.compress(bytes(1 << 20))
    body = (b"\1" + len(packed).to_bytes(4, "big") + packed) * 200
    found: list[Any] = []
    tracemalloc.start()
    try:
        FrameReader(1 << 20, "gzip").feed(body, found)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert len(found) == 200
    assert peak < 2 << 20


def test_a_message_that_comes_byte_by_byte_takes_its_own_room_and_no_more() -> None:
    size = 300_000
    reader, found, body = FrameReader(size), list[Any](), frame(bytes(size))
    tracemalloc.start()
    try:
        for place in range(0, len(body), 2):
            reader.feed(body[place : place + 2], found)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert found == [bytes(size)]
    assert peak < 3 * size


@pytest.mark.parametrize(
    "damaged",
    [gzip.compress(b"x" * 50)[:-3], gzip.compress(b"x") + b"more", gzip.compress(b"x") * 2, b"", b"text"],
    ids=["cut off", "followed by more", "two members", "nothing", "plain"],
)
def test_damaged_compression_is_a_typed_error(damaged: bytes) -> None:
    with pytest.raises(MalformedFrame):
        inflate(damaged, GZIP_BITS, LIMIT)
