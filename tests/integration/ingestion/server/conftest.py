"""A real ingestion server in two shapes, each with data processes of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.real_servers.s3 import S3Server
from tests.integration.ingestion.server.places import FolderPlace, Place, S3Place
from tests.integration.ingestion.server.served import Mesh, ServedIngestion, served, small_mesh


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    """A users server."""
    with small_mesh() as running:
        yield running


@pytest.fixture(scope="module")
def s3_access(s3: S3Server) -> Iterator[S3Server]:
    """An S3, and credentials for it in the environment."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ACCESS_KEY_ID", s3.access_key)
        environment.setenv("AWS_SECRET_ACCESS_KEY", s3.secret_key)
        yield s3


@pytest.fixture(scope="module", params=["local", "s3"])
def server(request: pytest.FixtureRequest, mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedIngestion]:
    """`local`: SQLite, tables and sources in folders. `s3`: PostgreSQL, tables and sources in an S3."""
    place: Place
    if request.param == "local":
        place, database_url = FolderPlace(tmp_path_factory.mktemp("place")), ""
    else:
        place, database_url = S3Place(request.getfixturevalue("s3_access")), request.getfixturevalue("postgresql").new_database()
    with served(mesh, place, database_url=database_url) as running:
        yield running


@pytest.fixture
def folder_place(tmp_path: Path) -> FolderPlace:
    """Folders of this test alone."""
    return FolderPlace(tmp_path / "place")
