"""Opens a file of any format as rows: a schema, then batches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain
from pathlib import Path

import pyarrow as pa

from servers.ingestion.date_range import RANGE, first_unstorable
from servers.ingestion.errors import UnsupportedColumnType, ValueDoesNotFit, shown
from servers.ingestion.readers.batches import Source, check_cells, even
from servers.ingestion.readers.byte_streams import local_file
from servers.ingestion.readers.columns import check_depth, check_names, check_names_within, check_width, overrides
from servers.ingestion.readers.detection import detect
from servers.ingestion.readers.options import Compression, Format, ReadLimits, ReadOptions
from servers.ingestion.readers.plain_types import notes, plain_array, plain_type
from servers.ingestion.readers.text_types import first_unfit


class Rows:
    """The rows of a file. Each iteration reads them again from the first.

    Args:
        file_format: Format of the file.
        compression: Compression of the file.
        schema: Columns, with types that a Delta table holds.
        warnings: What a person should know about how the file was read.
        name: What the sender calls the file.
        source: Where the rows come from.
        limits: Size of a batch and of a cell.
    """

    def __init__(
        self,
        file_format: Format,
        compression: Compression,
        schema: pa.Schema,
        warnings: tuple[str, ...],
        name: str,
        source: Source,
        limits: ReadLimits,
    ) -> None:
        self.format = file_format
        self.compression = compression
        self.schema = schema
        self.warnings = warnings
        self._name = name
        self._source = source
        self._limits = limits

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """Gives the rows in order, in batches of about the size in the limits; none is empty.

        Raises:
            InvalidFile: If a row cannot be read (INVALID_ARGUMENT).
            FileTooLarge: If a limit is passed (RESOURCE_EXHAUSTED).
        """
        return even(self._plain(), self._limits)

    def _plain(self) -> Iterator[pa.RecordBatch]:
        rows = 0
        for batch in self._source.batches():
            columns = [self._column(values, field, rows) for values, field in zip(batch.columns, self.schema, strict=True)]
            plain = pa.RecordBatch.from_arrays(columns, schema=self.schema)
            check_cells(plain, rows + 1, self._source.line_of, self._name, self._limits)
            self._check_dates(plain, rows)
            rows += plain.num_rows
            yield plain

    def _check_dates(self, batch: pa.RecordBatch, rows_before: int) -> None:
        for name, values in zip(batch.schema.names, batch.columns, strict=True):
            if (row := first_unstorable(values)) is not None:
                text = f"there is a date beyond {RANGE}, which are all that tables hold. Correct it, or write the column as text"
                raise ValueDoesNotFit(text, file=self._name, line=self._source.line_of(rows_before + row + 1), column=name)

    def _column(self, values: pa.Array, field: pa.Field, rows_before: int) -> pa.Array:
        def fits(part: pa.Array) -> bool:
            try:
                plain_array(part, field.type)
            except pa.ArrowException:
                return False
            return True

        if values.type == field.type:
            return values
        try:
            return plain_array(values, field.type)
        except pa.ArrowNotImplementedError:
            raise _unsupported(values.type, field.name, self._name) from None
        except pa.ArrowException:
            row = rows_before + first_unfit(values, fits) + 1
            text = f"a value of type {values.type} does not fit {field.type} without loss"
            hint = "Write the column with that type, or set `column_types` to one that holds it"
            raise ValueDoesNotFit(f"{text}. {hint}", file=self._name, line=row, column=field.name) from None


@contextmanager
def open_rows(path: Path, name: str, options: ReadOptions, limits: ReadLimits) -> Iterator[Rows]:
    """Opens a file.

    CSV, JSON and Excel are read once before this returns, to find types from all rows (`ReadLimits.inference_rows`).

    Args:
        path: The local file. Its name says nothing.
        name: What the sender calls it, such as `flights.csv.gz`: tells the format where its bytes do not, and stands in errors.
        options: What the sender says about it.
        limits: What reading it may cost.

    Raises:
        InvalidFile: If it cannot be read as rows (INVALID_ARGUMENT); see the subclasses in `servers.ingestion.errors`.
        FileTooLarge: If a limit is passed (RESOURCE_EXHAUSTED).
    """
    file_format, compression = detect(path, name, options, limits)
    with ExitStack() as stack:
        source = _source(stack, path, name, file_format, compression, options, limits)
        names = source.schema.names
        check_width(len(names), name, limits)
        check_names(names, name)
        check_depth(source.schema, name)
        schema, warnings = source.schema, source.warnings
        if not source.is_plain:
            wanted = overrides(names, options, name)
            types = [wanted.get(field.name) or plain_type(field.type) for field in schema]
            for field, known in zip(schema, types, strict=True):
                if known is None:
                    raise _unsupported(field.type, field.name, name)
            warnings = (*warnings, *chain.from_iterable(notes(field) for field in schema if field.name not in wanted))
            schema = pa.schema(list(zip(names, types, strict=True)))
        check_names_within((field for field in schema if field.name not in options.column_types), name)
        yield Rows(file_format, compression, schema, warnings, name, source, limits)


def _source(
    stack: ExitStack, path: Path, name: str, file_format: Format, compression: Compression, options: ReadOptions, limits: ReadLimits
) -> Source:
    # Each format's libraries are loaded when the first file of that format comes.
    if file_format is Format.CSV:
        from servers.ingestion.readers.csv_rows import open_csv
        from servers.ingestion.readers.csv_text import TextFile

        return stack.enter_context(open_csv(TextFile(path, name, compression, options, limits)))
    if file_format in (Format.JSON, Format.NDJSON):
        from servers.ingestion.readers.json_rows import open_json

        return open_json(path, name, file_format, compression, options, limits)
    local = stack.enter_context(local_file(path, name, compression, limits))
    if file_format is Format.EXCEL:
        from servers.ingestion.readers.excel_rows import open_excel

        return open_excel(local, name, options, limits)
    if file_format is Format.AVRO:
        from servers.ingestion.readers.avro_rows import open_avro

        return stack.enter_context(open_avro(local, name, limits))
    from servers.ingestion.readers import arrow_files

    if file_format is Format.PARQUET:
        return stack.enter_context(arrow_files.open_parquet(local, name, limits))
    if file_format is Format.ORC:
        return stack.enter_context(arrow_files.open_orc(local, name, limits))
    return stack.enter_context(arrow_files.open_arrow(local, name))


def _unsupported(given: pa.DataType, column: str, name: str) -> UnsupportedColumnType:
    text = f"no table holds the type {shown(given)}. Write the column with another, or leave it out"
    return UnsupportedColumnType(text, file=name, column=column)
