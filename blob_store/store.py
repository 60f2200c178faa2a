"""What a blob store is: content under the name of its SHA-256, whole or not at all."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Protocol

from blob_store.digest import CHUNK_BYTES, BesideHasher, digest_of, hex_of
from blob_store.durable_files import full_disk_is_typed, write_all
from blob_store.errors import DigestMismatch, UploadNotFound

__all__ = ["Blob", "BlobReader", "BlobStore", "Upload", "UploadId", "chunks_of", "fetch_file"]


@dataclass(frozen=True, slots=True)
class Blob:
    """A stored content.

    Args:
        digest: ``sha256:<64 hex>`` of the content.
        size_bytes: Its size.
        stored_time: When it was stored, or put again, in UTC. Two blobs of one content are equal whenever they were stored.
    """

    digest: str
    size_bytes: int
    stored_time: datetime = field(compare=False)


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload under way.

    Args:
        upload_id: What `BlobStore.begin_upload` returned.
        digest: What the whole content will have to hash to; None = told when it is completed.
        size_bytes: How many bytes there will be.
        offset: How many bytes the store has; go on here.
    """

    upload_id: str
    digest: str | None
    size_bytes: int
    offset: int


@dataclass(frozen=True, slots=True)
class UploadId:
    """The id of an upload, taken apart: the digest it will have, where that was announced, and a random part that cannot be guessed.

    With the digest in the id, completing twice (the answer to the first call was lost) finds the blob and succeeds, as it does where the
    digest is told to `BlobStore.complete`.
    """

    digest: str | None
    nonce: str

    _PATTERN = re.compile(r"(?:([0-9a-f]{64})\.)?([0-9a-f]{32})", re.ASCII)

    def __str__(self) -> str:
        return self.nonce if self.digest is None else f"{hex_of(self.digest)}.{self.nonce}"

    @classmethod
    def new(cls, digest: str | None) -> UploadId:
        """Make an id for an upload of this digest, or of one that is told later.

        Raises:
            InvalidDigest: If it is none.
        """
        return cls(None if digest is None else digest_of(hex_of(digest)), secrets.token_hex(16))

    @classmethod
    def parse(cls, text: str) -> UploadId:
        """Read an id, which may come from a request.

        Raises:
            UploadNotFound: If no upload can have this id.
        """
        match = cls._PATTERN.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            raise UploadNotFound(text)
        hex_digits, nonce = match.groups()
        return cls(None if hex_digits is None else digest_of(hex_digits), nonce)

    def expected(self, told: str | None) -> str | None:
        """Return what the content has to hash to: what is told when the upload is completed, or else what was announced.

        Raises:
            InvalidDigest: If what is told is no digest.
        """
        return self.digest if told is None else digest_of(hex_of(told))


class BlobReader(Iterator[bytes]):
    """The bytes of a blob, in chunks of at most 1 MiB, hashed on their way out.

    A whole blob is verified: after its last byte, where it does not hash to its digest, `DigestMismatch` is raised instead of the
    end. A range cannot be verified; whoever puts ranges together has to hash the whole.
    Close it (or use a ``with`` block) when it is not read to its end.

    Args:
        blob: What is read.
        chunks: Its bytes, or a range of them.
        close: Called once, at the end or on `close`.
        is_whole: Whether `chunks` is the whole content, and so is verified.
    """

    def __init__(self, blob: Blob, chunks: Iterator[bytes], close: Callable[[], None], *, is_whole: bool) -> None:
        self.blob = blob
        self._chunks = chunks
        self._close = close
        self._hasher = BesideHasher() if is_whole else None
        self._is_open = True

    def __enter__(self) -> BlobReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def __next__(self) -> bytes:
        if not self._is_open:
            raise StopIteration
        try:
            chunk = next(self._chunks)
        except StopIteration:
            self._verify()
            raise
        except BaseException:
            self.close()
            raise
        if self._hasher is not None:
            self._hasher.update(chunk)
        return chunk

    def read_all(self) -> bytes:
        """Return the bytes at once; for small blobs."""
        return b"".join(self)

    def close(self) -> None:
        """Give back the file or the connection."""
        if self._is_open:
            self._is_open = False
            if self._hasher is not None:
                self._hasher.close()
            self._close()

    def _verify(self) -> None:
        try:
            if self._hasher is not None and (actual := self._hasher.digest()) != self.blob.digest:
                raise DigestMismatch(self.blob.digest, actual)
        finally:
            self.close()


