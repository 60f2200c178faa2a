"""What every blob store promises, on a folder and on a real S3."""

from __future__ import annotations

import hashlib
import io
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from blob_store import (
    EMPTY_DIGEST,
    BlobNotFound,
    BlobStore,
    BlobTooLarge,
    DigestMismatch,
    InvalidDigest,
    OffsetMismatch,
    StoreUnavailable,
    UploadIncomplete,
    UploadNotFound,
    fetch_file,
    open_store,
    sha256_of,
)
from demo.real_servers.s3 import S3Server

MIB = 1 << 20
LATER = timedelta(hours=1)


@pytest.fixture(params=["local", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "local":
        return f"file://{tmp_path}/blobs"
    server: S3Server = request.getfixturevalue("s3")
    return server.url(f"{request.node.name}-{os.urandom(4).hex()}".replace("[", "-").replace("]", ""))


@pytest.fixture
def reopen(url: str):
    """Open the same store again, as another process would: nothing in memory is shared."""
    return lambda: open_store(url, credentials=("test-access-key", "test-secret-key"))


@pytest.fixture
def store(reopen) -> BlobStore:
    return reopen()


def content_of(size_bytes: int, seed: int = 0) -> bytes:
    """Bytes that repeat nowhere, quickly made."""
    return (
        hashlib.shake_256(seed.to_bytes(8)).digest(min(size_bytes, MIB)) * -(-size_bytes // MIB)
        if size_bytes > MIB
        else hashlib.shake_256(seed.to_bytes(8)).digest(size_bytes)
    )


class TestPutAndOpen:
    @pytest.mark.parametrize("size_bytes", [0, 1, MIB, MIB + 1, 17 * MIB])
    def test_what_was_put_comes_back(self, store: BlobStore, size_bytes: int) -> None:
        content = content_of(size_bytes)[:size_bytes]
        blob = store.put([content[: size_bytes // 2], b"", content[size_bytes // 2 :]])
        assert (blob.digest, blob.size_bytes) == (sha256_of(content), size_bytes)
        with store.open(blob.digest) as reader:
            assert reader.blob == blob
            assert b"".join(reader) == content

    def test_a_file_object_is_a_source(self, store: BlobStore) -> None:
        assert store.put(io.BytesIO(b"abc"), sha256_of(b"abc")).digest == sha256_of(b"abc")

    def test_bytes_are_refused_because_iterating_them_gives_numbers(self, store: BlobStore) -> None:
        with pytest.raises(TypeError, match="chunks"):
            store.put(b"abc")  # type: ignore[arg-type]

    def test_putting_twice_is_one_blob(self, store: BlobStore) -> None:
        assert store.put([b"abc"]) == store.put([b"a", b"bc"], sha256_of(b"abc"))
        assert [blob.digest for blob in store.iterate()] == [sha256_of(b"abc")]

    @pytest.mark.parametrize("content", [b"abd", b"", content_of(17 * MIB)], ids=["small", "empty", "several parts"])
    def test_content_that_is_not_what_was_said_is_not_stored(self, store: BlobStore, content: bytes) -> None:
        with pytest.raises(DigestMismatch) as caught:
            store.put([content], sha256_of(b"abc"))
        assert (caught.value.expected, caught.value.actual) == (sha256_of(b"abc"), sha256_of(content))
        assert list(store.iterate()) == []

    def test_wrong_content_for_a_blob_that_is_there_is_refused_and_changes_nothing(self, store: BlobStore) -> None:
        store.put([b"abc"])
        with pytest.raises(DigestMismatch):
            store.put([b"abd"], sha256_of(b"abc"))
        assert store.open(sha256_of(b"abc")).read_all() == b"abc"

    def test_a_source_that_fails_leaves_nothing(self, store: BlobStore) -> None:
        def chunks() -> Iterator[bytes]:
            yield content_of(17 * MIB)
            raise ConnectionResetError("gone")

        for digest in (None, sha256_of(b"abc")):
            with pytest.raises(ConnectionResetError):
                store.put(chunks(), digest)
        assert list(store.iterate()) == []
        assert store.remove_stale(datetime.now(UTC) + LATER) == 0

    def test_more_than_the_limit_is_refused(self, store: BlobStore) -> None:
        with pytest.raises(BlobTooLarge, match="10"):
            store.put([b"x" * 11], max_size_bytes=10)
        assert store.put([b"x" * 10], max_size_bytes=10).size_bytes == 10

    def test_a_file_is_stored_and_stays(self, store: BlobStore, tmp_path: Path) -> None:
        path = tmp_path / "model"
        path.write_bytes(content_of(6 * MIB))
        blob = store.put_file(path)
        assert blob.digest == sha256_of(path.read_bytes())
        assert store.put_file(path, blob.digest) == blob

    def test_a_file_that_is_handed_over_is_gone_when_stored_and_stays_when_refused(self, store: BlobStore, tmp_path: Path) -> None:
        path = tmp_path / "model"
        path.write_bytes(b"abc")
        with pytest.raises(DigestMismatch):
            store.put_file(path, sha256_of(b"abd"), take_ownership=True)
        assert path.exists()
        blob = store.put_file(path, sha256_of(b"abc"), take_ownership=True)
        assert not path.exists()
        assert store.open(blob.digest).read_all() == b"abc"

    def test_fetching_makes_a_verified_file(self, store: BlobStore, tmp_path: Path) -> None:
        blob = store.put([content_of(6 * MIB)])
        fetch_file(store, blob.digest, tmp_path / "model")
        assert sha256_of((tmp_path / "model").read_bytes()) == blob.digest

    def test_a_missing_blob_is_an_error_at_once(self, store: BlobStore) -> None:
        for act in (store.open, store.stat):
            with pytest.raises(BlobNotFound, match=EMPTY_DIGEST):
                act(EMPTY_DIGEST)

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "abc",
            "sha256:" + "g" * 64,
            "sha256:" + "A" * 64,
            "sha256:../../etc/passwd",
            "sha256:" + "0" * 65,
            "md5:" + "0" * 64,
            None,
            "sha256:" + "٠" * 64,
            "sha256:" + "0" * 64 + "\n",
        ],
    )
    def test_no_other_text_than_a_digest_reaches_the_store(self, store: BlobStore, text: str) -> None:
        for act in (
            store.open,
            store.stat,
            store.delete,
            lambda digest: store.exists_many([digest]),
        ):
            with pytest.raises(InvalidDigest):
                act(text)

    def test_many_threads_putting_one_content_make_one_blob(self, store: BlobStore) -> None:
        content = content_of(2 * MIB)
        with ThreadPoolExecutor(8) as threads:
            blobs = list(threads.map(lambda _: store.put([content]), range(16)))
        assert {blob.digest for blob in blobs} == {sha256_of(content)}
        assert store.open(blobs[0].digest).read_all() == content


class TestRanges:
    @pytest.mark.parametrize(
        ("offset", "length", "expected"),
        [(0, None, b"0123456789"), (3, None, b"3456789"), (3, 4, b"3456"), (8, 99, b"89"), (10, None, b""), (0, 0, b""), (0, 3, b"012")],
    )
    def test_a_range_is_those_bytes(self, store: BlobStore, offset: int, length: int | None, expected: bytes) -> None:
        blob = store.put([b"0123456789"])
        assert store.open(blob.digest, offset, length).read_all() == expected

    @pytest.mark.parametrize(("offset", "length"), [(-1, None), (11, None), (0, -1)])
    def test_a_range_outside_of_the_blob_is_refused(self, store: BlobStore, offset: int, length: int | None) -> None:
        blob = store.put([b"0123456789"])
        with pytest.raises(ValueError, match="offset"):
            store.open(blob.digest, offset, length)

    def test_a_reader_may_be_left_half_read(self, store: BlobStore) -> None:
        blob = store.put([content_of(6 * MIB)])
        with store.open(blob.digest) as reader:
            assert len(next(reader)) <= MIB
        assert list(reader) == []


class TestManyBlobs:
    def test_existing_digests_are_told_from_missing_ones(self, store: BlobStore) -> None:
        there = {store.put([str(number).encode()]).digest for number in range(40)}
        missing = {sha256_of(b"missing %d" % number) for number in range(40)}
        assert store.exists_many(there | missing) == there
        assert store.exists_many(list(there)[:3] + list(missing)[:3]) == set(list(there)[:3])
        assert store.exists_many(iter([])) == frozenset()

    def test_iterating_gives_every_blob_in_order(self, store: BlobStore) -> None:
        put = [store.put([str(number).encode()]) for number in range(30)]
        assert list(store.iterate()) == sorted(put, key=lambda blob: blob.digest)

    def test_a_deleted_blob_is_gone_and_can_be_put_again(self, store: BlobStore) -> None:
        digest = store.put([b"abc"]).digest
        assert store.delete(digest)
        assert not store.delete(digest)
        assert store.exists_many([digest]) == frozenset()
        assert store.put([b"abc"]).digest == digest

    def test_a_blob_that_was_put_recently_is_not_collected(self, store: BlobStore) -> None:
        blob = store.put([b"abc"])
        assert abs(blob.stored_time - datetime.now(UTC)) < timedelta(minutes=1)
        assert not store.delete(blob.digest, if_stored_before=datetime.now(UTC) - LATER)
        assert store.delete(blob.digest, if_stored_before=datetime.now(UTC) + LATER)


class TestUploads:
    def test_an_upload_in_pieces_becomes_a_blob(self, store: BlobStore) -> None:
        content = content_of(23 * MIB)
        upload_id = store.begin_upload(sha256_of(content), len(content))
        assert store.append(upload_id, 0, [content[: 5 * MIB]]) == 5 * MIB
        assert store.upload(upload_id).offset == 5 * MIB
        assert store.append(upload_id, 5 * MIB, [content[5 * MIB : 22 * MIB], content[22 * MIB :]]) == len(content)
        blob = store.complete(upload_id)
        assert (blob.digest, blob.size_bytes) == (sha256_of(content), len(content))
        assert store.open(blob.digest).read_all() == content

    def test_another_process_can_go_on_and_complete(self, reopen) -> None:
        content = content_of(7 * MIB)
        upload_id = reopen().begin_upload(sha256_of(content), len(content))
        offset = reopen().append(upload_id, 0, [content[: 3 * MIB]])
        assert reopen().append(upload_id, offset, [content[offset:]]) == len(content)
        assert reopen().complete(upload_id).digest == sha256_of(content)

    def test_what_came_before_an_interruption_is_kept(self, store: BlobStore) -> None:
        def interrupted() -> Iterator[bytes]:
            yield b"hello"
            raise ConnectionResetError("gone")

        upload_id = store.begin_upload(sha256_of(b"hello world"), 11)
        with pytest.raises(ConnectionResetError):
            store.append(upload_id, 0, interrupted())
        assert store.upload(upload_id).offset == 5
        store.append(upload_id, 5, [b" world"])
        assert store.open(store.complete(upload_id).digest).read_all() == b"hello world"

    def test_bytes_that_do_not_continue_are_refused_with_the_right_offset(self, store: BlobStore) -> None:
        upload_id = store.begin_upload(sha256_of(b"hello world"), 11)
        store.append(upload_id, 0, [b"hello"])
        for offset in (0, 4, 6):
            with pytest.raises(OffsetMismatch) as caught:
                store.append(upload_id, offset, [b"x"])
            assert caught.value.current_offset == 5

    def test_an_incomplete_upload_says_what_is_missing_and_goes_on(self, store: BlobStore) -> None:
        upload_id = store.begin_upload(sha256_of(b"hello world"), 11)
        store.append(upload_id, 0, [b"hello"])
        with pytest.raises(UploadIncomplete, match="5 of 11"):
            store.complete(upload_id)
        store.append(upload_id, 5, [b" world"])
        assert store.complete(upload_id).size_bytes == 11

    def test_more_than_was_announced_is_refused(self, store: BlobStore) -> None:
        upload_id = store.begin_upload(sha256_of(b"hello"), 5)
        with pytest.raises(BlobTooLarge):
            store.append(upload_id, 0, [b"hello", b" world"])

    def test_wrong_content_is_refused_and_the_upload_is_gone(self, reopen) -> None:
        for open_again in (False, True):
            store = reopen()
            upload_id = store.begin_upload(sha256_of(b"hello"), 5)
            store.append(upload_id, 0, [b"hullo"])
            with pytest.raises(DigestMismatch):
                (reopen() if open_again else store).complete(upload_id)
            with pytest.raises(UploadNotFound):
                store.upload(upload_id)
            assert list(store.iterate()) == []

    def test_completing_again_gives_the_blob_again(self, store: BlobStore) -> None:
        upload_id = store.begin_upload(sha256_of(b"hello"), 5)
        store.append(upload_id, 0, [b"hello"])
        assert store.complete(upload_id) == store.complete(upload_id)

    @pytest.mark.parametrize("is_announced", [True, False])
    def test_completing_from_several_places_at_once_makes_one_blob(self, store: BlobStore, reopen, is_announced: bool) -> None:
        content = content_of(11 * MIB)
        upload_id = store.begin_upload(sha256_of(content) if is_announced else None, len(content))
        store.append(upload_id, 0, [content])
        with ThreadPoolExecutor(4) as threads:
            blobs = list(threads.map(lambda one: one.complete(upload_id, sha256_of(content)), [store, reopen(), store, reopen()]))
        assert {blob.digest for blob in blobs} == {sha256_of(content)}
        assert store.open(blobs[0].digest).read_all() == content

    def test_completing_a_content_that_is_there_already_succeeds(self, store: BlobStore) -> None:
        blob = store.put([b"hello"])
        upload_id = store.begin_upload(blob.digest, 5)
        store.append(upload_id, 0, [b"hello"])
        assert store.complete(upload_id) == blob

    @pytest.mark.parametrize("is_reopened", [False, True])
    def test_the_digest_may_be_told_at_the_end(self, reopen, is_reopened: bool) -> None:
        content = content_of(7 * MIB)
        store = reopen()
        upload_id = store.begin_upload(None, len(content))
        assert sha256_of(content).removeprefix("sha256:") not in upload_id
        offset = store.append(upload_id, 0, [content[: 6 * MIB]])
        assert (store.upload(upload_id).digest, store.upload(upload_id).offset) == (None, 6 * MIB)
        with pytest.raises(UploadIncomplete):
            store.complete(upload_id, sha256_of(content))
        store.append(upload_id, offset, [content[offset:]])
        blob = (reopen() if is_reopened else store).complete(upload_id, sha256_of(content))
        assert (blob.digest, blob.size_bytes) == (sha256_of(content), len(content))
        assert store.complete(upload_id, sha256_of(content)) == blob
        assert store.open(blob.digest).read_all() == content

    def test_no_other_text_than_a_digest_is_announced_or_told(self, store: BlobStore) -> None:
        upload_id = store.begin_upload(None, 0)
        for text in ("", "abc", "sha256:../../etc/passwd", "sha256:" + "A" * 64, "sha256:" + "0" * 65):
            with pytest.raises(InvalidDigest):
                store.begin_upload(text, 0)
            with pytest.raises(InvalidDigest):
                store.complete(upload_id, text)

    def test_without_any_digest_an_upload_stays_as_it_is(self, store: BlobStore) -> None:
        upload_id = store.begin_upload(None, 5)
        store.append(upload_id, 0, [b"hello"])
        with pytest.raises(ValueError, match="no digest was announced"):
            store.complete(upload_id)
        assert store.upload(upload_id).offset == 5
        assert store.complete(upload_id, sha256_of(b"hello")).size_bytes == 5
        with pytest.raises(UploadNotFound):
            store.complete(upload_id)

    @pytest.mark.parametrize("announced", [sha256_of(b"hello"), None], ids=["announced", "not announced"])
    @pytest.mark.parametrize("is_reopened", [False, True])
    def test_another_digest_told_at_the_end_takes_the_upload_away(self, reopen, is_reopened: bool, announced: str | None) -> None:
        store = reopen()
        upload_id = store.begin_upload(announced, 5)
        store.append(upload_id, 0, [b"hello"])
        with pytest.raises(DigestMismatch) as caught:
            (reopen() if is_reopened else store).complete(upload_id, sha256_of(b"hullo"))
        assert (caught.value.expected, caught.value.actual) == (sha256_of(b"hullo"), sha256_of(b"hello"))
        with pytest.raises(UploadNotFound):
            store.upload(upload_id)
        assert list(store.iterate()) == []

    def test_an_upload_of_nothing_is_the_empty_blob(self, store: BlobStore) -> None:
        upload_id = store.begin_upload(EMPTY_DIGEST, 0)
        assert store.append(upload_id, 0, []) == 0
        assert store.complete(upload_id).size_bytes == 0

    def test_an_aborted_upload_is_gone(self, store: BlobStore) -> None:
        upload_id = store.begin_upload(sha256_of(b"hello"), 5)
        store.append(upload_id, 0, [b"he"])
        store.abort_upload(upload_id)
        store.abort_upload(upload_id)
        for act in (store.upload, store.complete, lambda upload: store.append(upload, 2, [b"llo"])):
            with pytest.raises(UploadNotFound):
                act(upload_id)

    @pytest.mark.parametrize(
        "upload_id",
        ["", "x", "../../etc/passwd", "0" * 32, f".{'0' * 32}", f"{'0' * 64}.{'0' * 32}", f"{'0' * 64}./../{'0' * 26}", "0" * 64, None],
    )
    def test_an_id_that_nobody_got_is_not_found(self, store: BlobStore, upload_id: str) -> None:
        for act in (
            store.upload,
            store.complete,
            lambda upload: store.complete(upload, sha256_of(b"x")),
            lambda upload: store.append(upload, 0, [b"x"]),
        ):
            with pytest.raises(UploadNotFound):
                act(upload_id)
        store.abort_upload(upload_id)

    @pytest.mark.parametrize("announced", [sha256_of(b"hello"), None], ids=["announced", "not announced"])
    def test_stale_uploads_are_removed_and_recent_ones_stay(self, store: BlobStore, announced: str | None) -> None:
        upload_id = store.begin_upload(announced, 5)
        store.append(upload_id, 0, [b"he"])
        assert store.remove_stale(datetime.now(UTC) - LATER) == 0
        assert store.upload(upload_id).offset == 2
        assert store.remove_stale(datetime.now(UTC) + LATER, keep={upload_id}) == 0
        assert store.upload(upload_id).offset == 2
        assert store.remove_stale(datetime.now(UTC) + LATER) == 1
        with pytest.raises(UploadNotFound):
            store.upload(upload_id)

    def test_what_an_upload_has_is_a_file_until_the_block_ends(self, store: BlobStore, tmp_path: Path) -> None:
        content = content_of(20 * MIB)
        upload_id = store.begin_upload(None, len(content) + 1)
        folder = tmp_path / "copies"
        folder.mkdir()
        with store.opened_upload(upload_id, folder) as path:
            assert path.read_bytes() == b""
        store.append(upload_id, 0, [content[: 18 * MIB]])
        store.append(upload_id, 18 * MIB, [content[18 * MIB :]])
        with store.opened_upload(upload_id, folder) as path:
            # Whoever takes it away meanwhile takes nothing from who reads it.
            store.abort_upload(upload_id)
            assert path.read_bytes() == content
            assert path.read_bytes() == content
        assert [*folder.iterdir()] == []
        with pytest.raises(UploadNotFound), store.opened_upload(upload_id, folder):
            pass

    def test_of_two_writers_the_content_is_never_mixed(self, store: BlobStore, reopen) -> None:
        """One hangs in the middle of sending; another one resumes and completes; then the first wakes up."""
        content = content_of(12 * MIB)
        upload_id = store.begin_upload(sha256_of(content), len(content))
        store.append(upload_id, 0, [content[: 5 * MIB]])
        first_has_sent, second_is_done = threading.Event(), threading.Event()

        def hanging() -> Iterator[bytes]:
            yield content[5 * MIB : 6 * MIB]
            first_has_sent.set()
            assert second_is_done.wait(60)
            yield b"?" * (len(content) - 6 * MIB)

        def send_first() -> None:
            with pytest.raises((OffsetMismatch, UploadNotFound)):
                reopen().append(upload_id, 5 * MIB, hanging())

        with ThreadPoolExecutor(1) as threads:
            first = threads.submit(send_first)
            assert first_has_sent.wait(60)
            offset = store.upload(upload_id).offset
            store.append(upload_id, offset, [content[offset:]])
            blob = store.complete(upload_id)
            second_is_done.set()
            first.result(60)
        assert store.open(blob.digest).read_all() == content


def test_a_store_that_works_passes_its_check(store: BlobStore) -> None:
    store.check()


def test_an_s3_that_is_not_there_is_unavailable() -> None:
    store = open_store("s3://mlmesh/?endpoint=http://127.0.0.1:1", credentials=("key", "secret"))
    with pytest.raises(StoreUnavailable, match="reached"):
        store.check()
    with pytest.raises(StoreUnavailable):
        store.put([b"abc"])


def test_a_missing_bucket_and_a_wrong_key_are_unavailable(s3: S3Server) -> None:
    with pytest.raises(StoreUnavailable, match="no bucket 'other'"):
        open_store(s3.url().replace(s3.bucket, "other"), credentials=s3.credentials).check()
    with pytest.raises(StoreUnavailable):
        open_store(s3.url(), credentials=("wrong", "wrong")).put([b"abc"])
