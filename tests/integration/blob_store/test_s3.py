"""What only an S3 has: parts, pieces, and times that others set."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from blob_store import BlobStore, DigestMismatch, sha256_of
from blob_store.s3 import S3BlobStore, connect
from demo.real_servers.s3 import S3Server
from tests.unit.blob_store.upload_machine import upload_machine

MIB = 1 << 20


@pytest.fixture
def store(s3: S3Server) -> S3BlobStore:
    client = connect(s3.endpoint, credentials=s3.credentials)
    return S3BlobStore(client, s3.bucket, os.urandom(8).hex(), part_bytes=5 * MIB, renew_after=timedelta(0))


def test_uploads_do_what_the_model_says_whatever_happens_in_which_order(s3: S3Server) -> None:
    numbers = itertools.count()

    def new_store() -> Callable[[], BlobStore]:
        prefix = f"machine/{next(numbers)}"
        return lambda: S3BlobStore(connect(s3.endpoint, credentials=s3.credentials), s3.bucket, prefix, part_bytes=5 * MIB)

    run_state_machine_as_test(
        upload_machine(new_store, scale=MIB // 2),
        settings=settings(max_examples=15, stateful_step_count=10, deadline=None, suppress_health_check=list(HealthCheck)),
    )


def test_putting_again_renews_the_time(store: S3BlobStore) -> None:
    before = store.put([b"abc"])
    deadline = datetime.now(UTC) + timedelta(seconds=30)
    while (after := store.put([b"abc"])).stored_time == before.stored_time:
        assert datetime.now(UTC) < deadline
    assert after == before
    assert store.open(before.digest).read_all() == b"abc"


def test_refused_content_of_many_parts_leaves_neither_parts_nor_threads(store: S3BlobStore) -> None:
    for _ in range(3):
        with pytest.raises(DigestMismatch):
            store.put([b"x" * MIB] * 17, sha256_of(b"abc"))
    assert store.remove_stale(datetime.now(UTC) + timedelta(hours=1)) == 0
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("blob-")]


def test_parts_that_a_killed_writer_left_are_removed(store: S3BlobStore, s3: S3Server) -> None:
    key = store._key(sha256_of(b"abc"))
    store._client._create_multipart_upload(s3.bucket, key, {})
    assert store.remove_stale(datetime.now(UTC) - timedelta(hours=1)) == 0
    assert store.remove_stale(datetime.now(UTC) + timedelta(hours=1)) == 1


def test_joined_pieces_are_the_content(store: S3BlobStore) -> None:
    content = os.urandom(13 * MIB)
    upload_id = store.begin_upload(sha256_of(content), len(content))
    store.append(upload_id, 0, [content])
    blob = store.complete(upload_id)
    assert store.open(blob.digest).read_all() == content
    assert store.remove_stale(datetime.now(UTC) + timedelta(hours=1)) == 0


@pytest.fixture(scope="module")
def store_of_several_pages(s3: S3Server) -> S3BlobStore:
    store = S3BlobStore(connect(s3.endpoint, credentials=s3.credentials), s3.bucket, os.urandom(8).hex())
    with ThreadPoolExecutor(8) as threads:
        keys = [store._key(sha256_of(str(number).encode())) for number in range(1300)]
        list(threads.map(lambda key: store._client._put_object(store._bucket, key, b"x"), keys))
    return store


@pytest.mark.parametrize("wanted", [5, 40, 1200])
def test_existing_digests_are_found_in_a_store_of_several_pages(store_of_several_pages: S3BlobStore, wanted: int) -> None:
    digests = [sha256_of(str(number).encode()) for number in range(0, 1300, 1300 // wanted)]
    missing = [sha256_of(f"missing {number}".encode()) for number in range(wanted)]
    assert store_of_several_pages.exists_many(digests + missing) == set(digests)
    assert len(list(store_of_several_pages.iterate())) == 1300