class BlobStore(Protocol):
    """Content under the name of its SHA-256.

    Every implementation keeps these promises: a blob is there whole or not at all, whatever dies in between; putting a content
    that is there changes nothing but its `Blob.stored_time`; no text of a caller becomes a path or a key, only a digest or an upload id
    that has been parsed; memory does not grow with the content. All methods may be called from several threads and processes.
    All raise `InvalidDigest`, `StorageFull` (those that write) and `StoreUnavailable` beside what each states.
    """

    def put(self, source: Iterable[bytes] | BinaryIO, expected_digest: str | None = None, *, max_size_bytes: int | None = None) -> Blob:
        """Store what comes out of `source`.

        Args:
            source: Chunks, or a file open for reading bytes.
            expected_digest: What the content has to hash to; whatever it is, by default.
            max_size_bytes: Larger content is refused; no limit by default.

        Raises:
            DigestMismatch: If the content hashes to something else. Nothing is stored.
            BlobTooLarge: If there is more than the limit. Nothing is stored.
        """
        ...

    def put_file(self, path: Path, expected_digest: str | None = None, *, take_ownership: bool = False) -> Blob:
        """Store a file.

        Args:
            path: The file. It comes from the program, never from a request.
            expected_digest: What the content has to hash to; whatever it is, by default.
            take_ownership: Whether the store may keep the file itself, which saves the copy; the caller neither writes to it nor uses
                it any more, and it is gone afterwards.

        Raises:
            DigestMismatch: If the content hashes to something else. Nothing is stored, and the file stays.
        """
        ...

    def open(self, digest: str, offset: int = 0, length: int | None = None) -> BlobReader:
        """Read a blob.

        Args:
            digest: Which.
            offset: First byte to read.
            length: How many bytes at most; to the end, by default.

        Returns:
            The bytes. The whole blob is verified at its end (`DigestMismatch`), a range is not.

        Raises:
            BlobNotFound: If it is not there; at once, not with the first chunk.
            ValueError: If `offset` lies behind the end, or a number is negative.
        """
        ...

    def stat(self, digest: str) -> Blob:
        """Return size and time of a blob.

        Raises:
            BlobNotFound: If it is not there.
        """
        ...

    def exists_many(self, digests: Iterable[str]) -> frozenset[str]:
        """Return those of the digests that are there."""
        ...

    def delete(self, digest: str, *, if_stored_before: datetime | None = None) -> bool:
        """Take a blob away.

        Args:
            digest: Which.
            if_stored_before: Leave it where it was stored, or put again, at this time or later. A garbage collector states
                a time well in the past, so that what a save has just found to be there stays.

        Returns:
            Whether there was something to take away.
        """
        ...

    def iterate(self) -> Iterator[Blob]:
        """Return all blobs in the order of their digests."""
        ...

    def begin_upload(self, digest: str | None, size_bytes: int) -> str:
        """Begin an upload that can be resumed, by this process or another one.

        Args:
            digest: What the whole content will hash to; None = it is told to `complete`, so that a sender can hash beside the sending.
            size_bytes: How many bytes there will be.

        Returns:
            The id of the upload; whoever knows it can go on with it.
        """
        ...

    def upload(self, upload_id: str) -> Upload:
        """Return where an upload stands.

        Raises:
            UploadNotFound: If there is none, or no more.
        """
        ...

    def append(self, upload_id: str, offset: int, chunks: Iterable[bytes]) -> int:
        """Go on with an upload. What has been taken when `chunks` fails stays; a later caller wins over an earlier one that still sends.

        Args:
            upload_id: Which.
            offset: Where the bytes begin; has to be where the upload stands.
            chunks: The bytes.

        Returns:
            Where the upload stands now; all bytes before are durable.

        Raises:
            UploadNotFound: If there is none, or no more.
            OffsetMismatch: If the upload stands elsewhere, or somebody else went on with it meanwhile.
            BlobTooLarge: If there is more than was announced.
        """
        ...

    def complete(self, upload_id: str, digest: str | None = None) -> Blob:
        """Check an upload and make it a blob. Succeeds again when called again.

        Args:
            upload_id: Which.
            digest: What the content has to hash to; the digest that was announced, by default.

        Raises:
            UploadNotFound: If there is none, or no more.
            UploadIncomplete: If bytes are missing. It can go on.
            DigestMismatch: If the content hashes to something else. The upload is taken away.
            ValueError: If no digest was announced and none is told. It can go on.
        """
        ...

    def opened_upload(self, upload_id: str, folder: Path) -> AbstractContextManager[Path]:
        """Give what an upload has so far as a file, for as long as a block runs. Its name says nothing.

        Args:
            upload_id: Which.
            folder: For a copy, where the store is elsewhere.

        Raises:
            UploadNotFound: If there is none, or no more.
        """
        ...

    def abort_upload(self, upload_id: str) -> None:
        """Take an upload away. Nothing happens where there is none."""
        ...

    def remove_stale(self, before: datetime, *, keep: Collection[str] = ()) -> int:
        """Take away what interrupted writers left: uploads and temporary files not touched since then.

        Args:
            before: A time in UTC; well in the past, since uploads may pause.
            keep: Uploads that somebody needs, however long nobody wrote to them.

        Returns:
            How many were taken away.
        """
        ...

    def check(self) -> None:
        """Find out whether the store can be reached and used.

        Raises:
            StoreUnavailable: If not, with the reason.
        """
        ...


def chunks_of(source: Iterable[bytes] | BinaryIO) -> Iterator[bytes]:
    """Return the bytes of a file or an iterable as immutable chunks; empty ones are left out."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        raise TypeError("bytes are not chunks; hand over [content]")
    if hasattr(source, "read"):
        while chunk := source.read(CHUNK_BYTES):
            yield chunk
        return
    for chunk in source:
        if len(chunk):
            yield chunk if isinstance(chunk, bytes) else bytes(chunk)


def fetch_file(store: BlobStore, digest: str, path: Path) -> Blob:
    """Write a blob to a file, which appears under its name only whole and verified.

    Args:
        store: Where the blob is.
        digest: Which.
        path: The file to make, in a folder that exists; replaced where it exists.

    Raises:
        BlobNotFound: If the blob is not there.
        DigestMismatch: If what is stored has rotted. No file is made.
        StorageFull: If the file finds no room.
    """
    part = path.with_name(f".{hashlib.sha256(path.name.encode()).hexdigest()[:16]}.{secrets.token_hex(4)}.part")
    try:
        with full_disk_is_typed(), store.open(digest) as reader, part.open("xb", buffering=0) as file:
            for chunk in reader:
                write_all(file.fileno(), chunk)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return reader.blob
