"""Sources and tables in a real S3."""

from __future__ import annotations

import io
import uuid
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode

from blob_store.s3 import connect
from demo.real_servers.s3 import S3Server
from servers.ingestion.data_process import DataProcesses, OperationFailed
from tests.integration.ingestion.data_process.conftest import MakeProcesses, ingestion


@pytest.fixture
def prefix(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """A place of this test alone, with credentials for it."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.secret_key)
    return f"data-process/{uuid.uuid4().hex}"


@pytest.fixture
def settings(s3: S3Server, prefix: str) -> dict[str, Any]:
    return {
        "tables_url": f"s3://{s3.bucket}/{prefix}/tables?endpoint={s3.endpoint}",
        "allowed_sources": (f"s3://{s3.bucket}/{prefix}/in",),
        "s3_endpoint": s3.endpoint,
    }


@pytest.fixture
def processes(make: MakeProcesses, settings: dict[str, Any]) -> DataProcesses:
    return make(**settings)


def put(s3: S3Server, key: str, content: bytes) -> str:
    connect(s3.endpoint, credentials=s3.credentials).put_object(s3.bucket, key, io.BytesIO(content), len(content))
    return f"s3://{s3.bucket}/{key}"


def scratch_files(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "scratch").rglob("*") if path.is_file() and path.suffix != ".lock"]


def test_an_object_becomes_rows_of_a_table_in_s3(processes: DataProcesses, s3: S3Server, prefix: str, tmp_path: Path) -> None:
    uri = put(s3, f"{prefix}/in/a.csv", b"id\n" + b"\n".join(b"%d" % each for each in range(1000)))
    result = processes.run("ingest", ingestion(uri))
    assert (result["rows_written"], result["dataset"]["row_count"]) == (1000, 1000)
    assert processes.run("ingest", ingestion(uri))["was_delivered_before"] is True
    dataset = {"project": "p", "dataset": "flights"}
    assert processes.run("describe", dataset) == result["dataset"]
    shown = processes.run("preview", dataset | {"limit": 1000})
    assert sorted(row["id"] for row in shown["rows"]) == list(range(1000))
    assert processes.run("versions", dataset | {"limit": 1})[0]["ingestion_id"] == "1"
    assert scratch_files(tmp_path) == []
    processes.run("delete", dataset)
    with pytest.raises(OperationFailed, match="has no table"):
        processes.run("describe", dataset)


@pytest.mark.parametrize(
    ("tail", "reason"),
    [("in/none.csv", "SOURCE_NOT_FOUND"), ("in-not/a.csv", "SOURCE_NOT_ALLOWED"), ("in/../a.csv", "INVALID_SOURCE_URI")],
)
def test_an_object_that_is_not_there_or_elsewhere_is_refused(
    processes: DataProcesses, s3: S3Server, prefix: str, tail: str, reason: str
) -> None:
    with pytest.raises(OperationFailed) as caught:
        processes.run("ingest", ingestion(f"s3://{s3.bucket}/{prefix}/{tail}"))
    assert caught.value.reason == reason


def test_an_object_beyond_the_limit_is_refused(
    make: MakeProcesses, settings: dict[str, Any], s3: S3Server, prefix: str, tmp_path: Path
) -> None:
    uri = put(s3, f"{prefix}/in/a.csv", b"a\n123\n")
    processes = make(**settings, max_file_bytes=5)
    with pytest.raises(OperationFailed) as caught:
        processes.run("ingest", ingestion(uri))
    assert (caught.value.code, caught.value.reason) == (StatusCode.RESOURCE_EXHAUSTED, "FILE_TOO_LARGE")
    assert scratch_files(tmp_path) == []
    assert make(**settings, max_file_bytes=6).run("ingest", ingestion(uri))["rows_written"] == 1


def test_credentials_that_are_refused_are_in_no_error(
    make: MakeProcesses,
    settings: dict[str, Any],
    s3: S3Server,
    prefix: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "wrong-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret")
    with pytest.raises(OperationFailed) as caught:
        make(**settings).run("ingest", ingestion(f"s3://{s3.bucket}/{prefix}/in/a.csv"))
    assert caught.value.reason in ("SOURCE_NOT_READABLE", "SOURCE_UNAVAILABLE")
    assert "wrong-" not in caught.value.message + capfd.readouterr().err


def test_an_s3_that_does_not_answer_is_unavailable(make: MakeProcesses, settings: dict[str, Any], s3: S3Server, prefix: str) -> None:
    with pytest.raises(OperationFailed) as caught:
        make(**(settings | {"s3_endpoint": "http://127.0.0.1:9"})).run("ingest", ingestion(f"s3://{s3.bucket}/{prefix}/in/a.csv"))
    assert (caught.value.code, caught.value.reason) == (StatusCode.UNAVAILABLE, "SOURCE_UNAVAILABLE")
    assert caught.value.retry_after_s == 5
