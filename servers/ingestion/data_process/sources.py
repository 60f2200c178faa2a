"""A source as a local file, for as long as it is read."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from servers.ingestion.data_process.allowed_sources import AllowedFile, AllowedSources
from servers.ingestion.data_process.source_errors import InvalidSourceUri, SourceNotAllowed, SourceNotFound, SourceNotReadable
from servers.ingestion.errors import FileTooLarge

_DIRECTORY = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_DESCRIPTORS = Path("/proc/self/fd")


@dataclass(frozen=True, slots=True)
class LocalSource:
    """A file that can be read."""

    path: Path
    """Where it is. Its name says nothing."""
    name: str
    """What the sender calls it."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Fetches sources."""

    allowed: AllowedSources
    s3_endpoint: str
    """Of the S3 that `s3://` sources are in; empty = AWS."""
    scratch_folder: Path
    """For downloads."""
    max_file_bytes: int
    """Largest file that a request may name."""
    uploads_url: str = ""
    """Of the blob store that has uploads; empty = there is none."""

    @contextmanager
    def opened(self, source: Mapping[str, Any]) -> Iterator[LocalSource]:
        """Gives a source as a file, as long as the block runs.

        Args:
            source: `{"kind": "file", "path": …, "name": …}`, which the server wrote itself, `{"kind": "upload", "blob_id": …, "name": …}`,
                or `{"kind": "uri", "uri": …}` from a request.

        Raises:
            InvalidSourceUri: INVALID_ARGUMENT: the URI names no file and no object.
            SourceNotAllowed: INVALID_ARGUMENT: it lies where the server may not read.
            SourceNotFound: NOT_FOUND: it is not there.
            SourceNotReadable: FAILED_PRECONDITION: the server is not let in.
            SourceUnavailable: UNAVAILABLE: the S3 does not answer.
            FileTooLarge: RESOURCE_EXHAUSTED: it is larger than allowed.
        """
        if source["kind"] == "file":
            path = Path(source["path"])
            if not path.is_file():
                raise SourceNotFound(source["name"])
            yield LocalSource(path, source["name"])
            return
        if source["kind"] == "upload":
            from servers.ingestion.data_process.uploads import uploaded

            with uploaded(self.uploads_url, source["blob_id"], source["name"], self.scratch_folder) as path:
                yield LocalSource(path, source["name"])
            return
        found = self.allowed.allowed(source["uri"])
        if isinstance(found, AllowedFile):
            with _opened_file(found, self.max_file_bytes) as path:
                yield LocalSource(path, found.name)
            return
        # Importing the SDK takes half a second and 25 MB, which files need not pay.
        from servers.ingestion.data_process.s3_download import downloaded

        with downloaded(found, self.s3_endpoint, self.scratch_folder, self.max_file_bytes) as path:
            yield LocalSource(path, found.name)


@contextmanager
def _opened_file(file: AllowedFile, max_bytes: int) -> Iterator[Path]:
    try:
        descriptor = _descriptor(file)
    except (FileNotFoundError, NotADirectoryError):
        raise SourceNotFound(file.name) from None
    except PermissionError:
        raise SourceNotReadable(file.name, "permission denied") from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise SourceNotAllowed from None
        if error.errno == errno.ENAMETOOLONG:
            raise SourceNotFound(file.name) from None
        raise SourceNotReadable(file.name, error.strerror or type(error).__name__) from error
    try:
        if (size_bytes := os.fstat(descriptor).st_size) > max_bytes:
            raise FileTooLarge(f"it has {size_bytes:,} bytes, and at most {max_bytes:,} are allowed. Split it", file=file.name)
        # Readers open it by its descriptor: by its name they might find another file.
        opened = _DESCRIPTORS / str(descriptor)
        yield opened if opened.exists() else Path(file.folder, *file.below)
    finally:
        os.close(descriptor)


def _descriptor(file: AllowedFile) -> int:
    """Opens a file folder by folder, so that a link which somebody puts there after the check leads nowhere."""
    folder = os.open(file.folder, _DIRECTORY)
    try:
        for name in file.below[:-1]:
            inner = os.open(name, _DIRECTORY, dir_fd=folder)
            os.close(folder)
            folder = inner
        # Looked at before it is opened: opening a device may already do something.
        _check_regular(os.stat(file.name, dir_fd=folder, follow_symlinks=False))
        descriptor = os.open(file.name, _FILE, dir_fd=folder)
    finally:
        os.close(folder)
    try:
        _check_regular(os.fstat(descriptor))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check_regular(status: os.stat_result) -> None:
    if stat.S_ISLNK(status.st_mode):
        raise SourceNotAllowed
    if not stat.S_ISREG(status.st_mode):
        raise InvalidSourceUri("names a folder, a pipe or a device")
