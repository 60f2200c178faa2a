"""Parquet, ORC and Arrow's own files: columns with types, read by Arrow a few rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from servers.ingestion.errors import CorruptFile, EmptyFile
from servers.ingestion.readers.batches import Source, read_ahead
from servers.ingestion.readers.byte_streams import check_growth, is_of_the_machine
from servers.ingestion.readers.columns import check_depth
from servers.ingestion.readers.options import ReadLimits
from servers.runtime.errors import DomainError

_FILE_MAGIC = b"ARROW1"
_FEATHER_1_MAGIC = b"FEA1"
_BUFFER_BYTES = 2**20
_BUFFERS_BYTES = 2**28

DAMAGE = (pa.ArrowException, OSError, ValueError, OverflowError, EOFError)
"""What Arrow raises on damaged files."""


@contextmanager
def refusing_damage(name: str, kind: str, *others: type[Exception]) -> Iterator[None]:
    """Says that the file is damaged in place of what a library says, which may name internal paths."""
    try:
        yield
    except (*DAMAGE, *others) as error:
        if is_of_the_machine(error) or isinstance(error, DomainError):
            raise
        text = f"the {kind} data is damaged, cut off, or not {kind} at all. Write the file again, or set `format` to what it is"
        raise CorruptFile(text, file=name) from None


@contextmanager
def open_parquet(path: Path, name: str, limits: ReadLimits) -> Iterator[Source]:
    """Opens a Parquet file.

    Raises:
        CorruptFile: If it is damaged.
        FileTooLarge: If its pages inflate beyond the limits.
    """
    import pyarrow.parquet as parquet

    _refuse_empty(path, name)
    with refusing_damage(name, "Parquet"):
        # INT96 is read in microseconds: in nanoseconds, which is Arrow's default, dates before 1677 and after 2262 wrap around unseen.
        file = parquet.ParquetFile(path, coerce_int96_timestamp_unit="us", arrow_extensions_enabled=False, page_checksum_verification=True)
        metadata = file.metadata
    with file:
        groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
        check_growth(sum(group.total_byte_size for group in groups), path.stat().st_size, name, limits)
        columns = max(1, metadata.num_columns)
        row_bytes = max((group.total_byte_size // max(1, group.num_rows) for group in groups), default=1)
        at_once = max(1, min(limits.batch_rows, limits.batch_bytes // max(1, row_bytes)))
        # Without buffers Arrow reads the whole of a column's part of a row group at once.
        buffer_bytes = max(2**14, min(_BUFFER_BYTES, _BUFFERS_BYTES // columns))

        def batches() -> Iterator[pa.RecordBatch]:
            with (
                refusing_damage(name, "Parquet"),
                parquet.ParquetFile(
                    path,
                    coerce_int96_timestamp_unit="us",
                    arrow_extensions_enabled=False,
                    buffer_size=buffer_bytes,
                    pre_buffer=False,
                    page_checksum_verification=True,
                ) as again,
                read_ahead(again.iter_batches(batch_size=at_once)) as ahead,
            ):
                yield from map(_checked, ahead)

        with refusing_damage(name, "Parquet"):
            schema = _decoded(file.schema_arrow, name)
        yield Source(schema, batches)


@contextmanager
def open_orc(path: Path, name: str, limits: ReadLimits) -> Iterator[Source]:
    """Opens an ORC file.

    Raises:
        CorruptFile: If it is damaged.
    """
    import pyarrow.dataset as dataset
    from pyarrow.fs import LocalFileSystem

    _refuse_empty(path, name)
    with refusing_damage(name, "ORC"):
        # As a fragment, because `ORCFile` gives no less than a whole stripe.
        fragment = dataset.OrcFileFormat().make_fragment(str(path), LocalFileSystem())
        schema = _decoded(fragment.physical_schema, name)

    def batches() -> Iterator[pa.RecordBatch]:
        with refusing_damage(name, "ORC"):
            yield from map(
                _checked, fragment.to_batches(batch_size=limits.batch_rows, use_threads=False, batch_readahead=1, fragment_readahead=1)
            )

    yield Source(schema, batches)


@contextmanager
def open_arrow(path: Path, name: str) -> Iterator[Source]:
    """Opens an Arrow IPC file or stream.

    Raises:
        CorruptFile: If it is damaged.
    """
    _refuse_empty(path, name)
    with path.open("rb") as file:
        head = file.read(len(_FILE_MAGIC))
    if head.startswith(_FEATHER_1_MAGIC):
        raise CorruptFile("this is version 1 of Feather, which is not read. Write it again as version 2 (Arrow IPC)", file=name)
    is_file = head == _FILE_MAGIC
    # Mapped, so that a batch that holds the whole table costs no memory before it is cut.
    with refusing_damage(name, "Arrow"), pa.memory_map(str(path)) as mapped:
        schema = _decoded((pa.ipc.open_file(mapped) if is_file else pa.ipc.open_stream(mapped)).schema, name)

    def batches() -> Iterator[pa.RecordBatch]:
        with refusing_damage(name, "Arrow"), pa.memory_map(str(path)) as again:
            if is_file:
                reader = pa.ipc.open_file(again)
                found = (reader.get_batch(index) for index in range(reader.num_record_batches))
            else:
                found = iter(pa.ipc.open_stream(again))
            yield from map(_checked, found)

    yield Source(schema, batches)


def _checked(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch, once it has proved to be sound: offsets in a damaged file point anywhere, and its text may be no text."""
    batch.validate(full=True)
    return batch


def _decoded(schema: pa.Schema, name: str) -> pa.Schema:
    """The schema, once it has proved to be flat enough, and all of its names to be text."""
    check_depth(schema, name)
    for field in schema:
        _decode(field)
    return schema


def _decode(field: pa.Field) -> None:
    field.name.encode()
    for index in range(field.type.num_fields if pa.types.is_nested(field.type) else 0):
        _decode(field.type.field(index))


def _refuse_empty(path: Path, name: str) -> None:
    if not path.stat().st_size:
        raise EmptyFile("the file has no bytes. Is the upload complete?", file=name)
