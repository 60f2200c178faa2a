"""Quarantines in a folder and in a real S3, and a real ingestion server in two shapes."""

from __future__ import annotations

import uuid
from datetime import timedelta
from pathlib import Path

import pytest

from demo.real_servers.s3 import S3Server
from servers.ingestion.tables import Tables, s3_options
from tests.integration.ingestion.quarantine.bench import Bench
from tests.integration.ingestion.server.conftest import folder_place, mesh, s3_access, server

__all__ = ["folder_place", "mesh", "s3_access", "server"]


@pytest.fixture(params=["folder", "s3"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    (tmp_path / "scratch").mkdir()
    if request.param == "folder":
        tables = Tables((tmp_path / "with space").as_uri(), spool_folder=tmp_path / "scratch", shortest_retention=timedelta(0))
    else:
        s3: S3Server = request.getfixturevalue("s3")
        options = s3_options(s3.endpoint, s3.credentials)
        root = f"s3://{s3.bucket}/quarantine/{uuid.uuid4().hex}"
        tables = Tables(root, options, spool_folder=tmp_path / "scratch", shortest_retention=timedelta(0))
    return Bench.of(tables, tmp_path)
