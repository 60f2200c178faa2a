from __future__ import annotations

import tracemalloc
from contextlib import suppress
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from servers.serving.model_process.frames import MAX_HEADER_BYTES, Frame, FrameReader, MalformedFrame, PayloadTooLarge, frame_parts

LIMIT = 1 << 20

headers = st.dictionaries(st.text(max_size=5), st.none() | st.integers(0, 9) | st.text(max_size=5), max_size=3)
payloads = st.binary(max_size=200) | st.integers(60_000, 140_000).map(lambda size: bytes(range(256)) * (size // 256))
frames = st.lists(st.tuples(headers, payloads), max_size=4)


def written(*frames: tuple[dict[str, Any], bytes]) -> bytes:
    return b"".join(b"".join(frame_parts(header, [payload], max_payload_bytes=LIMIT)) for header, payload in frames)


def read(reader: FrameReader, data: bytes) -> list[Frame]:
    """What comes out of bytes that arrive as fast as the reader has room for them."""
    found = []
    while data:
        buffer = reader.buffer()
        assert len(buffer) > 0
        taken = data[: len(buffer)]
        buffer[: len(taken)] = taken
        found += reader.received(len(taken))
        data = data[len(taken) :]
    return found


@given(frames, st.lists(st.integers(0, 300_000), max_size=8))
def test_frames_come_out_as_they_went_in_whatever_the_cut(frames, cuts):
    data = written(*frames)
    reader = FrameReader(LIMIT)

    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    found = [frame for start, end in pairwise(places) for frame in read(reader, data[start:end])]

    assert [(frame.header, frame.payload.tobytes()) for frame in found] == frames
    assert not reader.is_within_frame


@given(frames.filter(bool), st.integers(1, 300_000))
def test_a_reader_knows_that_a_frame_is_not_complete(frames, missing):
    data = written(*frames)
    last = written(frames[-1])
    reader = FrameReader(LIMIT)

    found = read(reader, data[: len(data) - min(missing, len(last) - 1)])

    assert len(found) == len(frames) - 1
    assert reader.is_within_frame


@given(st.lists(st.binary(max_size=64), max_size=8))
@example([b"MLM1", b"\xff" * 12])
@example([b"MLM1\x02\0\0\0", b"\xff" * 8 + b"{}"])
def test_any_bytes_are_frames_or_malformed(pieces):
    reader = FrameReader(LIMIT)

    with suppress(MalformedFrame):
        for piece in pieces:
            read(reader, piece)


@given(st.data())
def test_a_damaged_frame_is_a_frame_or_malformed(data):
    whole = bytearray(written(({"kind": "run", "call": 1}, b"1234567890")))
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))

    try:
        found = read(FrameReader(LIMIT), bytes(whole))
    except MalformedFrame:
        return
    assert all(isinstance(frame.header, dict) for frame in found)


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ((4, LIMIT + 1), "a payload may have 1,048,576 bytes; one of 1,048,577 is announced"),
        ((MAX_HEADER_BYTES + 1, 0), "a header may have 1,048,576 bytes; one of 1,048,577 is announced"),
        ((2**32 - 1, 2**64 - 1), "a header may have"),
    ],
)
def test_lengths_are_checked_before_anything_is_allocated(prefix, expected):
    reader = FrameReader(LIMIT)
    data = b"MLM1" + prefix[0].to_bytes(4, "little") + prefix[1].to_bytes(8, "little")
    tracemalloc.start()

    with pytest.raises(MalformedFrame, match=expected):
        read(reader, data)

    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 100_000


@pytest.mark.parametrize("header", [b"[]", b"1", b"{", b"", b"\xff", b"[" * 100_000])
def test_a_header_that_is_no_json_object_is_malformed(header):
    data = b"MLM1" + len(header).to_bytes(4, "little") + bytes(8) + header

    with pytest.raises(MalformedFrame, match=r"not (a )?JSON"):
        read(FrameReader(LIMIT), data)


def test_a_header_may_be_longer_than_what_is_read_at_once():
    header = {"name": "x" * 500_000}

    (frame,) = read(FrameReader(LIMIT), written((header, b"abc")))

    assert frame.header == header
    assert frame.payload.tobytes() == b"abc"


def test_a_header_longer_than_the_other_side_reads_is_not_sent():
    with pytest.raises(ValueError, match=r"a header may have 1,048,576 bytes; this one has 1,048,587"):
        frame_parts({"name": "x" * MAX_HEADER_BYTES})


def test_a_payload_longer_than_the_other_side_takes_is_not_sent():
    with pytest.raises(PayloadTooLarge) as raised:
        frame_parts({}, [b"1234", b"56"], max_payload_bytes=5)

    assert raised.value.size_bytes == 6


def test_a_large_payload_is_sent_from_where_it_lies():
    array = np.zeros(100_000, np.uint8)

    parts = frame_parts({}, [array.data], max_payload_bytes=LIMIT)

    assert np.shares_memory(np.frombuffer(parts[1], np.uint8), array)


def test_a_large_payload_is_received_where_it_stays():
    data = written(({}, bytes(100_000)))
    reader = FrameReader(LIMIT)
    read(reader, data[:-50_000])

    place = np.frombuffer(reader.buffer(), np.uint8)
    (frame,) = read(reader, data[-50_000:])

    assert np.shares_memory(place, frame.payload)
    assert len(place) == 50_000
