"""Delimited text before its cells have types: its encoding, its delimiter, its header, and the lines its rows stand on."""

from __future__ import annotations

import codecs
import csv
import io
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from servers.ingestion.errors import (
    EmptyFile,
    FileTooLarge,
    InvalidReadOptions,
    NulCharacter,
    QuoteNotClosed,
    WrongEncoding,
)
from servers.ingestion.readers.byte_streams import BLOCK_BYTES, InflatedBytes, open_bytes
from servers.ingestion.readers.options import Compression, ReadLimits, ReadOptions

_UTF8 = "utf-8-sig"
_CODECS = {
    "utf-8": _UTF8,
    "utf-8-sig": _UTF8,
    "utf-16": "utf-16",
    "latin-1": "latin-1",
    "iso-8859-1": "latin-1",
    "windows-1252": "cp1252",
}
_DELIMITERS = ",;\t|"
_SNIFFED_ROWS = 50
_SAMPLE_CHARACTERS = 256 * 2**10

# How long a cell may be is `ReadLimits.max_cell_bytes`; the limit of the csv module is one for the whole process.
csv.field_size_limit(sys.maxsize)


@dataclass(frozen=True, slots=True)
class TextFile:
    """A file of text, and how to open it."""

    path: Path
    name: str
    compression: Compression
    options: ReadOptions
    limits: ReadLimits

    @contextmanager
    def open(self) -> Iterator[DecodedText]:
        """Opens the file as a stream of its characters."""
        encoding = self.options.encoding.lower().replace("_", "-")
        if encoding not in _CODECS:
            raise InvalidReadOptions(f"unknown `encoding` {encoding!r}; known are utf-8, utf-16, latin-1 and windows-1252", file=self.name)
        with open_bytes(self.path, self.name, self.compression, self.limits) as source:
            yield DecodedText(source, self.name, encoding)

    def check(self) -> None:
        """Reads all of the text.

        Raises:
            WrongEncoding: If there are bytes that are not in the encoding.
            NulCharacter: If there is a NUL.
        """
        with self.open() as text:
            while text.read():
                pass


class DecodedText:
    """The characters of a file, checked.

    Args:
        source: The bytes.
        name: What the sender calls the file.
        encoding: One of those that are known.
    """

    def __init__(self, source: InflatedBytes, name: str, encoding: str) -> None:
        self._source = source
        self._name = name
        self._encoding = encoding
        self._decoder = codecs.getincrementaldecoder(_CODECS[encoding])()
        self._lines = 1
        self._is_first = True

    def read(self) -> str:
        """The next part of the text, "" at the end.

        Raises:
            WrongEncoding: If there are bytes that are not in the encoding.
            NulCharacter: If there is a NUL.
        """
        text = ""
        while not text:
            data = self._source.read(BLOCK_BYTES)
            try:
                text = self._decoder.decode(data, final=not data)
            except UnicodeDecodeError as error:
                raise self._wrong_encoding(error) from None
            if not data:
                break
        if "\0" in text:
            line = self._lines + text.count("\n", 0, text.index("\0"))
            hint = "If it is UTF-16, set `encoding` to utf-16; otherwise remove the character"
            raise NulCharacter(f"there is a NUL character. {hint}", file=self._name, line=line)
        self._lines += text.count("\n")
        return text

    def read_utf8(self) -> bytes:
        """The next part of the text in UTF-8, b"" at the end. What is in UTF-8 already comes without a check; `TextFile.check` is one."""
        if _CODECS[self._encoding] != _UTF8:
            return self.read().encode()
        if self._is_first:
            self._is_first = False
            data = self._source.read(max(BLOCK_BYTES, len(codecs.BOM_UTF8))).removeprefix(codecs.BOM_UTF8)
            # The mark alone would look like the end.
            return data or self._source.read(BLOCK_BYTES)
        return self._source.read(BLOCK_BYTES)

    def _wrong_encoding(self, error: UnicodeDecodeError) -> WrongEncoding:
        line = self._lines + error.object.count(b"\n", 0, error.start)
        known = "utf-8, utf-16, latin-1 or windows-1252"
        byte = error.object[error.start : error.start + 1].hex()
        return WrongEncoding(
            f"byte 0x{byte} is not {self._encoding}. Set `encoding` to what the file is in: {known}", file=self._name, line=line
        )


@dataclass(frozen=True, slots=True)
class Layout:
    """How the text of a file is laid out.

    Args:
        delimiter: What separates cells.
        header: Names in the file; empty where it has none.
        width: Number of columns.
        data_offset: Bytes before the first row of data, in UTF-8 and without a byte order mark.
        data_line: Line of the first row of data, from 1.
    """

    delimiter: str
    header: tuple[str, ...]
    width: int
    data_offset: int
    data_line: int


