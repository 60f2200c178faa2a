"""What a file is, from its first bytes and then from its name."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from servers.ingestion.errors import UnknownFormat
from servers.ingestion.readers.byte_streams import open_bytes
from servers.ingestion.readers.options import Compression, Format, ReadLimits, ReadOptions

_COMPRESSION_MAGIC = {
    b"\x1f\x8b": Compression.GZIP,
    b"\x28\xb5\x2f\xfd": Compression.ZSTD,
    b"BZh": Compression.BZ2,
    b"\xfd7zXZ\x00": Compression.XZ,
    b"\x04\x22\x4d\x18": Compression.LZ4,
}
_FORMAT_MAGIC = {
    b"PAR1": Format.PARQUET,
    b"Obj\x01": Format.AVRO,
    b"ORC": Format.ORC,
    b"ARROW1": Format.ARROW,
    b"FEA1": Format.ARROW,
    b"\xff\xff\xff\xff": Format.ARROW,  # the continuation mark of an IPC stream
    b"PK\x03\x04": Format.EXCEL,  # the zip file around .xlsx and .ods
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": Format.EXCEL,  # the OLE file around .xls
}
_SUFFIXES = {
    ".csv": Format.CSV,
    ".tsv": Format.CSV,
    ".tab": Format.CSV,
    ".txt": Format.CSV,
    ".json": Format.JSON,
    ".ndjson": Format.NDJSON,
    ".jsonl": Format.NDJSON,
    ".parquet": Format.PARQUET,
    ".avro": Format.AVRO,
    ".orc": Format.ORC,
    ".arrow": Format.ARROW,
    ".arrows": Format.ARROW,
    ".feather": Format.ARROW,
    ".ipc": Format.ARROW,
    ".xlsx": Format.EXCEL,
    ".xlsm": Format.EXCEL,
    ".xls": Format.EXCEL,
    ".ods": Format.EXCEL,
}
_COMPRESSION_SUFFIXES = frozenset({".gz", ".gzip", ".zst", ".zstd", ".bz2", ".xz", ".lz4"})
_HEAD_BYTES = 64 * 2**10


def detect(path: Path, name: str, options: ReadOptions, limits: ReadLimits) -> tuple[Format, Compression]:
    """Finds out what a file is; what the options say is believed.

    Raises:
        UnknownFormat: If nothing tells the format.
        CorruptFile: If its first bytes cannot be inflated.
    """
    compression = options.compression or _compression(path)
    if options.format is not None:
        return options.format, compression
    with open_bytes(path, name, compression, limits) as source:
        head = source.read(_HEAD_BYTES)
    for magic, known in _FORMAT_MAGIC.items():
        if head.startswith(magic):
            return known, compression
    suffixes = [suffix.lower() for suffix in PurePosixPath(name).suffixes]
    while suffixes and suffixes[-1] in _COMPRESSION_SUFFIXES:
        suffixes.pop()
    by_name = _SUFFIXES.get(suffixes[-1]) if suffixes else None
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if by_name is Format.JSON and _has_object_a_line(text):
        return Format.NDJSON, compression
    if by_name is not None:
        return by_name, compression
    if text.startswith(b"["):
        return Format.JSON, compression
    if text.startswith(b"{"):
        return Format.NDJSON if _has_object_a_line(text) else Format.JSON, compression
    known_suffixes = ", ".join(_SUFFIXES)
    raise UnknownFormat(
        f"neither the first bytes nor the name tell the format. Name the file with one of {known_suffixes}, or set `format`", file=name
    )


def _compression(path: Path) -> Compression:
    with path.open("rb") as file:
        head = file.read(8)
    return next((known for magic, known in _COMPRESSION_MAGIC.items() if head.startswith(magic)), Compression.NONE)


def _has_object_a_line(text: bytes) -> bool:
    """Whether the lines are objects of their own: people call such files `.json` too."""
    lines = [line for line in (line.strip() for line in text.splitlines()[:3]) if line]
    return len(lines) > 1 and lines[0].startswith(b"{") and lines[0].endswith(b"}") and lines[1].startswith(b"{")
