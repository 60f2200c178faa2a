"""CSV. The type of every column comes from all of its values.

The first pass gives each block the types of the blocks before and keeps it on disk, typed. Where a column turns out to have another type
that it cannot be widened to, or the disk is full, the file is read in two passes: the first finds the types, the second gives the rows.
Both ways give the same.

Arrow's own inference looks at the first block alone: whether a later `1.5` widens a column of whole numbers or fails then depends on
the size of a block. It also reads `0x1F` as 31 and `00123` as 123, and a quote that never closes as the rest of the file. So Arrow
splits and unquotes here, and `text_types` decides.
"""

from __future__ import annotations

import errno
import io
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as arrow_csv

from servers.ingestion.errors import CorruptFile, FileTooLarge, QuoteNotClosed, RaggedRow, ValueDoesNotFit, shown
from servers.ingestion.readers.batches import Source, read_ahead
from servers.ingestion.readers.byte_streams import BLOCK_BYTES
from servers.ingestion.readers.columns import named, overrides
from servers.ingestion.readers.csv_text import DecodedText, Layout, TextFile, find_layout, row_lines
from servers.ingestion.readers.guessed_column import GuessedColumn, WrongGuess
from servers.ingestion.readers.kept_rows import KeptRows
from servers.ingestion.readers.text_types import TextColumn, cast_text, first_unfit

# After the last row comes one that is too wide, and that is skipped. If it is not seen, an open quote has swallowed it.
_END = "\N{END OF TRANSMISSION}"


@contextmanager
def open_csv(file: TextFile) -> Iterator[Source]:
    """Finds the types of a CSV file. Its rows are on local disk as long as the block runs.

    Raises:
        InvalidFile: If it is not CSV; see `servers.ingestion.errors`.
    """
    with tempfile.NamedTemporaryFile(prefix="mlmesh-ingestion-") as kept:
        yield _CsvFile(file).source(Path(kept.name))


