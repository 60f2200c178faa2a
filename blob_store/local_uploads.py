"""Resumable uploads in a local folder.

An upload is a folder: ``begun`` (what was announced), ``data`` (what has come; its size is the offset) and ``writer`` (whose turn it is).
Somebody who resumes takes the turn: the connection of the one before may hang for minutes, and must not write into what the new one
sends. So every chunk is written under a lock, after a look at whose turn it is.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from blob_store.digest import CHUNK_BYTES, BesideHasher, digest_of
from blob_store.durable_files import SyncAlong, full_disk_is_typed, sync_data, sync_folder, write_all
from blob_store.errors import (
    BlobNotFound,
    BlobTooLarge,
    DigestMismatch,
    OffsetMismatch,
    UploadIncomplete,
    UploadNotFound,
)
from blob_store.store import Blob, Upload, UploadId, chunks_of
from blob_store.upload_hashes import UploadHashes

if TYPE_CHECKING:
    from hashlib import _Hash

__all__ = ["LocalUploads"]

_TURN_BYTES = 16
_DESCRIPTORS = Path("/proc/self/fd")


class LocalUploads:
    """The uploads of one `LocalBlobStore`.

    Args:
        root: The folder they are in.
        keep: Makes a file a blob: (path, descriptor, digest) -> blob.
    """

    def __init__(self, root: Path, keep: Callable[[Path, int, str], Blob]) -> None:
        self._root = root
        self._keep = keep
        self._hashes = UploadHashes()

    def begin(self, digest: str | None, size_bytes: int) -> str:
        """Announce an upload and return its id."""
        upload_id = UploadId.new(digest)
        if size_bytes < 0:
            raise ValueError(f"an upload has 0 bytes or more, not {size_bytes}")
        folder = self._root / str(upload_id)
        new = self._root / f".{secrets.token_hex(16)}"
        with full_disk_is_typed():
            new.mkdir(mode=0o700)
            (new / "data").touch(mode=0o600)
            (new / "writer").write_bytes(secrets.token_bytes(_TURN_BYTES))
            (new / "begun").write_text(json.dumps({"digest": digest, "size_bytes": size_bytes}))
            sync_folder(new)
            new.replace(folder)
            sync_folder(self._root)
        return str(upload_id)

    def get(self, upload_id: str) -> Upload:
        """Return where an upload stands."""
        folder = self._folder(upload_id)
        try:
            begun = json.loads((folder / "begun").read_text())
            return Upload(upload_id, begun["digest"], begun["size_bytes"], (folder / "data").stat().st_size)
        except FileNotFoundError:
            raise UploadNotFound(upload_id) from None

    def append(self, upload_id: str, offset: int, chunks: Iterable[bytes]) -> int:
        """Go on with an upload and return where it stands then."""
        with self._opened(upload_id) as (upload, data, writer):
            with _lock(data):
                turn_before = os.pread(writer, _TURN_BYTES, 0)
                stands_at = os.fstat(data).st_size
                if offset != stands_at:
                    raise OffsetMismatch(offset, stands_at)
                turn = secrets.token_bytes(_TURN_BYTES)
                os.pwrite(writer, turn, 0)
            running = self._hashes.take(upload_id, offset, turn_before)
            # Without the hash of what came before, nothing is hashed here: completing reads it all.
            with BesideHasher(running) as hasher, SyncAlong(data) as syncing:
                written = offset
                try:
                    for chunk in chunks_of(chunks):
                        self._write_chunk(upload, data, writer, turn, written, chunk)
                        with full_disk_is_typed():
                            syncing.written(len(chunk))
                        written += len(chunk)
                        if running is not None:
                            hasher.update(chunk)
                finally:
                    with full_disk_is_typed():
                        syncing.finish()
                        sync_data(data)
                    if running is not None:
                        self._hashes.keep(upload_id, written, hasher.finish(), turn)
        return written

    def complete(self, upload_id: str, told: str | None, stat: Callable[[str], Blob]) -> Blob:
        """Check an upload, make it a blob, and forget the upload.

        Args:
            upload_id: Which.
            told: Digest of the whole; None = the one that was announced.
            stat: Looks a blob up.
        """
        folder = self._folder(upload_id)
        expected = UploadId.parse(upload_id).expected(told)
        try:
            with self._opened(upload_id) as (upload, data, writer), _lock(data):
                if not _is_still_at(folder / "data", data):
                    raise UploadNotFound(upload_id)
                turn = os.pread(writer, _TURN_BYTES, 0)
                stands_at = os.fstat(data).st_size
                if stands_at != upload.size_bytes:
                    raise UploadIncomplete(upload.size_bytes, stands_at)
                if expected is None:
                    raise ValueError("no digest was announced for this upload; tell it to complete it")
                running = self._hashes.take(upload_id, stands_at, turn) or _hash_of(data)
                # Nobody who still has the file open may write to it from here on: it is a blob now.
                os.pwrite(writer, secrets.token_bytes(_TURN_BYTES), 0)
                actual = digest_of(running.hexdigest())
                if actual != expected:
                    shutil.rmtree(folder, ignore_errors=True)
                    raise DigestMismatch(expected, actual)
                blob = self._keep(folder / "data", data, actual)
                shutil.rmtree(folder, ignore_errors=True)
                return blob
        except UploadNotFound:
            if expected is None:
                raise
            try:
                return stat(expected)
            except BlobNotFound:
                raise UploadNotFound(upload_id) from None

    def abort(self, upload_id: str) -> None:
        """Take an upload away; one who still sends gets `UploadNotFound` or `OffsetMismatch`."""
        try:
            with self._opened(upload_id) as (_, data, writer), _lock(data):
                os.pwrite(writer, secrets.token_bytes(_TURN_BYTES), 0)
                shutil.rmtree(self._folder(upload_id), ignore_errors=True)
        except UploadNotFound:
            return

    @contextmanager
    def opened(self, upload_id: str) -> Iterator[Path]:
        """Give an upload as a file; what is removed meanwhile can be read to its end."""
        path = self._folder(upload_id) / "data"
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            raise UploadNotFound(upload_id) from None
        try:
            opened = _DESCRIPTORS / str(descriptor)
            yield opened if opened.exists() else path
        finally:
            os.close(descriptor)

    def remove_stale(self, before: datetime, keep: Collection[str]) -> int:
        """Take away uploads that nobody wrote to since then."""
        removed = 0
        for entry in os.scandir(self._root):
            folder = Path(entry.path)
            if entry.name in keep:
                continue
            try:
                touched = max([folder.stat().st_mtime, *(found.stat().st_mtime for found in os.scandir(folder))])
            except (FileNotFoundError, NotADirectoryError):
                continue
            if datetime.fromtimestamp(touched, UTC) < before:
                shutil.rmtree(folder, ignore_errors=True)
                removed += 1
        return removed

    def _folder(self, upload_id: str) -> Path:
        return self._root / str(UploadId.parse(upload_id))

    @contextmanager
    def _opened(self, upload_id: str) -> Iterator[tuple[Upload, int, int]]:
        folder = self._folder(upload_id)
        opened: list[int] = []
        try:
            try:
                opened.append(os.open(folder / "data", os.O_RDWR))
                opened.append(os.open(folder / "writer", os.O_RDWR))
                upload = self.get(upload_id)
            except FileNotFoundError:
                raise UploadNotFound(upload_id) from None
            yield upload, opened[0], opened[1]
        finally:
            for descriptor in opened:
                os.close(descriptor)

    def _write_chunk(self, upload: Upload, data: int, writer: int, turn: bytes, offset: int, chunk: bytes) -> None:
        if offset + len(chunk) > upload.size_bytes:
            raise BlobTooLarge(upload.size_bytes)
        with _lock(data):
            if os.pread(writer, _TURN_BYTES, 0) != turn:
                raise OffsetMismatch(offset, os.fstat(data).st_size)
            os.lseek(data, offset, os.SEEK_SET)
            try:
                with full_disk_is_typed():
                    write_all(data, chunk)
            except BaseException:
                os.ftruncate(data, offset)
                raise


@contextmanager
def _lock(descriptor: int) -> Iterator[None]:
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def _is_still_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _hash_of(descriptor: int) -> _Hash:
    os.lseek(descriptor, 0, os.SEEK_SET)
    with BesideHasher() as hasher:
        while chunk := os.read(descriptor, CHUNK_BYTES):
            hasher.update(chunk)
        return hasher.finish()
