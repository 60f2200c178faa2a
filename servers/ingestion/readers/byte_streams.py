"""The bytes of a file: inflated as they are read, counted against bombs, and put in a file of their own where a format has to seek."""

from __future__ import annotations

import errno
import io
import lzma
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from servers.ingestion.errors import CorruptFile, FileTooLarge
from servers.ingestion.readers.options import Compression, ReadLimits

RATIO_FROM_BYTES = 64 * 2**20
"""Below this many bytes nothing is called a bomb: small files of zeros are honest, and do no harm."""

BLOCK_BYTES = 2**20
"""Bytes that are read at a time."""


@contextmanager
def open_bytes(path: Path, name: str, compression: Compression, limits: ReadLimits) -> Iterator[InflatedBytes]:
    """Opens a file as a stream of its inflated bytes.

    Raises:
        CorruptFile: While reading, if the compressed data is damaged or cut off.
        FileTooLarge: While reading, if it inflates beyond the limits.
    """
    with ExitStack() as stack:
        source: Any
        if compression is Compression.NONE:
            source = stack.enter_context(path.open("rb"))
        elif compression is Compression.XZ:
            source = _XzStream(stack.enter_context(path.open("rb")))
        else:
            # Not closed by hand: closing what was read halfway is an error of its own for some codecs.
            source = pa.CompressedInputStream(stack.enter_context(pa.OSFile(str(path))), compression.value)
        yield InflatedBytes(source, name, path.stat().st_size, compression, limits)


@contextmanager
def local_file(path: Path, name: str, compression: Compression, limits: ReadLimits) -> Iterator[Path]:
    """Gives a path to the inflated bytes, for formats that read from the end: the file itself, or a temporary one."""
    if compression is Compression.NONE:
        yield path
        return
    with tempfile.NamedTemporaryFile(prefix="mlmesh-ingestion-") as spooled:
        with open_bytes(path, name, compression, limits) as source:
            shutil.copyfileobj(source, spooled, BLOCK_BYTES)
        spooled.flush()
        yield Path(spooled.name)


def is_of_the_machine(error: Exception) -> bool:
    """Whether an error tells of the disk or the system rather than of a damaged file, which may send a reader to impossible places."""
    return isinstance(error, OSError) and error.errno not in (None, errno.EINVAL)


def check_growth(inflated_bytes: int, stored_bytes: int, name: str, limits: ReadLimits) -> None:
    """Refuses what inflates too far.

    Raises:
        FileTooLarge: If `inflated_bytes` is beyond a limit.
    """
    if inflated_bytes > limits.max_decompressed_bytes:
        text = f"inflates to more than {limits.max_decompressed_bytes} bytes, which is the limit. Split it into several files"
        raise FileTooLarge(text, file=name)
    if inflated_bytes > RATIO_FROM_BYTES and inflated_bytes > limits.max_ratio * stored_bytes:
        text = (
            f"inflates to more than {limits.max_ratio:g} times its {stored_bytes} bytes, which is the limit. Send it with less compression"
        )
        raise FileTooLarge(text, file=name)


class _XzStream:
    """Inflates xz, which Arrow does not; `lzma.open` takes damage after the first part of a file for its end."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._inflater = lzma.LZMADecompressor()
        self._is_between = False

    def read(self, size: int) -> bytes:
        while True:
            if self._inflater.eof:
                # Parts may be filled up with zeros.
                rest = self._inflater.unused_data.lstrip(b"\0")
                self._inflater, self._is_between = lzma.LZMADecompressor(), True
            else:
                rest = self._file.read(BLOCK_BYTES) if self._inflater.needs_input else b""
                rest = rest.lstrip(b"\0") if self._is_between else rest
                if not rest and self._inflater.needs_input:
                    if not self._is_between:
                        raise EOFError
                    return b""
            if rest or not self._is_between:
                self._is_between = False
                part = self._inflater.decompress(rest, size)
                if part:
                    return part


class InflatedBytes(io.RawIOBase):
    """The inflated bytes of a file, counted.

    Args:
        source: What to read from.
        name: What the sender calls the file.
        stored_bytes: Size of the file, in bytes.
        compression: What `source` inflates.
        limits: How far it may inflate.
    """

    def __init__(self, source: Any, name: str, stored_bytes: int, compression: Compression, limits: ReadLimits) -> None:
        self._source = source
        self._name = name
        self._stored_bytes = stored_bytes
        self._compression = compression
        self._limits = limits
        self._inflated_bytes = 0

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fills a buffer; see `read`."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def read(self, size: int = -1, /) -> bytes:
        """Reads up to `size` bytes; fewer only at the end."""
        if self._compression is Compression.NONE:
            return bytes(self._source.read(size))
        parts: list[bytes] = []
        while size != 0:
            part = self._inflate(BLOCK_BYTES if size < 0 else min(size, BLOCK_BYTES))
            if not part:
                break
            parts.append(part)
            size -= len(part) if size > 0 else 0
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _inflate(self, size: int) -> bytes:
        try:
            part: bytes = self._source.read(size)
        except (OSError, EOFError, ValueError, lzma.LZMAError) as error:
            if is_of_the_machine(error):
                raise
            text = f"the {self._compression.value} data is damaged or cut off. Compress the file again, or send it again"
            raise CorruptFile(text, file=self._name) from None
        self._inflated_bytes += len(part)
        check_growth(self._inflated_bytes, self._stored_bytes, self._name, self._limits)
        return part