class _CsvFile:
    def __init__(self, file: TextFile) -> None:
        self._file = file
        self._layout = find_layout(file)
        self._names, self._warnings = named(self._layout.header, self._layout.width, file.name, file.limits)
        self._overrides = overrides(self._names, file.options, file.name)
        self._columns = [TextColumn(file.options.null_values) for _ in self._names]
        self._saw_all = True

    def source(self, kept: Path) -> Source:
        if not self._file.limits.inference_rows:
            try:
                return self._in_one_pass(kept)
            except WrongGuess:
                # What is on disk is of no use any more.
                kept.write_bytes(b"")
        return self._in_two_passes()

    def _in_one_pass(self, kept: Path) -> Source:
        columns = [GuessedColumn(self._file.options.null_values, self._overrides.get(name)) for name in self._names]
        rows = KeptRows(kept)
        try:
            with rows.adding() as add, read_ahead(self._text_batches()) as batches_of_text:
                for batch in batches_of_text:
                    typed = [column.read(values) for column, values in zip(columns, batch.columns, strict=True)]
                    add(pa.RecordBatch.from_arrays(typed, self._names))
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise WrongGuess from None
        schema = pa.schema([(name, column.type) for name, column in zip(self._names, columns, strict=True)])

        def batches() -> Iterator[pa.RecordBatch]:
            for batch in rows.batches():
                widened = [column.widened(values) for column, values in zip(columns, batch.columns, strict=True)]
                yield pa.RecordBatch.from_arrays(widened, schema=schema)

        return Source(schema, batches, tuple(self._warnings), self._line_of, is_plain=True)

    def _in_two_passes(self) -> Source:
        rows_left = self._file.limits.inference_rows
        for batch in self._text_batches():
            if self._file.limits.inference_rows:
                self._saw_all = batch.num_rows <= rows_left
                batch = batch.slice(0, rows_left)
                rows_left -= batch.num_rows
            for name, column, values in zip(self._names, self._columns, batch.columns, strict=True):
                if name not in self._overrides:
                    column.add(values)
            if not self._saw_all:
                break
        types = [self._overrides.get(name, column.type) for name, column in zip(self._names, self._columns, strict=True)]
        schema = pa.schema(list(zip(self._names, types, strict=True)))
        warnings = (*self._warnings, *self._warnings_of_digits())
        return Source(schema, lambda: self._batches(schema), warnings, self._line_of, is_plain=True)

    def _warnings_of_digits(self) -> Iterator[str]:
        for name, column in zip(self._names, self._columns, strict=True):
            if column.has_too_many_digits:
                yield f"column {shown(name)} stays text: no number type holds all its digits. Set `column_types` to float64 to round them"

    def _batches(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        rows = 0
        for batch in self._text_batches():
            columns = [self._typed(index, values, rows, schema) for index, values in enumerate(batch.columns)]
            rows += batch.num_rows
            yield pa.RecordBatch.from_arrays(columns, schema=schema)

    def _typed(self, index: int, values: pa.Array, rows_before: int, schema: pa.Schema) -> pa.Array:
        name, target = schema.names[index], schema.types[index]
        words = self._file.options.null_values

        def casts(part: pa.Array) -> bool:
            try:
                cast_text(part, target, words)
            except pa.ArrowException:
                return False
            return self._saw_all or name in self._overrides or stays(part)

        def stays(part: pa.Array) -> bool:
            column = self._columns[index].copy()
            column.add(part)
            return bool(column.type == target)

        if not self._saw_all and name not in self._overrides and not stays(values):
            raise self._unfit(values, casts, name, target, rows_before)
        try:
            return cast_text(values, target, words)
        except pa.ArrowException:
            raise self._unfit(values, casts, name, target, rows_before) from None

    def _unfit(
        self, values: pa.Array, fits: Callable[[pa.Array], bool], name: str, target: pa.DataType, rows_before: int
    ) -> ValueDoesNotFit:
        index = first_unfit(values, fits)
        text = f"{shown(values[index].as_py())} does not fit {target} without loss"
        hint = "Correct the value, or set `column_types` of the column to a type that holds it, such as string"
        return ValueDoesNotFit(f"{text}. {hint}", file=self._file.name, line=self._line_of(rows_before + index + 1), column=name)

    def _line_of(self, row: int) -> int:
        return next(islice(row_lines(self._file, self._layout), row - 1, None), 0)

    def _text_batches(self) -> Iterator[pa.RecordBatch]:
        """All cells as text. A row longer than a block is no error of the file: the block grows, and rows given already are skipped."""
        block_bytes, rows_given = BLOCK_BYTES, 0
        while True:
            to_skip = rows_given
            try:
                for batch in self._blocks(block_bytes):
                    if to_skip >= batch.num_rows:
                        to_skip -= batch.num_rows
                        continue
                    fresh = batch.slice(to_skip)
                    to_skip = 0
                    rows_given += fresh.num_rows
                    yield fresh
            except pa.ArrowInvalid as error:
                if "straddl" not in str(error):
                    self._file.check()
                    text = "the text cannot be read as CSV. Set `format` to what it is, or correct the file"
                    raise CorruptFile(text, file=self._file.name) from None
                is_swallowed = False
            except _EndNotSeen:
                # An open quote; or a block of nothing but blank lines, which Arrow takes for the end of the file.
                is_swallowed = True
            else:
                return
            if block_bytes > 2 * self._file.limits.max_cell_bytes:
                raise self._not_closed(rows_given) if is_swallowed else self._row_too_long()
            block_bytes *= 4

    def _not_closed(self, last_row: int) -> QuoteNotClosed:
        text = "a quote opens in this row and never closes. Close it, double it if it belongs to the text, or set `quote`"
        return QuoteNotClosed(text, file=self._file.name, line=self._line_of(last_row))

    def _row_too_long(self) -> FileTooLarge:
        allowed = self._file.limits.max_cell_bytes
        *_, line = row_lines(self._file, self._layout, max_row_characters=allowed)
        text = f"the row has more than {allowed} bytes, which is the limit. Is a quote opened here and never closed?"
        return FileTooLarge(text, file=self._file.name, line=line)

    def _blocks(self, block_bytes: int) -> Iterator[pa.RecordBatch]:
        options, names = self._file.options, [str(index) for index in range(self._layout.width)]
        end = self._layout.delimiter.join([_END] * (self._layout.width + 1))
        ragged: list[Any] = []
        saw_end = False

        def on_ragged(row: Any) -> str:
            nonlocal saw_end
            if row.text == end:
                saw_end = True
                return "skip"
            ragged.append(row)
            return "error"

        with self._stream(end) as stream:
            try:
                batches = arrow_csv.open_csv(
                    pa.PythonFile(stream, "r"),
                    # One thread, so that Arrow counts the rows; what takes the time is on this side anyway.
                    arrow_csv.ReadOptions(use_threads=False, block_size=block_bytes, column_names=names),
                    arrow_csv.ParseOptions(
                        delimiter=self._layout.delimiter,
                        quote_char=options.quote or False,
                        double_quote=bool(options.quote),
                        escape_char=options.escape or False,
                        newlines_in_values=True,
                        invalid_row_handler=on_ragged,
                    ),
                    arrow_csv.ConvertOptions(
                        check_utf8=False,  # the stream has encoded it
                        column_types=dict.fromkeys(names, pa.string()),
                        null_values=list(options.null_values),
                        strings_can_be_null=True,
                        quoted_strings_can_be_null=False,
                    ),
                )
                yield from batches
            except pa.ArrowInvalid:
                if not ragged:
                    raise
                row = ragged[0]
                text = f"the row has {row.actual_columns} cells, and there are {row.expected_columns} columns"
                hint = "Quote a cell that has the delimiter in it, or set `delimiter`"
                raise RaggedRow(f"{text}. {hint}", file=self._file.name, line=self._line_of(row.number)) from None
        if not saw_end:
            raise _EndNotSeen

    @contextmanager
    def _stream(self, end: str) -> Iterator[_RowBytes]:
        with self._file.open() as text:
            yield _RowBytes(self._file, text, self._layout, end)


class _EndNotSeen(Exception):
    """The row after the last was swallowed."""


class _RowBytes(io.RawIOBase):
    """The rows of a file in UTF-8, without what is before them, and with the end marked."""

    def __init__(self, file: TextFile, text: DecodedText, layout: Layout, end: str) -> None:
        self._file = file
        self._text = text
        self._to_skip = layout.data_offset
        self._end = end
        self._ends_line = True
        self._is_at_end = False
        self._buffer = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        parts, length = [self._buffer], len(self._buffer)
        while (size < 0 or length < size) and not self._is_at_end:
            part = self._next()
            parts.append(part)
            length += len(part)
        data = b"".join(parts)
        cut = len(data) if size < 0 else size
        # Arrow drops a line feed at the beginning of a block where the one before ended with a carriage return, also within quotes.
        if cut > 1 and data[cut - 1 : cut] == b"\r":
            cut -= 1
        self._buffer = data[cut:]
        return data[:cut]

    def _next(self) -> bytes:
        text = self._text.read_utf8()
        if not text:
            self._is_at_end = True
            return f"{'' if self._ends_line else chr(10)}{self._end}\n".encode()
        if b"\0" in text:
            self._file.check()
        fresh = text[self._to_skip :]
        self._to_skip -= min(self._to_skip, len(text))
        if fresh:
            self._ends_line = fresh[-1:] in (b"\r", b"\n")
        return fresh
