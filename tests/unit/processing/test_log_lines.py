"""What a job's process says becomes lines, whatever it says and however it comes."""

from __future__ import annotations

import json
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from servers.processing.job_process.output_lines import LineReader
from servers.processing.log_lines import MOST_TEXT_BYTES, shortened

MARK = "\x1emark "


def read(pieces: Sequence[bytes]) -> list[tuple[str, str, str]]:
    reader = LineReader(MARK)
    lines = [line for piece in pieces for line in reader.lines(piece)]
    return [(line.level, line.source, line.text) for line in (*lines, *reader.last())]


def marked(level: str, source: str, text: str) -> bytes:
    return f"\n{MARK}{json.dumps({'time': 1.5, 'level': level, 'source': source, 'text': text})}\n".encode()


@given(st.binary(max_size=200), st.integers(1, 7))
def test_lines_are_the_same_however_they_are_cut(said: bytes, size: int) -> None:
    pieces = [said[start : start + size] for start in range(0, len(said), size)]

    assert [text for _, _, text in read(pieces)] == [text for _, _, text in read([said])]


@given(st.text(max_size=40_000))
def test_a_text_is_cut_to_what_a_line_may_have(text: str) -> None:
    found = shortened(text)

    assert len(found.encode()) <= MOST_TEXT_BYTES
    assert "\0" not in found
    assert found == text.replace("\0", "␀") or found.endswith("…")


def test_lines_of_loggers_keep_level_and_source() -> None:
    said = b"no end" + marked("WARNING", "mine", "careful") + marked("CRITICAL", "mine", "é\0") + b"\r\nprinted\r\n"

    assert read([said]) == [
        ("INFO", "output", "no end"),
        ("WARNING", "mine", "careful"),
        ("ERROR", "mine", "é\0"),
        ("INFO", "output", "printed"),
    ]


def test_a_line_that_only_looks_like_a_loggers_is_shown_as_it_is() -> None:
    said = [f'{MARK}{{"time": 1}}', '{"time": 1.5}']

    assert [text for _, _, text in read([f"{line}\n".encode() for line in said])] == said


def test_the_beginning_of_an_endless_line_is_kept() -> None:
    lines = read([b"x" * 100_000] * 5 + [b"\nnext\n"])

    assert [len(text.encode()) for _, _, text in lines] == [MOST_TEXT_BYTES, 4]
