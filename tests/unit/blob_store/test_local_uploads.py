from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from blob_store import BlobStore, LocalBlobStore, StorageFull, sha256_of
from tests.unit.blob_store.upload_machine import upload_machine


def test_uploads_do_what_the_model_says_whatever_happens_in_which_order(tmp_path: Path) -> None:
    numbers = itertools.count()

    def new_store() -> Callable[[], BlobStore]:
        root = tmp_path / str(next(numbers))
        shutil.rmtree(tmp_path / str(int(root.name) - 1), ignore_errors=True)
        return lambda: LocalBlobStore(root)

    run_state_machine_as_test(
        upload_machine(new_store, scale=1),
        settings=settings(max_examples=150, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)),
    )


def test_an_upload_that_finds_no_room_is_refused_before_its_first_byte(tmp_path: Path) -> None:
    store = LocalBlobStore(tmp_path)
    with pytest.raises(StorageFull, match=r"bytes needed, [\d,]+ free"):
        store.begin_upload(sha256_of(b""), shutil.disk_usage(tmp_path).free)


@pytest.mark.parametrize("announced", [sha256_of(b"hello world"), None], ids=["announced", "told at the end"])
def test_an_upload_can_be_completed_without_reading_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, announced: str | None
) -> None:
    store = LocalBlobStore(tmp_path)
    upload_id = store.begin_upload(announced, 11)
    store.append(upload_id, 0, [b"hello"])
    store.append(upload_id, 5, [b" world"])
    monkeypatch.setattr("blob_store.local_uploads._hash_of", lambda _: pytest.fail("the upload was read again"))
    assert store.complete(upload_id, sha256_of(b"hello world")).size_bytes == 11
