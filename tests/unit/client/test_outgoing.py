from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlmesh.errors import InvalidArgument
from mlmesh.files import PIECE_BYTES, Source
from mlmesh.outgoing import Outgoing


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


CONTENT = os.urandom(3 * PIECE_BYTES + 5)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("outgoing") / "weights.bin"
    path.write_bytes(CONTENT)
    return path


def outgoing(path: Path, *, hashes: bool = True) -> Outgoing:
    opened = Outgoing(Source(path, path.name, "", path.stat().st_size), hashes=hashes)
    opened.open()
    return opened


def test_a_file_is_read_in_pieces_and_its_digest_is_known_at_the_end(path: Path) -> None:
    sending = outgoing(path)
    pieces = [sending.read(offset) for offset in range(0, len(CONTENT), PIECE_BYTES)]
    assert b"".join(pieces) == CONTENT
    assert sending.read(len(CONTENT)) == b""
    assert sending.digest() == digest_of(CONTENT)
    sending.close()


@given(offsets=st.lists(st.integers(0, len(CONTENT)), max_size=6))
def test_however_often_it_breaks_off_the_digest_is_that_of_the_whole(path: Path, offsets: list[int]) -> None:
    sending = outgoing(path)
    for offset in (0, *offsets):
        assert sending.read(offset) == CONTENT[offset : offset + PIECE_BYTES]
    assert sending.digest() == digest_of(CONTENT)
    sending.close()


def test_without_a_wish_nothing_is_hashed(path: Path) -> None:
    sending = Outgoing(Source(path, "weights.bin", "sha256:known", 5))
    sending.open()
    assert sending.read(0) == CONTENT[:5]
    assert sending.digest() == "sha256:known"
    sending.close()


def test_a_file_that_became_shorter_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    path.write_bytes(b"hello world")
    sending = outgoing(path)
    os.truncate(path, 5)
    assert sending.read(0) == b"hello"
    sending.check_whole()
    assert sending.read(5) == b""
    for act in (sending.check_whole, sending.digest):
        with pytest.raises(InvalidArgument, match=r"weights\.bin was cut to 5 of 11 bytes"):
            act()
    sending.close()


def test_of_a_file_that_became_longer_only_what_was_announced_is_sent(tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    path.write_bytes(b"hello")
    sending = outgoing(path)
    path.write_bytes(b"hello world")
    assert sending.read(0) == b"hello"
    assert sending.digest() == digest_of(b"hello")
    sending.close()


def test_a_late_reader_finds_it_closed(path: Path) -> None:
    sending = outgoing(path)
    sending.close()
    sending.close()
    assert sending.read(0) == b""
