from __future__ import annotations

import errno
import os

import pytest

from blob_store import LocalBlobStore, StorageFull, durable_files, sha256_of
from blob_store.durable_files import SyncAlong

PIECE = b"x" * (1 << 20)


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How large the file was at each sync."""
    sizes: list[int] = []
    monkeypatch.setattr(durable_files, "sync_data", lambda descriptor: sizes.append(os.fstat(descriptor).st_size))
    return sizes


def test_a_growing_file_is_synced_piece_by_piece(tmp_path, synced):
    with (tmp_path / "data").open("wb", buffering=0) as file, SyncAlong(file.fileno()) as syncing:
        for _ in range(40):
            file.write(PIECE)
            syncing.written(len(PIECE))
        syncing.finish()

    assert len(synced) >= 1
    assert synced[0] >= 16 << 20
    assert synced == sorted(synced)


def test_a_small_file_is_left_to_whoever_syncs_it_at_its_end(tmp_path, synced):
    with (tmp_path / "data").open("wb", buffering=0) as file, SyncAlong(file.fileno()) as syncing:
        file.write(PIECE)
        syncing.written(len(PIECE))
        syncing.finish()

    assert synced == []


def test_bytes_that_do_not_reach_the_disk_fail_the_upload_and_not_only_its_end(tmp_path, monkeypatch):
    store = LocalBlobStore(tmp_path)
    content = PIECE * 64
    upload_id = store.begin_upload(sha256_of(content), len(content))

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(durable_files, "sync_data", full)
    with pytest.raises(StorageFull):
        store.append(upload_id, 0, iter([PIECE] * 64))
