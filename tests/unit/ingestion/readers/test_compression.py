from __future__ import annotations

import bz2
import gzip
import lzma

import pyarrow as pa
import pytest

from servers.ingestion.errors import CorruptFile, FileTooLarge, UnknownFormat
from servers.ingestion.readers import byte_streams
from servers.ingestion.readers.options import Compression, Format, ReadLimits, ReadOptions
from tests.unit.ingestion.readers.test_typed_files import TABLE, as_parquet

CSV = b"a,b\n" + b"".join(b"%d,x\n" % index for index in range(1000))


def by_arrow(data: bytes, codec: str) -> bytes:
    buffer = pa.BufferOutputStream()
    with pa.CompressedOutputStream(buffer, codec) as stream:
        stream.write(data)
        stream.flush()
        stream.close()
        return buffer.getvalue().to_pybytes()


COMPRESSORS = {
    Compression.NONE: lambda data: data,
    Compression.GZIP: gzip.compress,
    Compression.BZ2: bz2.compress,
    Compression.XZ: lzma.compress,
    Compression.ZSTD: lambda data: by_arrow(data, "zstd"),
    Compression.LZ4: lambda data: by_arrow(data, "lz4"),
}
COMPRESSED = [kind for kind in Compression if kind is not Compression.NONE]


@pytest.mark.parametrize("kind", Compression)
@pytest.mark.parametrize("name", ["flights.csv", "FLIGHTS.CSV.GZ", "flights.csv.zst"])
def test_the_compression_is_found_in_the_bytes(read, kind, name):
    found = read(COMPRESSORS[kind](CSV), name)
    assert (found.compression, found.format, found.table.num_rows) == (kind, Format.CSV, 1000)


@pytest.mark.parametrize("kind", COMPRESSED)
def test_any_format_may_be_compressed(read, kind):
    for data, name in ((b'{"a":1}\n{"a":2}', "x.ndjson"), (b'[{"a":1},{"a":2}]', "x.json"), (as_parquet(TABLE), "x")):
        assert read(COMPRESSORS[kind](data), name).table.num_rows == 2


@pytest.mark.parametrize("kind", COMPRESSED)
def test_several_parts_in_a_row_are_one_file(read, kind):
    half = len(CSV) // 2
    assert read(COMPRESSORS[kind](CSV[:half]) + COMPRESSORS[kind](CSV[half:])).table.num_rows == 1000


@pytest.mark.parametrize("kind", COMPRESSED)
@pytest.mark.parametrize("name", ["x.csv", "x.ndjson", "x.json", "x.parquet"])
def test_data_that_is_cut_off_or_followed_by_something(read, kind, name):
    data = COMPRESSORS[kind](CSV)
    for broken in (data[:-9], data[: len(data) // 2], data + b"something else"):
        with pytest.raises(CorruptFile) as caught:
            read(broken, "x.csv", ReadOptions(compression=kind))
        assert caught.value.message == f"x.csv: the {kind.value} data is damaged or cut off. Compress the file again, or send it again"


def test_a_compression_that_is_not_there(read):
    with pytest.raises(CorruptFile, match="the gzip data is damaged"):
        read(CSV, options=ReadOptions(compression=Compression.GZIP))


@pytest.mark.parametrize("kind", COMPRESSED)
@pytest.mark.parametrize("name", ["x.csv", "x.ndjson", "x.json", "x.parquet"])
def test_bombs(read, monkeypatch, kind, name):
    data = COMPRESSORS[kind](b" " * 4_000_000)
    with pytest.raises(FileTooLarge, match="inflates to more than 1000000 bytes"):
        read(data, name, limits=ReadLimits(max_decompressed_bytes=1_000_000, max_cell_bytes=2**26))
    monkeypatch.setattr(byte_streams, "RATIO_FROM_BYTES", 1_000_000)
    with pytest.raises(FileTooLarge, match="inflates to more than 20 times"):
        read(data, name, limits=ReadLimits(max_ratio=20, max_cell_bytes=2**26))


def test_parquet_that_inflates_too_far(read):
    data = as_parquet(pa.table({"a": ["x" * 5_000_000]}), compression="gzip", use_dictionary=False)
    with pytest.raises(FileTooLarge, match="inflates to more than 1000000 bytes"):
        read(data, limits=ReadLimits(max_decompressed_bytes=1_000_000))


def test_nothing_tells_the_format(read):
    with pytest.raises(UnknownFormat, match=r"file.bin: neither the first bytes nor the name.*set `format`"):
        read(b"hello", "file.bin")
