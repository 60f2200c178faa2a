from __future__ import annotations

import hashlib
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servers.users.errors import ApiKeyMalformed
from servers.users.key_format import base62, new_key, parse_key

BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase


def test_a_new_key_can_be_read_back() -> None:
    text = new_key()

    parsed = parse_key(text)

    assert text.split("_")[:2] == ["mlm", parsed.id]
    assert parsed.digest == hashlib.sha256(text.encode()).digest()
    assert len(text) == 70


def test_keys_do_not_repeat() -> None:
    assert len({new_key() for _ in range(1000)}) == 1000


@given(st.integers(0, 69), st.sampled_from(BASE62))
def test_one_wrong_character_is_found_without_asking_anyone(position: int, character: str) -> None:
    text = new_key()
    if text[position] == character:
        return

    with pytest.raises(ApiKeyMalformed):
        parse_key(text[:position] + character + text[position + 1 :])


@given(st.integers(0, 68))
def test_two_swapped_characters_are_found(position: int) -> None:
    text = new_key()
    if text[position] == text[position + 1]:
        return

    with pytest.raises(ApiKeyMalformed):
        parse_key(text[:position] + text[position + 1] + text[position] + text[position + 2 :])


@given(st.text())
def test_any_text_is_refused_and_nothing_else_is_raised(text: str) -> None:
    with pytest.raises(ApiKeyMalformed):
        parse_key(text)


@pytest.mark.parametrize("text", ["", "mlm_", "mlm__", "mlm_" + "0" * 66, "mlm_x_y", "x" * 100_000])
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(ApiKeyMalformed):
        parse_key(text)


def test_digits_of_other_scripts_are_no_digits() -> None:
    text = new_key()

    with pytest.raises(ApiKeyMalformed):
        parse_key(text[:10] + "\u0663" + text[11:])


@given(st.integers(0, 2**32 - 1))
def test_six_base62_digits_hold_every_checksum(number: int) -> None:
    written = base62(number, 6)

    assert len(written) == 6
    assert sum(BASE62.index(digit) * 62**place for place, digit in enumerate(reversed(written))) == number
