"""Files with secrets: mode 0600 from their first byte, whole or not there at all."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

_MODE = 0o600
_FOLDER_MODE = 0o700


def write_secret(path: Path, content: bytes) -> None:
    """Writes or replaces a file, durably and in one step.

    Args:
        path: The file. Folders that are missing are made with mode 0700.
        content: What it holds afterwards.

    Raises:
        OSError: It cannot be written.
    """
    temporary = _written_beside(path, content)
    temporary.replace(path)
    _sync_folder(path.parent)


def read_or_create_secret(path: Path, size_bytes: int) -> bytes:
    """Reads a random secret, making it first where it is missing.

    Of several processes that start at the same time, one makes it and all read the same.

    Args:
        path: The file.
        size_bytes: Length of the secret.

    Returns:
        The secret.

    Raises:
        ValueError: The file has another size, so it is damaged or something else.
        OSError: It cannot be read or written.
    """
    if not path.exists():
        temporary = _written_beside(path, secrets.token_bytes(size_bytes))
        try:
            os.link(temporary, path)
        except FileExistsError:
            pass
        finally:
            temporary.unlink()
        _sync_folder(path.parent)
    content = path.read_bytes()
    if len(content) != size_bytes:
        raise ValueError(
            f"{path.name} holds {len(content)} bytes and not {size_bytes}; restore it from a backup, or remove it to have another one made"
        )
    return content


def read_secret(path: Path) -> bytes | None:
    """The content of a file; None where there is none."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _written_beside(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True, mode=_FOLDER_MODE)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _MODE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
