"""The files of a version: which there are, and one digest for all of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from model_management.errors import InvalidValue
from model_management.values import check_path

__all__ = ["FileEntry", "check_files", "files_digest"]

MAX_FILES = 10_000


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of a version.

    Args:
        path: Relative, with ``/``.
        digest: ``sha256:`` and 64 hexadecimal digits.
        size_bytes: Its length.
    """

    path: str
    digest: str
    size_bytes: int


def files_digest(files: Sequence[FileEntry]) -> str:
    """Return the digest over paths and digests of files: one name for the whole artifact."""
    lines = "".join(f"{entry.digest}  {entry.path}\n" for entry in sorted(files, key=lambda entry: entry.path))
    return f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"


def check_files(files: Sequence[FileEntry]) -> tuple[FileEntry, ...]:
    """Return files sorted by path.

    Raises:
        InvalidValue: If there are too many, a path leaves its folder or occurs twice, or a file has the path of a folder.
    """
    for entry in files:
        check_path(entry.path)
    ordered = tuple(sorted(files, key=lambda entry: entry.path))
    if len(ordered) > MAX_FILES:
        raise InvalidValue("files", f"has {len(ordered):,} entries; at most {MAX_FILES:,} are allowed")
    paths = {entry.path for entry in ordered}
    if len(paths) != len(ordered):
        raise InvalidValue("files", "has a path twice")
    for path in paths:
        parts = path.split("/")
        if any("/".join(parts[:depth]) in paths for depth in range(1, len(parts))):
            raise InvalidValue("files", f"{path!r} lies in a folder that is itself a file")
    return ordered
