"""Objects of a JSON array, cut out of a document as it streams by.

Arrow reads one object a line only. `ijson` streams arrays, but tells no lines, and gives either all fractions as `Decimal` or none
exactly. So brackets and strings are told apart by one regular expression here, and a real parser gets the text of one object at a time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple, Protocol

import orjson

from servers.ingestion.errors import EmptyFile, FileTooLarge, InvalidJson, InvalidReadOptions, shown
from servers.ingestion.readers.byte_streams import BLOCK_BYTES
from servers.ingestion.readers.options import ReadLimits

# Up to the next bracket that is in no string. Nothing is tried twice (`*+`), so a missing bracket costs no more than one that is there.
_STRING = rb'"(?:[^"\\]++|\\.)*+"'
_TO_BRACKET = re.compile(rb'[^"\[\]{}]*+(?:' + _STRING + rb'[^"\[\]{}]*+)*+[\[\]{}]', re.DOTALL)
# A whole string, or one that is not whole yet (a lone quote), or a mark.
_MARKS = re.compile(_STRING + rb'|"|[\[\]{}:,]', re.DOTALL)
_NOT_SPACE = re.compile(rb"[^ \t\r\n]")

OBJECTS_AT_ONCE = 4096


class ByteSource(Protocol):
    """What bytes are read from."""

    def read(self, size: int = -1, /) -> bytes:
        """Reads up to `size` bytes; fewer only at the end."""


class ArrayPlace(NamedTuple):
    """Where an array begins.

    Args:
        offset: Of its bracket, in bytes.
        is_document: Whether there is nothing around it.
    """

    offset: int
    is_document: bool


class ObjectTexts(NamedTuple):
    """The text of some objects, each with the line on which it begins, from 1."""

    texts: list[bytes]
    lines: list[int]


def array_place(source: ByteSource, key: str, name: str, limits: ReadLimits) -> ArrayPlace:
    """Finds the array in a document.

    Args:
        source: The document, from its start.
        key: Key of the array in a top-level object; empty for the only array of objects there, or for a top-level array.
        name: What the sender calls the file.
        limits: Limits of the length of a string.

    Raises:
        EmptyFile: If there is nothing.
        InvalidReadOptions: If there is no array at the key.
        InvalidJson: If there is no array of objects, or more than one.
    """
    marks = _marks(source, name, limits)
    mark, offset = next(marks, (b"", 0))
    if mark == b"[" and not key:
        return ArrayPlace(offset, is_document=True)
    if mark != b"{":
        if not mark:
            raise EmptyFile("there is nothing. Send an array of objects", file=name)
        raise InvalidJson("the document is neither an array nor an object. Send an array of objects", file=name)
    arrays = list(_arrays_of(marks, name))
    if key:
        found = [offset for known, offset, _ in arrays if known == key]
        if len(found) != 1:
            known_keys = ", ".join(shown(known) for known, _, _ in arrays[:20]) or "none"
            text = f"`json_path` names no array of the top-level object, or two; arrays there: {known_keys}"
            raise InvalidReadOptions(text, file=name, column=key)
        return ArrayPlace(found[0], is_document=False)
    of_objects = [(known, offset) for known, offset, has_objects in arrays if has_objects]
    if len(of_objects) != 1:
        what = ", ".join(shown(known) for known, _ in of_objects[:20]) or "none"
        hint = "Name one in `json_path`" if of_objects else "If each line is an object, set `format` to NDJSON"
        raise InvalidJson(f"the top-level object has to have exactly one array of objects; it has: {what}. {hint}", file=name)
    return ArrayPlace(of_objects[0][1], is_document=False)


def objects(source: ByteSource, place: ArrayPlace, name: str, limits: ReadLimits) -> Iterator[ObjectTexts]:
    """Cuts the objects out of the array at a place.

    Raises:
        InvalidJson: If elements are not objects, or the array does not end.
        FileTooLarge: If an object is larger than a cell may be.
    """
    line = 1 + _skip(source, place.offset)
    buffer, at, is_first = source.read(BLOCK_BYTES)[1:], 0, True
    found = ObjectTexts([], [])
    while True:
        start, buffer, line = _next_element(source, buffer, at, line, name, is_first=is_first)
        if start < 0:
            break
        end = _end_of_object(buffer, start)
        while end < 0:
            more = source.read(max(BLOCK_BYTES, len(buffer)))
            if not more:
                raise InvalidJson("the document ends inside of this object. Is the file cut off?", file=name, line=line)
            buffer, start = buffer[start:] + more, 0
            end = _end_of_object(buffer, start)
            if end < 0 and len(buffer) > limits.max_cell_bytes:
                raise FileTooLarge(f"an object has more than {limits.max_cell_bytes} bytes, which is the limit", file=name, line=line)
        found.texts.append(buffer[start:end])
        found.lines.append(line)
        line += buffer.count(b"\n", start, end)
        at, is_first = end, False
        if len(found.texts) == OBJECTS_AT_ONCE:
            yield found
            found = ObjectTexts([], [])
    while place.is_document and buffer:
        if _NOT_SPACE.search(buffer):
            raise InvalidJson("there is something after the array. Send one array", file=name, line=line)
        buffer = source.read(BLOCK_BYTES)
    if found.texts:
        yield found


def _next_element(source: ByteSource, buffer: bytes, at: int, line: int, name: str, *, is_first: bool) -> tuple[int, bytes, int]:
    """Goes to the next object: its place, the buffer it is in, and its line. After the last the place is -1."""
    wants_comma = not is_first
    may_end = True
    while True:
        match = _NOT_SPACE.search(buffer, at)
        place = match.start() if match else len(buffer)
        line += buffer.count(b"\n", at, place)
        if match is None:
            buffer, at = source.read(BLOCK_BYTES), 0
            if not buffer:
                raise InvalidJson("the document ends inside of the array. Is the file cut off?", file=name, line=line)
            continue
        character = match.group()
        if character == b"]" and may_end:
            return -1, buffer[place + 1 :], line
        if wants_comma:
            if character != b",":
                raise InvalidJson("expected a comma or the end of the array after an object", file=name, line=line)
            wants_comma = may_end = False
            at = place + 1
            continue
        if character != b"{":
            raise InvalidJson('every element of the array has to be an object, such as {"a": 1}', file=name, line=line)
        return place, buffer, line


def _end_of_object(buffer: bytes, start: int) -> int:
    """Where the object that begins at `start` ends, or -1 if it does not end in the buffer."""
    depth, at = 0, start
    while match := _TO_BRACKET.match(buffer, at):
        at = match.end()
        depth += 1 if buffer[at - 1] in b"{[" else -1
        if not depth:
            return at
    return -1


def _marks(source: ByteSource, name: str, limits: ReadLimits) -> Iterator[tuple[bytes, int]]:
    """All strings and marks with their offsets; then checks that every bracket was closed."""
    buffer, base, depth = b"", 0, 0
    is_in_string = False
    while more := source.read(BLOCK_BYTES):
        buffer += more
        used, is_in_string = len(buffer), False
        for match in _MARKS.finditer(buffer):
            mark = match.group()
            if mark == b'"':
                used, is_in_string = match.start(), True
                break
            depth += (mark in (b"{", b"[")) - (mark in (b"}", b"]"))
            yield mark, base + match.start()
        buffer, base = buffer[used:], base + used
        if len(buffer) > limits.max_cell_bytes:
            raise FileTooLarge(f"a string has more than {limits.max_cell_bytes} bytes, which is the limit", file=name)
    if depth or is_in_string:
        raise InvalidJson("the document ends before its brackets are closed. Is the file cut off?", file=name)


def _arrays_of(marks: Iterator[tuple[bytes, int]], name: str) -> Iterator[tuple[str, int, bool]]:
    """The arrays of the object that has just been opened: key, offset, and whether the first element is an object."""
    depth, key, last, pending = 1, b"", b"", None
    for mark, offset in marks:
        if not depth:
            raise InvalidJson("there is something after the top-level object. If each line is an object, set `format` to NDJSON", file=name)
        if pending is not None:
            yield _key(pending[0], name), pending[1], mark == b"{"
            pending = None
        if depth == 1 and mark.startswith(b'"'):
            key = mark
        if depth == 1 and mark == b"[" and last == b":":
            pending = (key, offset)
        depth += (mark in (b"{", b"[")) - (mark in (b"}", b"]"))
        last = mark


def _key(text: bytes, name: str) -> str:
    try:
        return str(orjson.loads(text))
    except orjson.JSONDecodeError:
        raise InvalidJson("a key of the top-level object is not valid JSON", file=name) from None


def _skip(source: ByteSource, offset: int) -> int:
    """Reads up to an offset, and counts the lines."""
    lines = 0
    while offset:
        skipped = source.read(min(offset, BLOCK_BYTES))
        if not skipped:
            break
        lines += skipped.count(b"\n")
        offset -= len(skipped)
    return lines
