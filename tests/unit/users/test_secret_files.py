from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from servers.users.secret_files import read_or_create_secret, read_secret, write_secret


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_secret_is_readable_for_its_owner_only(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write_secret(tmp_path / "deep" / "folder" / "key", b"secret")
    finally:
        os.umask(before)

    assert mode(tmp_path / "deep" / "folder" / "key") == 0o600
    assert mode(tmp_path / "deep" / "folder") == 0o700


def test_a_secret_is_replaced_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(b"old and much longer")
    file.chmod(0o644)

    write_secret(file, b"new")

    assert file.read_bytes() == b"new"
    assert mode(file) == 0o600
    assert list(tmp_path.iterdir()) == [file]


def test_a_failed_write_leaves_the_old_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "key"
    write_secret(file, b"old")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_secret(file, b"new")

    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


def test_of_many_that_start_at_once_all_read_the_same_secret(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        secrets = set(pool.map(lambda _: read_or_create_secret(tmp_path / "secrets" / "kek", 32), range(8)))

    assert len(secrets) == 1
    assert len(secrets.pop()) == 32
    assert [file.name for file in (tmp_path / "secrets").iterdir()] == ["kek"]


def test_a_damaged_secret_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "kek").write_bytes(b"short")

    with pytest.raises(ValueError, match="5 bytes and not 32"):
        read_or_create_secret(tmp_path / "kek", 32)


def test_a_missing_secret_is_none(tmp_path: Path) -> None:
    assert read_secret(tmp_path / "nothing") is None
