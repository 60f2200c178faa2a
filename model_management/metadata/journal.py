"""A snapshot and an append log in a folder: durable, locked between processes, and whole after any crash.

Each line is ``<CRC-32> <JSON>``. A write appends one line under an exclusive lock and syncs it; a crash leaves at most one torn line at
the end, which nobody reads and the next writer cuts off. When the log has outgrown the snapshot, the writer makes a new snapshot beside
the old one, which names a new log, and renames it into place: readers see the old pair or the new one.
"""

from __future__ import annotations

import errno
import fcntl
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import orjson

from model_management.errors import MetadataUnavailable, StorageFull

__all__ = ["Journal"]

COMPACT_FROM_BYTES = 1 << 20
"""A log smaller than this is never compacted."""

_SNAPSHOT = "snapshot.jsonl"
_FORMAT = 1
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Journal:
    """The files of one registry. Not for use by several threads at once; several processes may.

    Args:
        folder: Where they are; made where it does not exist.
        compact_from_bytes: A log smaller than this is never compacted.
    """

    def __init__(self, folder: Path, *, compact_from_bytes: int = COMPACT_FROM_BYTES) -> None:
        self._folder = folder
        self._compact_from_bytes = compact_from_bytes
        self._snapshot_seen: tuple[int, int] | None = None
        self._snapshot_bytes = 0
        self._log = ""
        self._offset = 0
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self.locked(exclusive=True):
            if not self._path(_SNAPSHOT).exists():
                self.compact(())

    @contextmanager
    def locked(self, *, exclusive: bool, name: str = "lock") -> Iterator[None]:
        """Hold the lock against other threads and processes, shared or exclusive; the system frees it when they die."""
        with _full_disk_is_typed():
            descriptor = os.open(self._folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
            yield
        finally:
            os.close(descriptor)

    def news(self) -> tuple[bool, list[Any]]:
        """Return what was written since the last call; under the lock.

        Returns:
            Whether to begin from nothing, because the snapshot is a new one, and the changes in order.

        Raises:
            MetadataUnavailable: If a line before the last is damaged.
        """
        found = self._path(_SNAPSHOT).stat()
        is_new = (found.st_ino, found.st_mtime_ns) != self._snapshot_seen
        changes: list[Any] = []
        if is_new:
            content = self._path(_SNAPSHOT).read_bytes()
            (header, *changes), end = _read_lines(content, _SNAPSHOT)
            if end != len(content) or header.get("format") != _FORMAT or header.get("lines") != len(changes):
                raise MetadataUnavailable(f"{self._path(_SNAPSHOT)} is incomplete or of another format; restore it from a backup")
            self._snapshot_seen, self._snapshot_bytes = (found.st_ino, found.st_mtime_ns), found.st_size
            self._log, self._offset = header["log"], 0
        if self._path(self._log).stat().st_size > self._offset:
            with self._path(self._log).open("rb") as file:
                file.seek(self._offset)
                lines, end = _read_lines(file.read(), self._log)
            self._offset += end
            changes += [change for line in lines for change in line]
        return is_new, changes

    def append(self, changes: list[Any]) -> bool:
        """Write changes durably, all or none; under the exclusive lock and after `news`.

        Returns:
            Whether the log has outgrown the snapshot, so that `compact` is due.

        Raises:
            StorageFull: If there is no space left. Nothing was written.
        """
        line = _line(changes)
        with _full_disk_is_typed():
            descriptor = os.open(self._path(self._log), os.O_WRONLY | os.O_CLOEXEC)
            try:
                # Cuts off what a writer left that died in the middle of a line.
                os.ftruncate(descriptor, self._offset)
                self._write(descriptor, line)
            finally:
                os.close(descriptor)
        self._offset += len(line)
        return self._offset > max(self._compact_from_bytes, self._snapshot_bytes)

    def compact(self, changes: Iterable[Any]) -> None:
        """Make a snapshot of changes that say all there is, and begin a new log; under the exclusive lock."""
        number = int(self._log.removeprefix("log-").removesuffix(".jsonl") or 0) + 1
        log = f"log-{number}.jsonl"
        lines = list(changes)
        content = b"".join(_line(line) for line in ({"format": _FORMAT, "log": log, "lines": len(lines)}, *lines))
        part = self._path(f"{_SNAPSHOT}.part")
        with _full_disk_is_typed():
            _write_durably(self._path(log), b"")
            _write_durably(part, content)
            part.replace(self._path(_SNAPSHOT))
            _sync_folder(self._folder)
        found = self._path(_SNAPSHOT).stat()
        self._snapshot_seen, self._snapshot_bytes = (found.st_ino, found.st_mtime_ns), found.st_size
        self._log, self._offset = log, 0
        for old in self._folder.glob("log-*.jsonl"):
            if old.name != log:
                old.unlink()

    def check(self) -> None:
        """Find out whether the files can be read.

        Raises:
            MetadataUnavailable: If not.
        """
        try:
            self._path(_SNAPSHOT).stat()
        except OSError as error:
            raise MetadataUnavailable(f"{self._path(_SNAPSHOT)} cannot be read ({error.strerror})") from error

    def _path(self, name: str) -> Path:
        return self._folder / name

    def _write(self, descriptor: int, line: bytes) -> None:
        try:
            os.lseek(descriptor, self._offset, os.SEEK_SET)
            view = memoryview(line)
            while view:
                view = view[os.write(descriptor, view) :]
            getattr(os, "fdatasync", os.fsync)(descriptor)
        except OSError:
            # What is on the disk must not look like a success later.
            with suppress(OSError):
                os.ftruncate(descriptor, self._offset)
            raise


def _line(value: Any) -> bytes:
    body = orjson.dumps(value)
    return b"%08x %b\n" % (zlib.crc32(body), body)


def _read_lines(content: bytes, name: str) -> tuple[list[Any], int]:
    """Return the values of all whole lines, and where they end; a torn line at the very end is left out."""
    values = []
    end = 0
    while end < len(content):
        newline = content.find(b"\n", end)
        line = content[end : newline if newline >= 0 else len(content)]
        is_last = newline < 0 or newline + 1 == len(content)
        if newline < 0 or not _is_whole(line):
            if is_last:
                break
            raise MetadataUnavailable(f"{name} is damaged at byte {end}; restore it from a backup")
        values.append(orjson.loads(line[9:]))
        end = newline + 1
    return values, end


def _is_whole(line: bytes) -> bool:
    return len(line) > 9 and line[:8] == b"%08x" % zlib.crc32(line[9:])


def _write_durably(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _full_disk_is_typed() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFull("for metadata") from error
        raise
