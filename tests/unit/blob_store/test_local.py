from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from blob_store import DigestMismatch, LocalBlobStore, StorageFull, StoreUnavailable, fetch_file, sha256_of
from tests.clean_fork import run_in_fork
from tests.unit.blob_store.killed_writer import CONTENT, write_and_die

MIB = 1 << 20


@pytest.fixture
def store(tmp_path: Path) -> LocalBlobStore:
    return LocalBlobStore(tmp_path / "store")


def files_of(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and path.name != "lock")


def test_a_blob_is_a_read_only_file_under_its_digits(store: LocalBlobStore, tmp_path: Path) -> None:
    digits = store.put([b"abc"]).digest.removeprefix("sha256:")
    path = tmp_path / "store" / "objects" / digits[:2] / digits[2:]
    assert path.read_bytes() == b"abc"
    assert path.stat().st_mode & 0o777 == 0o400


def test_content_that_has_rotted_is_noticed_at_the_end_of_reading(store: LocalBlobStore, tmp_path: Path) -> None:
    blob = store.put([b"a" * 3 * MIB])
    path = tmp_path / "store" / files_of(tmp_path / "store")[0]
    path.chmod(0o600)
    for rotten in (b"a" * (3 * MIB - 1) + b"b", b"a" * MIB, b"a" * 4 * MIB):
        path.write_bytes(rotten)
        with pytest.raises(DigestMismatch), store.open(blob.digest) as reader:
            for _ in reader:
                pass
        with pytest.raises(DigestMismatch):
            fetch_file(store, blob.digest, tmp_path / "out")
        assert not list(tmp_path.glob("*out*"))
        assert not list(tmp_path.glob(".*part"))


