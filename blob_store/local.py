"""Blobs in a local folder."""

from __future__ import annotations

import os
import shutil
import stat
import time
import uuid
from collections.abc import Collection, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from blob_store.digest import CHUNK_BYTES, BesideHasher, digest_of, hex_of
from blob_store.durable_files import SyncBeside, full_disk_is_typed, locked, sync_data, sync_folder, write_all
from blob_store.errors import BlobNotFound, BlobTooLarge, DigestMismatch, StorageFull, StoreUnavailable
from blob_store.local_uploads import LocalUploads
from blob_store.store import Blob, BlobReader, Upload, chunks_of

__all__ = ["LocalBlobStore"]

_HEX = frozenset("0123456789abcdef")


class LocalBlobStore:
    """A `BlobStore` in a folder: ``objects/ab/cdef…`` are blobs, ``uploads/`` what is being sent, ``tmp/`` what is being written.

    A blob is written to ``tmp/``, synced, renamed into place and its folder synced, so that it is there whole or not at all, also after
    a power cut. A writer that found a blob to be there and a collector that takes it away exclude each other by a lock.

    Args:
        root: The folder; made where it does not exist. All of it has to be on one file system.
        reserve_bytes: An upload is refused at its beginning where less than its size and this would stay free.
    """

    def __init__(self, root: Path, *, reserve_bytes: int = 64 << 20) -> None:
        self._root = Path(root)
        self._objects = self._root / "objects"
        self._tmp = self._root / "tmp"
        self._lock = self._root / "lock"
        self._reserve_bytes = reserve_bytes
        for folder in (self._objects, self._tmp, self._root / "uploads"):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._uploads = LocalUploads(self._root / "uploads", self._keep)

    def __repr__(self) -> str:
        return f"LocalBlobStore({str(self._root)!r})"

    def put(self, source: Iterable[bytes] | BinaryIO, expected_digest: str | None = None, *, max_size_bytes: int | None = None) -> Blob:
        """Store what comes out of `source`; see `BlobStore.put`."""
        if expected_digest is not None:
            hex_of(expected_digest)
        with self._temporary() as path, BesideHasher() as hasher:
            size_bytes = 0
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                for chunk in chunks_of(source):
                    size_bytes += len(chunk)
                    if max_size_bytes is not None and size_bytes > max_size_bytes:
                        raise BlobTooLarge(max_size_bytes)
                    hasher.update(chunk)
                    with full_disk_is_typed():
                        write_all(descriptor, chunk)
                actual = hasher.digest()
                if expected_digest is not None and actual != expected_digest:
                    raise DigestMismatch(expected_digest, actual)
                return self._keep(path, descriptor, actual)
            finally:
                os.close(descriptor)

    def put_file(self, path: Path, expected_digest: str | None = None, *, take_ownership: bool = False) -> Blob:
        """Store a file, by renaming it where the store may have it; see `BlobStore.put_file`."""
        if take_ownership and self._can_be_renamed(path):
            return self._put_own(path, expected_digest)
        with self._temporary() as copy:
            # The system copies twice as fast as chunks that pass through here.
            with full_disk_is_typed():
                shutil.copyfile(path, copy)
            blob = self._put_own(copy, expected_digest)
        if take_ownership:
            path.unlink()
        return blob

    def open(self, digest: str, offset: int = 0, length: int | None = None) -> BlobReader:
        """Read a blob; see `BlobStore.open`."""
        path = self._path(digest)
        try:
            file = path.open("rb", buffering=0)
        except FileNotFoundError:
            raise BlobNotFound(digest) from None
        try:
            found = os.fstat(file.fileno())
            blob = Blob(digest, found.st_size, _time(found))
            is_whole = offset == 0 and length is None
            count = _range_length(blob.size_bytes, offset, length)
            file.seek(offset)
        except BaseException:
            file.close()
            raise
        return BlobReader(blob, _read_chunks(file, count, is_whole=is_whole), file.close, is_whole=is_whole)

    def stat(self, digest: str) -> Blob:
        """Return size and time of a blob; see `BlobStore.stat`."""
        try:
            found = self._path(digest).stat()
        except FileNotFoundError:
            raise BlobNotFound(digest) from None
        return Blob(digest, found.st_size, _time(found))

    def exists_many(self, digests: Iterable[str]) -> frozenset[str]:
        """Return those of the digests that are there; a system call each."""
        return frozenset(digest for digest in digests if self._path(digest).exists())

    def delete(self, digest: str, *, if_stored_before: datetime | None = None) -> bool:
        """Take a blob away; see `BlobStore.delete`."""
        path = self._path(digest)
        with locked(self._lock, exclusive=True):
            try:
                if if_stored_before is not None and _time(path.stat()) >= if_stored_before:
                    return False
                path.unlink()
            except FileNotFoundError:
                return False
        return True

    def iterate(self) -> Iterator[Blob]:
        """Return all blobs in the order of their digests, one shard of 256 in memory at a time."""
        for shard in sorted(entry.name for entry in os.scandir(self._objects)):
            for name in sorted(entry.name for entry in os.scandir(self._objects / shard)):
                if len(shard + name) == 64 and _HEX.issuperset(shard + name):
                    try:
                        yield self.stat(digest_of(shard + name))
                    except BlobNotFound:
                        continue

    def begin_upload(self, digest: str | None, size_bytes: int) -> str:
        """Begin an upload, where there is room for it; see `BlobStore.begin_upload`."""
        free_bytes = shutil.disk_usage(self._root).free
        if free_bytes < size_bytes + self._reserve_bytes:
            raise StorageFull(size_bytes, max(0, free_bytes - self._reserve_bytes))
        return self._uploads.begin(digest, size_bytes)

    def upload(self, upload_id: str) -> Upload:
        """Return where an upload stands; see `BlobStore.upload`."""
        return self._uploads.get(upload_id)

    def append(self, upload_id: str, offset: int, chunks: Iterable[bytes]) -> int:
        """Go on with an upload; see `BlobStore.append`. On a full disk the upload stays and can go on later."""
        return self._uploads.append(upload_id, offset, chunks)

    def complete(self, upload_id: str, digest: str | None = None) -> Blob:
        """Check an upload and make it a blob; see `BlobStore.complete`."""
        return self._uploads.complete(upload_id, digest, self.stat)

    def opened_upload(self, upload_id: str, folder: Path) -> AbstractContextManager[Path]:  # noqa: ARG002
        """Give an upload as a file, where it lies; see `BlobStore.opened_upload`."""
        return self._uploads.opened(upload_id)

    def abort_upload(self, upload_id: str) -> None:
        """Take an upload away; see `BlobStore.abort_upload`."""
        self._uploads.abort(upload_id)

    def remove_stale(self, before: datetime, *, keep: Collection[str] = ()) -> int:
        """Take away temporary files and uploads not touched since then; see `BlobStore.remove_stale`."""
        removed = self._uploads.remove_stale(before, keep)
        for entry in os.scandir(self._tmp):
            try:
                if _time(entry.stat()) < before:
                    Path(entry.path).unlink()
                    removed += 1
            except FileNotFoundError:
                continue
        return removed

    def check(self) -> None:
        """Find out whether the folder can be written to; see `BlobStore.check`."""
        try:
            with self._temporary() as path:
                path.touch()
        except OSError as error:
            raise StoreUnavailable(f"its folder cannot be written to ({os.strerror(error.errno or 0)})") from error

    def _path(self, digest: str) -> Path:
        digits = hex_of(digest)
        return self._objects / digits[:2] / digits[2:]

    def _can_be_renamed(self, path: Path) -> bool:
        """Tell whether the file is on our file system and has no other name, by which its content could change."""
        found = path.lstat()
        return stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and found.st_dev == self._tmp.stat().st_dev

    def _put_own(self, path: Path, expected_digest: str | None) -> Blob:
        """Make a file that nobody else writes to a blob, hashed while it is synced."""
        with path.open("rb", buffering=0) as file, BesideHasher() as hasher, SyncBeside(file.fileno()) as syncing:
            for chunk in chunks_of(file):
                hasher.update(chunk)
            with full_disk_is_typed():
                syncing.finish()
            actual = hasher.digest()
            if expected_digest is not None and actual != expected_digest:
                raise DigestMismatch(expected_digest, actual)
            return self._keep(path, file.fileno(), actual)

    def _keep(self, source: Path, descriptor: int, digest: str) -> Blob:
        """Move a file that holds exactly this content into place, durably; or drop it where the blob is there already."""
        target = self._path(digest)
        is_synced = False
        if not target.exists():
            # Before the lock is taken: a gibibyte may need seconds.
            with full_disk_is_typed():
                sync_data(descriptor)
            is_synced = True
        with full_disk_is_typed(), locked(self._lock, exclusive=False):
            # The first to put a content decides; a later one only renews its time, so that a collector leaves it alone.
            if target.exists():
                os.utime(target)
                source.unlink()
                return self.stat(digest)
            if not is_synced:
                sync_data(descriptor)
            os.utime(descriptor)
            if not target.parent.exists():
                target.parent.mkdir(exist_ok=True, mode=0o700)
                sync_folder(self._objects)
            source.replace(target)
            sync_folder(target.parent)
            os.fchmod(descriptor, 0o400)
            return self.stat(digest)

    @contextmanager
    def _temporary(self) -> Iterator[Path]:
        path = self._tmp / f"{time.time_ns():x}-{uuid.uuid4().hex}"
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)


def _time(found: os.stat_result) -> datetime:
    return datetime.fromtimestamp(found.st_mtime, UTC)


def _range_length(size_bytes: int, offset: int, length: int | None) -> int:
    if offset < 0 or (length is not None and length < 0):
        raise ValueError("offset and length are 0 or more")
    if offset > size_bytes:
        raise ValueError(f"offset {offset} lies behind the end of a blob of {size_bytes} bytes")
    left = size_bytes - offset
    return left if length is None else min(left, length)


def _read_chunks(file: BinaryIO, count: int, *, is_whole: bool) -> Iterator[bytes]:
    """Read `count` bytes; the whole file to its end, so that a file that has grown is noticed by its digest."""
    while is_whole or count > 0:
        chunk = file.read(CHUNK_BYTES if is_whole else min(CHUNK_BYTES, count))
        if not chunk:
            return
        count -= len(chunk)
        yield chunk