def find_layout(file: TextFile) -> Layout:
    """Finds the delimiter, the header and where the rows begin.

    Raises:
        EmptyFile: If there is no first row.
        QuoteNotClosed: If a quote opens in the first row and does not close.
    """
    _check_options(file)
    options = file.options
    size = _SAMPLE_CHARACTERS
    while True:
        sample, is_whole = _sample(file, size)
        lines = list(io.StringIO(sample, newline=""))
        # The last line of a sample may be half a line.
        usable = (lines if is_whole else lines[:-1])[options.skip_rows :]
        delimiter = options.delimiter or _sniffed(usable, options)
        if delimiter in (options.quote, options.escape):
            text = f"the delimiter seems to be {delimiter!r}, which `quote` or `escape` is, too. Set `delimiter` if it is another"
            raise InvalidReadOptions(text, file=file.name)
        records = _reader(usable, delimiter, options, strict=True)
        is_broken = False
        try:
            first = next((record for record in records if record), None)
        except csv.Error:
            first, is_broken = None, True
        if first is not None:
            break
        if is_whole and is_broken:
            text = "the quotes of the first row are not right: one is not closed, or has text after it"
            raise QuoteNotClosed(f"{text}. Double a quote inside a cell, or set `quote`", file=file.name, line=options.skip_rows + 1)
        if is_whole:
            raise EmptyFile("there is no row. Send a file with at least a header", file=file.name)
        if size > 2 * file.limits.max_cell_bytes:
            text = f"the first row has more than {file.limits.max_cell_bytes} bytes, which is the limit. Is `quote` right, and is it CSV?"
            raise FileTooLarge(text, file=file.name, line=options.skip_rows + 1)
        size *= 4
    taken = records.line_num if options.has_header else 0
    offset = sum(len(line.encode()) for line in lines[: options.skip_rows + taken])
    return Layout(delimiter, tuple(first) if options.has_header else (), len(first), offset, options.skip_rows + taken + 1)


def row_lines(file: TextFile, layout: Layout, *, max_row_characters: int = sys.maxsize) -> Iterator[int]:
    """The line on which each row of data begins. Slow, as it is needed for messages alone.

    The line of a row with more than `max_row_characters` is the last one given.
    """
    with file.open() as text:
        lines = _lines(text)
        for _ in range(layout.data_line - 1):
            next(lines, None)
        taken = 0

        def counted() -> Iterator[str]:
            nonlocal taken
            for line in lines:
                taken += len(line)
                if taken > max_row_characters:
                    return
                yield line

        records = _reader(counted(), layout.delimiter, file.options, strict=False)
        begins = 0
        for record in records:
            if record:
                yield layout.data_line + begins
            begins, taken = records.line_num, 0
        if taken:
            yield layout.data_line + begins


def _reader(lines: Iterable[str], delimiter: str, options: ReadOptions, *, strict: bool) -> Any:
    quoting: Any = csv.QUOTE_MINIMAL if options.quote else csv.QUOTE_NONE
    quote, escape = options.quote or None, options.escape or None
    return csv.reader(lines, delimiter=delimiter, quotechar=quote, escapechar=escape, quoting=quoting, strict=strict)


def _lines(text: DecodedText) -> Iterator[str]:
    rest = ""
    while part := text.read():
        lines = list(io.StringIO(rest + part, newline=""))
        rest = lines.pop()
        yield from lines
    yield from io.StringIO(rest, newline="")


def _sample(file: TextFile, size: int) -> tuple[str, bool]:
    parts: list[str] = []
    length = 0
    with file.open() as text:
        while length < size and (part := text.read()):
            parts.append(part)
            length += len(part)
        is_whole = length < size
    return "".join(parts), is_whole


def _sniffed(lines: list[str], options: ReadOptions) -> str:
    """The delimiter that gives the most rows as wide as the first one, then the widest rows."""

    def score(delimiter: str) -> tuple[int, int]:
        widths: list[int] = []
        try:
            for record in _reader(lines, delimiter, options, strict=False):
                widths += [len(record)] if record else []
                if len(widths) == _SNIFFED_ROWS:
                    break
        except csv.Error:
            return (0, 0)
        return (widths.count(widths[0]), widths[0]) if widths and widths[0] > 1 else (0, 0)

    return max(_DELIMITERS, key=score)


def _check_options(file: TextFile) -> None:
    options = file.options
    for field, value in (("delimiter", options.delimiter), ("quote", options.quote), ("escape", options.escape)):
        if value and (len(value) > 1 or not value.isascii() or value in "\r\n\0"):
            raise InvalidReadOptions(f"`{field}` is one ASCII character or empty; got {value!r}", file=file.name)
    given = [value for value in (options.delimiter, options.quote, options.escape) if value]
    if len(set(given)) < len(given):
        raise InvalidReadOptions("`delimiter`, `quote` and `escape` have to differ", file=file.name)
    if options.skip_rows < 0:
        raise InvalidReadOptions(f"`skip_rows` is 0 or more; got {options.skip_rows}", file=file.name)
