from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blob_store import InvalidDigest
from blob_store.digest import BesideHasher, digest_of, hex_of


@given(st.binary())
def test_digits_and_digest_are_two_forms_of_one_value(content: bytes) -> None:
    digits = hashlib.sha256(content).hexdigest()
    assert hex_of(digest_of(digits)) == digits


@given(st.text() | st.from_regex(r"sha256:[0-9a-fA-F/.\n]{60,68}"))
def test_only_digests_are_digests(text: str) -> None:
    if len(text) == 71 and text.startswith("sha256:") and set(text[7:]) <= set("0123456789abcdef"):
        assert hex_of(text) == text[7:]
    else:
        with pytest.raises(InvalidDigest, match="64 digits"):
            hex_of(text)


@given(st.lists(st.integers(0, 3 << 20), max_size=6), st.booleans())
def test_hashing_beside_is_hashing(sizes: list[int], is_resumed: bool) -> None:
    expected = hashlib.sha256()
    running = hashlib.sha256()
    if is_resumed:
        running.update(b"before")
        expected.update(b"before")
    with BesideHasher(running) as hasher:
        for size in sizes:
            hasher.update(b"x" * size)
            expected.update(b"x" * size)
        assert hasher.digest() == digest_of(expected.hexdigest())


def test_a_hasher_that_is_given_up_leaves_no_thread() -> None:
    with BesideHasher() as hasher:
        for _ in range(8):
            hasher.update(b"x" * (1 << 20))
        thread = hasher._thread
        assert thread is not None
        assert thread.is_alive()
    assert not thread.is_alive()
