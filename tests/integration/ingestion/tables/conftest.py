"""Tables in a folder and in a real S3."""

from __future__ import annotations

import uuid
from datetime import timedelta
from pathlib import Path

import pytest

from demo.real_servers.s3 import S3Server
from servers.ingestion.tables import DatasetTable, Tables, s3_options


@pytest.fixture(params=["folder", "s3"])
def tables(request: pytest.FixtureRequest, tmp_path: Path) -> Tables:
    if request.param == "folder":
        return Tables((tmp_path / "with space").as_uri(), shortest_retention=timedelta(0))
    server: S3Server = request.getfixturevalue("s3")
    root = f"s3://{server.bucket}/tables/{uuid.uuid4().hex}"
    return Tables(root, s3_options(server.endpoint, server.credentials), shortest_retention=timedelta(0))


@pytest.fixture
def table(tables: Tables) -> DatasetTable:
    return tables.table("project", "flights")