def test_a_file_that_is_handed_over_is_moved_not_copied(store: LocalBlobStore, tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(b"abc")
    os.utime(path, (0, 0))
    inode = path.stat().st_ino
    blob = store.put_file(path, take_ownership=True)
    assert (tmp_path / "store" / files_of(tmp_path / "store")[0]).stat().st_ino == inode
    assert blob.stored_time > datetime.now(UTC) - timedelta(minutes=1)


@pytest.mark.parametrize("make_second_name", [os.link, os.symlink])
def test_a_file_with_a_second_name_is_copied_because_that_name_could_change_it(
    store: LocalBlobStore, tmp_path: Path, make_second_name
) -> None:
    path, other = tmp_path / "model", tmp_path / "other"
    path.write_bytes(b"abc")
    make_second_name(path, other)
    blob = store.put_file(other, take_ownership=True)
    assert not other.is_symlink()
    assert not other.exists()
    path.write_bytes(b"abd")
    assert store.open(blob.digest).read_all() == b"abc"


def test_foreign_files_among_the_objects_are_not_blobs(store: LocalBlobStore, tmp_path: Path) -> None:
    blob = store.put([b"abc"])
    (tmp_path / "store" / "objects" / "ab").mkdir()
    (tmp_path / "store" / "objects" / "ab" / "notes.txt").touch()
    assert list(store.iterate()) == [blob]


def test_what_a_killed_writer_left_is_removed_when_it_is_old(store: LocalBlobStore, tmp_path: Path) -> None:
    (tmp_path / "store" / "tmp" / "left").write_bytes(b"x")
    assert store.remove_stale(datetime.now(UTC) - timedelta(hours=1)) == 0
    assert store.remove_stale(datetime.now(UTC) + timedelta(hours=1)) == 1
    assert files_of(tmp_path / "store") == []


def test_putting_again_renews_the_time_so_that_a_collector_leaves_the_blob(store: LocalBlobStore, tmp_path: Path) -> None:
    blob = store.put([b"abc"])
    os.utime(tmp_path / "store" / files_of(tmp_path / "store")[0], (0, 0))
    assert store.stat(blob.digest).stored_time.year == 1970
    store.put([b"abc"])
    assert not store.delete(blob.digest, if_stored_before=datetime.now(UTC) - timedelta(minutes=1))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_a_typed_error_and_leaves_nothing(
    store: LocalBlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    real_write = os.write

    def write(descriptor: int, chunk: memoryview) -> int:
        if len(chunk) <= 100:
            raise OSError(number, os.strerror(number))
        return real_write(descriptor, chunk[:100])

    monkeypatch.setattr("blob_store.durable_files.os.write", write)
    with pytest.raises(StorageFull, match="make room"):
        store.put([b"x" * 250])
    upload_id = store.begin_upload(sha256_of(b"x" * 250), 250)
    with pytest.raises(StorageFull):
        store.append(upload_id, 0, [b"x" * 250])
    monkeypatch.undo()
    assert not [name for name in files_of(tmp_path / "store") if name.startswith(("tmp", "objects"))]
    # Half a chunk is taken back, so that the upload can go on when there is room again.
    assert store.upload(upload_id).offset == 0
    store.append(upload_id, 0, [b"x" * 250])
    assert store.complete(upload_id).size_bytes == 250


def run(code: str, *args: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", textwrap.dedent(code), *map(str, args)], capture_output=True, text=True, timeout=120)


def test_a_file_system_that_refuses_to_grow_a_file_is_full(tmp_path: Path) -> None:
    """The kernel itself refuses here, as it does for a quota."""
    result = run(
        """
        import resource, sys
        from pathlib import Path
        from blob_store import LocalBlobStore, StorageFull
        store = LocalBlobStore(Path(sys.argv[1]))
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        try:
            store.put([b"x" * (1 << 19)] * 5)
        except StorageFull:
            print("full")
        """,
        tmp_path,
    )
    assert (result.stdout, result.stderr) == ("full\n", "")
    assert files_of(tmp_path) == []


def test_a_folder_that_is_gone_is_unavailable(tmp_path: Path) -> None:
    store = LocalBlobStore(tmp_path / "store")
    (tmp_path / "store" / "tmp").rmdir()
    with pytest.raises(StoreUnavailable, match="No such file"):
        store.check()


@pytest.mark.parametrize("way", ["put", "put_file", "upload", "upload without a digest"])
def test_killed_at_any_system_call_a_blob_is_there_whole_or_not_at_all(tmp_path: Path, way: str) -> None:
    seen: set[bool] = set()
    for at in range(1, 200):
        root = tmp_path / f"{way}-{at}"
        ending = run_in_fork(partial(write_and_die, root, way, at))
        if ending.status == 0:
            break
        assert ending.status == -signal.SIGKILL, ending
        store = LocalBlobStore(root)
        found = [store.open(blob.digest).read_all() for blob in store.iterate()]
        assert found in ([], [CONTENT])
        seen.add(bool(found))
        # Whoever comes after can do it all, and nothing of the dead one stays.
        assert store.put([CONTENT]).digest == sha256_of(CONTENT)
        store.remove_stale(datetime.now(UTC) + timedelta(hours=1))
        assert [name.split("/")[0] for name in files_of(root)] == ["objects"]
    else:
        pytest.fail("the writer never came to its end")
    assert seen == {True, False}
    assert len(ending.answer) == at - 1 > 10


@pytest.mark.parametrize("way", ["upload", "upload without a digest"])
def test_killed_while_completing_an_upload_can_be_completed_by_somebody_else(tmp_path: Path, way: str) -> None:
    outcomes: set[str] = set()
    for at in range(1, 200):
        root = tmp_path / str(at)
        ending = run_in_fork(partial(write_and_die, root, way, at))
        if ending.status == 0:
            break
        assert ending.status == -signal.SIGKILL, ending
        store = LocalBlobStore(root)
        for upload_id in uploads_of(root):
            if not (root / "uploads" / upload_id / "data").exists():
                outcomes.add("stored already")
            else:
                offset = store.upload(upload_id).offset
                assert offset in (0, 2500, 5000, 7500, 10000)
                outcomes.add(f"at {offset}")
                store.append(upload_id, offset, [CONTENT[offset:]])
            assert store.open(store.complete(upload_id, sha256_of(CONTENT)).digest).read_all() == CONTENT
    assert {"at 0", "at 2500", "at 5000", "at 7500", "at 10000", "stored already"} <= outcomes


def uploads_of(root: Path) -> Iterator[str]:
    return (path.name for path in (root / "uploads").iterdir() if not path.name.startswith("."))
