from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from blob_store import LocalBlobStore, open_store


def test_a_file_url_opens_a_folder(tmp_path: Path) -> None:
    store = open_store(f"file://{tmp_path}/with%20space")
    assert isinstance(store, LocalBlobStore)
    assert (tmp_path / "with space" / "objects").is_dir()


def test_an_s3_url_opens_a_bucket_without_asking_it_anything() -> None:
    store = open_store("s3://bucket/a/b?endpoint=http://127.0.0.1:1&region=eu-west-1&renew_after_s=60", credentials=("key", "secret"))
    assert repr(store) == "S3BlobStore('bucket', 'a/b/objects/')"


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("", "not a blob store"),
        ("/folder", "not a blob store"),
        ("ftp://host/folder", "not a blob store"),
        ("s3://", "not a blob store"),
        ("file:folder", "absolute"),
        ("file://host/folder", "absolute"),
        ("file:///folder?x=1", "absolute"),
        ("s3://bucket?endpoint=127.0.0.1:9000", "endpoint of the form"),
        ("s3://bucket?endpoint=http://user:secret@host", "endpoint of the form"),
        ("s3://bucket?end_point=http://host", "unknown options"),
        ("s3://bucket?renew_after_s=soon", "whole number of seconds"),
        ("s3://bucket?renew_after_s=-1", "whole number of seconds"),
        ("s3://key:secret@bucket/prefix", "credentials"),
    ],
)
def test_a_url_that_means_nothing_is_refused_and_its_secrets_are_not_repeated(url: str, what: str) -> None:
    with pytest.raises(ValueError, match=what) as caught:
        open_store(url)
    assert "key:secret" not in str(caught.value)


def test_a_folder_does_not_cost_the_import_of_the_s3_sdk() -> None:
    code = "import sys, blob_store; sys.exit('minio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
