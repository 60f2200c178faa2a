from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servers.serving.open_inference.binary_extension import joined, split
from servers.serving.open_inference.errors import InvalidInferRequest


@given(st.binary(min_size=1), st.lists(st.binary()))
def test_what_was_joined_is_told_apart_again(document: bytes, tensors: list[bytes]) -> None:
    read, section = split(joined(document, tensors), str(len(document)))

    assert bytes(read) == document
    assert [section.take(len(tensor), "here") for tensor in tensors] == tensors
    section.close()


def test_without_the_header_everything_is_json() -> None:
    document, section = split(b"{}", None)

    assert bytes(document) == b"{}"
    section.close()


@given(st.binary(max_size=50), st.text(max_size=20) | st.integers().map(str))
def test_any_header_is_taken_or_refused(body: bytes, header: str) -> None:
    try:
        document, _ = split(body, header)
    except InvalidInferRequest:
        return
    assert 1 <= len(document) <= len(body)


@pytest.mark.parametrize("size", [-1, True, "4", 1.0, None, 2**70])
def test_a_size_that_cannot_be_one_is_refused(size: object) -> None:
    _, section = split(b"{}1234", "2")

    with pytest.raises(InvalidInferRequest):
        section.take(size, "inputs[0]")


def test_more_than_is_there_is_refused_with_both_numbers() -> None:
    _, section = split(b"{}1234", "2")

    with pytest.raises(InvalidInferRequest, match="5 bytes are announced, and 4 are left"):
        section.take(5, "inputs[0]")


def test_bytes_that_belong_to_no_tensor_are_refused() -> None:
    _, section = split(b"{}1234", "2")

    with pytest.raises(InvalidInferRequest, match="4 bytes behind the JSON belong to no input"):
        section.close()
