"""Nothing of a file that is not right gets into a dataset, and its sender learns what is wrong with it and where."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from mlops.common.v1.job_pb2 import JOB_STATE_FAILED, JOB_STATE_SUCCEEDED
from mlops.ingestion.v1 import ingestion_pb2

from tests.bad_files import BAD_FILES, BadFile
from tests.integration.ingestion.server.places import FolderPlace, rows_of
from tests.integration.ingestion.server.served import ServedIngestion, reason_of
from tests.integration.runtime.rich_errors import refused

GOOD = b"id,name\n1,x\n2,y\n"


@pytest.fixture(params=BAD_FILES)
def bad(request: pytest.FixtureRequest) -> BadFile:
    return BAD_FILES[request.param]


@pytest.fixture(scope="module")
def existing(server: ServedIngestion) -> str:
    """A dataset with two rows."""
    dataset = server.new_dataset()
    assert server.ingest(dataset, GOOD, "good.csv").state == JOB_STATE_SUCCEEDED
    return dataset


@dataclass(frozen=True)
class Stand:
    """What there is."""

    table_files: dict[str, int]
    scratch_files: list[str]
    version: int
    rows: list[dict[str, Any]]


def stand(server: ServedIngestion, dataset: str) -> Stand:
    table = server.place.table(dataset)
    # Sketches of earlier datasets may still be on their way.
    files = {path: size for path, size in server.place.table_files().items() if "/_profiles/" not in path}
    return Stand(files, server.scratch_files(), table.version(), rows_of(table).to_pylist())


@contextmanager
def nothing_changes(server: ServedIngestion, existing: str) -> Iterator[None]:
    """Whatever the block sends, files of tables, temporary files, version and rows are afterwards what they were."""
    before = stand(server, existing)
    assert before.scratch_files == []
    yield
    assert stand(server, existing) == before


def check_refused(ingestion: ingestion_pb2.Ingestion, bad: BadFile) -> None:
    assert ingestion.state == JOB_STATE_FAILED, ingestion
    assert reason_of(ingestion) == bad.reason, ingestion.error.message
    assert ingestion.error.message.startswith(bad.message_start)
    assert not ingestion.HasField("version")
    assert (ingestion.rows_added, ingestion.rows_updated) == (0, 0)


def test_a_bad_file_becomes_no_dataset_and_changes_none(server: ServedIngestion, existing: str, bad: BadFile) -> None:
    dataset, uri = server.new_dataset(), server.place.put(bad.name, bad.data)

    with nothing_changes(server, existing):
        check_refused(server.ingest(dataset, uri, read=bad.read), bad)
        given = (bad.data, bad.name) if bad.is_inline else (uri,)
        check_refused(server.ingest(existing, *given, read=bad.read, mode=ingestion_pb2.WRITE_MODE_OVERWRITE), bad)

    assert not server.exists(dataset)


FREEZE = ingestion_pb2.CONTRACT_MODE_FREEZE


@pytest.mark.parametrize(
    ("data", "more", "reason"),
    [
        (b"id,name\n3,z\n4.5,x\n", {"schema_contract": {"types": FREEZE}}, "VALUE_DOES_NOT_FIT"),
        (b"id,name\n9223372036854775808,z\n0.5,x\n", {"schema_contract": {"types": FREEZE}}, "VALUE_DOES_NOT_FIT"),
        (b"id,name,other\n3,z,1\n", {"schema_contract": {"columns": FREEZE}}, "SCHEMA_FROZEN"),
        (b"id,name\n3,z\n", {"mode": ingestion_pb2.WRITE_MODE_UPSERT}, "UPSERT_KEYS_INVALID"),
        (b"id,name\n3,z\n", {"mode": ingestion_pb2.WRITE_MODE_UPSERT, "keys": ["none"]}, "UPSERT_KEYS_INVALID"),
        (b"id,name\n3,z\n", {"keys": ["id"]}, "UPSERT_KEYS_INVALID"),
        (b"id,NAME\n3,z\n", {}, "COLUMN_INVALID"),
    ],
)
def test_a_good_file_that_does_not_go_with_the_dataset_changes_nothing(
    server: ServedIngestion, existing: str, data: bytes, more: dict[str, Any], reason: str
) -> None:
    uri = server.place.put("good.csv", data)
    with nothing_changes(server, existing):
        ingestion = server.ingest(existing, uri, **more)

        assert (ingestion.state, reason_of(ingestion)) == (JOB_STATE_FAILED, reason), ingestion


def test_a_message_may_have_to_show_a_nul(server: ServedIngestion, existing: str) -> None:
    with nothing_changes(server, existing):
        ingestion = server.ingest(existing, GOOD, "good.csv", read={"column_types": {"id": "struct<a\0: int64>"}})

        assert (ingestion.state, reason_of(ingestion)) == (JOB_STATE_FAILED, "VALUE_DOES_NOT_FIT")
        assert "struct<a␀: int64>" in ingestion.error.message


def test_a_file_without_rows_is_a_dataset_without_rows(server: ServedIngestion) -> None:
    dataset = server.new_dataset()

    ingestion = server.ingest(dataset, b"id,name\n", "header-only.csv")

    assert (ingestion.state, ingestion.rows_added) == (JOB_STATE_SUCCEEDED, 0)
    found = rows_of(server.place.table(dataset))
    assert (found.column_names, found.num_rows) == (["id", "name"], 0)


@pytest.mark.parametrize(
    "name", ["../../../../escaped.csv", "/etc/escaped.csv", "a\\b\0c.csv", "~/escaped.csv", "'\n;rm -rf.csv", "x" * 251 + ".csv"]
)
def test_the_name_of_a_file_leads_nowhere(server: ServedIngestion, existing: str, name: str) -> None:
    dataset = server.new_dataset()

    assert server.ingest(dataset, GOOD, name).state == JOB_STATE_SUCCEEDED
    with nothing_changes(server, existing):
        refusal = server.ingest(existing, b"a,b\n1\n", name)

    # Databases keep no NUL.
    assert (reason_of(refusal), refusal.source) == ("RAGGED_ROW", name.replace("\0", "␀"))
    assert {path.split("/")[1] for path in server.place.table_files()} >= {dataset, existing}
    assert not any("escaped" in path for path in server.place.table_files())


@pytest.mark.parametrize(
    "dataset", ["", "..", "../x", "a/b", "/a", "a\\b", ".a", "-a", "a\n", "a\0b", "a%2fb", "é", "a b", "a" * 128, "_delta_log"]
)
def test_datasets_have_plain_names(server: ServedIngestion, existing: str, dataset: str) -> None:
    with nothing_changes(server, existing):
        refusal = refused(lambda: server.start(dataset, GOOD, "good.csv"))

        assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
        assert "dataset" in refusal.fields


@pytest.mark.parametrize("project", ["..", "../x", "a/b", "A", "-a", "a\n", "a_b", "a" * 64])
def test_projects_have_plain_names(server: ServedIngestion, existing: str, project: str) -> None:
    with nothing_changes(server, existing):
        refusal = refused(lambda: server.start("good", GOOD, "good.csv", project=project))

        assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT


def _elsewhere(allowed: str) -> list[tuple[str, str]]:
    bucket = allowed.removeprefix("s3://").partition("/")[0] if allowed.startswith("s3") else "mlmesh"
    return [
        ("file:///etc/passwd", "SOURCE_NOT_ALLOWED"),
        (allowed, "SOURCE_NOT_ALLOWED"),
        (f"{allowed}-not/good.csv", "SOURCE_NOT_ALLOWED"),
        (f"s3://{bucket}/other/good.csv", "SOURCE_NOT_ALLOWED"),
        (f"{allowed}/../good.csv", "INVALID_SOURCE_URI" if allowed.startswith("s3") else "SOURCE_NOT_ALLOWED"),
        (f"{allowed}/%2e%2e/good.csv", "INVALID_SOURCE_URI" if allowed.startswith("s3") else "SOURCE_NOT_ALLOWED"),
        (f"{allowed}/good.csv?versionId=1", "INVALID_SOURCE_URI"),
        (f"{allowed}/a%00.csv", "INVALID_SOURCE_URI"),
        (f"{allowed}/a\\..\\b.csv", "INVALID_SOURCE_URI"),
        (f"{allowed}/%ff.csv", "INVALID_SOURCE_URI"),
        ("file://elsewhere/etc/passwd", "INVALID_SOURCE_URI"),
        ("s3://key:secret@bucket/good.csv", "INVALID_SOURCE_URI"),
        ("http://169.254.169.254/latest/meta-data", "INVALID_SOURCE_URI"),
        ("/etc/passwd", "INVALID_SOURCE_URI"),
    ]


def test_uris_lead_nowhere_else(server: ServedIngestion, existing: str) -> None:
    with nothing_changes(server, existing):
        for uri, reason in _elsewhere(server.place.sources_url):
            refusal = refused(partial(server.start, existing, uri))

            assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, reason), uri
            assert "secret" not in refusal.message


def test_what_is_not_there_is_named(server: ServedIngestion, existing: str) -> None:
    with nothing_changes(server, existing):
        ingestion = server.ingest(existing, f"{server.place.sources_url}/none.csv")

        assert (ingestion.state, reason_of(ingestion)) == (JOB_STATE_FAILED, "SOURCE_NOT_FOUND")
        assert "none.csv" in ingestion.error.message


def test_links_lead_nowhere(server: ServedIngestion, existing: str, tmp_path: Path) -> None:
    if not isinstance(server.place, FolderPlace):
        pytest.skip("an S3 has no links")
    (tmp_path / "secret.csv").write_bytes(GOOD)
    file, folder = server.place.sources / "link.csv", server.place.sources / "link"
    file.symlink_to(tmp_path / "secret.csv")
    folder.symlink_to(tmp_path)

    with nothing_changes(server, existing):
        for uri in (file.as_uri(), f"{folder.as_uri()}/secret.csv"):
            refusal = refused(partial(server.start, existing, uri))

            assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "SOURCE_NOT_ALLOWED")
