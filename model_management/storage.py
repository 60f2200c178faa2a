"""The files of a version: from a folder into blobs, and back."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Protocol, TypeVar

from blob_store import Blob, BlobNotFound, BlobReader, DigestMismatch
from blob_store import StorageFull as BlobStorageFull
from model_management.errors import FileDamaged, InvalidValue, StorageFull
from model_management.model import FileEntry, ModelVersion

__all__ = ["ArtifactBlobs", "ArtifactStorage", "full_disk_is_typed"]

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_WORKERS = 4
_PREFIX = "artifact-"

_Input = TypeVar("_Input")
_Output = TypeVar("_Output")


class ArtifactBlobs(Protocol):
    """As much of a `BlobStore` as saving and loading need, so that it can be far away."""

    def put_file(self, path: Path, expected_digest: str | None = None, *, take_ownership: bool = False) -> Blob:
        """Store a file; see `BlobStore.put_file`."""
        ...

    def open(self, digest: str, offset: int = 0, length: int | None = None) -> BlobReader:
        """Read a blob; see `BlobStore.open`."""
        ...


class ArtifactStorage:
    """Files in blobs, and room to work on them.

    Args:
        blobs: Where the blobs are.
        workspace: Folder for files that come and go; on the file system of a local blob store, so that files move instead of being
            copied. Made where it does not exist.
    """

    def __init__(self, blobs: ArtifactBlobs, workspace: Path) -> None:
        self.blobs = blobs
        self._workspace = workspace

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """Give an empty folder that is gone afterwards.

        Raises:
            StorageFull: If the block found no space left.
        """
        with full_disk_is_typed():
            self._workspace.mkdir(parents=True, exist_ok=True, mode=0o700)
            path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=self._workspace))
            with _in_use(path):
                try:
                    yield path
                finally:
                    shutil.rmtree(path, ignore_errors=True)

    def keep(self, folder: Path) -> tuple[FileEntry, ...]:
        """Store all files of a folder; the folder is used up.

        Args:
            folder: Made by us, so that its files may become the blobs.

        Returns:
            The files, sorted by path.

        Raises:
            InvalidValue: If there are none, or something else than files.
            StorageFull: If there is no space left.
        """
        paths = sorted(_files_of(folder))
        if not paths:
            raise InvalidValue("files", "the artifact has no files")
        with full_disk_is_typed():
            blobs = _in_parallel(lambda path: self.blobs.put_file(path, take_ownership=True), paths)
        return tuple(
            FileEntry(path.relative_to(folder).as_posix(), blob.digest, blob.size_bytes) for path, blob in zip(paths, blobs, strict=True)
        )

    def fetch(self, version: ModelVersion, folder: Path) -> None:
        """Write all files of a version into a folder, each verified while it is read.

        Args:
            version: Whose files.
            folder: Where to; exists. Files of the same names are replaced.

        Raises:
            FileDamaged: If a file is missing or is not what was saved.
            StorageFull: If there is no space left.
        """
        for parent in {(folder / entry.path).parent for entry in version.files}:
            parent.mkdir(parents=True, exist_ok=True)
        with full_disk_is_typed():
            _in_parallel(lambda entry: self._fetch_one(version, entry, folder / entry.path), version.files)

    def clean(self, before: datetime) -> int:
        """Take away folders that interrupted processes left, not touched since a time; return how many.

        Several registries may share a workspace: what one of them works on is left alone, however long ago it began.
        """
        if not self._workspace.exists():
            return 0
        removed = 0
        for entry in os.scandir(self._workspace):
            # Others come and go meanwhile.
            with suppress(FileNotFoundError):
                if entry.name.startswith(_PREFIX) and entry.stat().st_mtime < before.timestamp() and not _is_in_use(entry.path):
                    shutil.rmtree(entry.path, ignore_errors=True)
                    removed += 1
        return removed

    def _fetch_one(self, version: ModelVersion, entry: FileEntry, path: Path) -> None:
        part = path.with_name(f".{path.name[:200]}.part")
        try:
            with self.blobs.open(entry.digest) as reader, part.open("wb", buffering=0) as file:
                for chunk in reader:
                    view = memoryview(chunk)
                    while view:
                        view = view[file.write(view) :]
            part.replace(path)
        except BlobNotFound as error:
            raise FileDamaged(version.model, version.version, entry.path, "it is missing from the storage") from error
        except DigestMismatch as error:
            raise FileDamaged(version.model, version.version, entry.path, "its content has changed") from error
        finally:
            part.unlink(missing_ok=True)


@contextmanager
def full_disk_is_typed() -> Iterator[None]:
    """Turn the system's and the blob store's ways of saying "no space left" into the registry's `StorageFull`."""
    try:
        yield
    except BlobStorageFull as error:
        raise StorageFull("for artifacts") from error
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFull("for artifacts") from error
        raise


def _files_of(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = Path(root) / name
            if path.is_symlink() or not (path.is_dir() or path.is_file()):
                raise InvalidValue("files", f"{path.relative_to(folder)} is neither file nor folder; links and devices are not stored")
        yield from (Path(root) / name for name in names)


@contextmanager
def _in_use(folder: Path) -> Iterator[None]:
    """Mark a folder by a lock, which the system frees when the process dies."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


def _is_in_use(folder: str) -> bool:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _in_parallel(work: Callable[[_Input], _Output], inputs: Iterable[_Input]) -> list[_Output]:
    """Run a function on each input, several at once: each waits for the disk to sync."""
    todo = list(inputs)
    if len(todo) < 2:
        return [work(one) for one in todo]
    with ThreadPoolExecutor(min(_WORKERS, len(todo)), thread_name_prefix="artifact") as pool:
        return list(pool.map(work, todo))
