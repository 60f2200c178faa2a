"""What may become part of a path, and what a root of tables looks like."""

from __future__ import annotations

from pathlib import Path

import pytest

from servers.ingestion.table_errors import InvalidTableName
from servers.ingestion.tables import Tables, s3_options


@pytest.mark.parametrize(
    ("project", "name"),
    [
        ("..", "a"),
        ("a/b", "a"),
        ("", "a"),
        ("A", "a"),
        ("a", ".."),
        ("a", "a/b"),
        ("a", ""),
        ("a", "_delta_log"),
        ("a", "a\n"),
        ("a", "x" * 128),
        ("a", "é"),
        ("a", "a\0"),
    ],
)
def test_names_that_could_leave_their_folder_are_refused(tmp_path: Path, project: str, name: str) -> None:
    with pytest.raises(InvalidTableName, match="allowed are"):
        Tables(tmp_path.as_uri()).table(project, name)


@pytest.mark.parametrize(
    "root",
    [
        "",
        "/tmp/x",
        "file://host/x",
        "file:relative",
        "s3://",
        "s3://UP/x",
        "s3://a@b/x",
        "s3://bucket/../x",
        "gs://b/x",
        "s3://bucket/x?y=z",
    ],
)
def test_a_root_is_a_folder_or_an_s3(root: str) -> None:
    with pytest.raises(ValueError, match="allowed are"):
        Tables(root)


def test_plain_http_has_to_be_allowed_and_credentials_are_optional() -> None:
    assert s3_options("http://127.0.0.1:9", ("key", "secret")) == {
        "AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret",
    }  # fmt: skip
    assert s3_options(None, region="eu-north-1") == {"AWS_REGION": "eu-north-1"}
