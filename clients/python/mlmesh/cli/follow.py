"""Reads log files to their end, and on from there."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

_POLL_S = 0.2


def lines_of(paths: Sequence[Path], last: int, *, on: bool = False) -> Iterator[str]:
    """Yields the last lines of some logs, and with `on` whatever is written to them after that.

    Args:
        paths: The logs. With more than one, each line begins with the name of its log.
        last: Lines of each to begin with, 0 or more.
        on: Whether to wait for more, for ever.
    """
    prefixes = {path: f"{path.stem:<10} " if len(paths) > 1 else "" for path in paths}
    offsets: dict[Path, int] = {}
    for path in paths:
        with path.open("rb") as file:
            kept = deque((line for line in file), maxlen=last)
            offsets[path] = file.tell()
        yield from (prefixes[path] + _text(line) for line in kept)
    while on:
        is_quiet = True
        for path in paths:
            for line in _new_lines(path, offsets):
                is_quiet = False
                yield prefixes[path] + line
        if is_quiet:
            time.sleep(_POLL_S)


def _new_lines(path: Path, offsets: dict[Path, int]) -> list[str]:
    if path.stat().st_size < offsets[path]:
        offsets[path] = 0  # rotated: the file was emptied and begins anew
    with path.open("rb") as file:
        file.seek(offsets[path])
        fresh = file.read()
    whole, newline, _ = fresh.rpartition(b"\n")
    if not newline:
        return []  # the writer is in the middle of a line
    offsets[path] += len(whole) + 1
    return [_text(line) for line in whole.split(b"\n")]


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace").rstrip("\r\n")
