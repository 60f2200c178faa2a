from __future__ import annotations

import contextlib
import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servers.serving.errors import PredictionTooLarge
from servers.serving.open_inference.content_encoding import decoded
from servers.serving.open_inference.errors import InvalidInferRequest

LIMIT = 1000


@given(st.binary(max_size=LIMIT), st.sampled_from(["gzip", "deflate", "GZIP", ""]))
def test_what_was_compressed_comes_out_again(body: bytes, encoding: str) -> None:
    sent = {"gzip": gzip.compress(body), "deflate": zlib.compress(body), "": body}[encoding.lower()]

    assert decoded(sent, encoding, LIMIT) == body


@given(st.binary(max_size=200), st.sampled_from(["gzip", "deflate", "br", "identity"]))
def test_garbage_is_refused_as_such_or_is_none(body: bytes, encoding: str) -> None:
    with contextlib.suppress(InvalidInferRequest, PredictionTooLarge):
        decoded(body, encoding, LIMIT)


@pytest.mark.parametrize("compress", [gzip.compress, zlib.compress])
def test_a_bomb_is_not_inflated_beyond_the_limit(compress: type[bytes]) -> None:
    bomb = compress(bytes(50_000_000))

    with pytest.raises(PredictionTooLarge, match="more than 1000 bytes"):
        decoded(bomb, "gzip" if compress is gzip.compress else "deflate", LIMIT)


def test_a_body_that_is_cut_off_is_refused() -> None:
    with pytest.raises(InvalidInferRequest, match="cut off"):
        decoded(gzip.compress(b"x" * 100)[:-4], "gzip", LIMIT)


def test_what_follows_the_compressed_data_is_refused() -> None:
    with pytest.raises(InvalidInferRequest, match="3 bytes follow"):
        decoded(gzip.compress(b"x") + b"abc", "gzip", LIMIT)


def test_an_unknown_encoding_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidInferRequest, match='expected gzip, deflate or identity; got "br"'):
        decoded(b"x", "br", LIMIT)
