"""Real processing and ingestion servers in two shapes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from demo.real_servers.s3 import S3Server
from tests.integration.ingestion.server.places import FolderPlace, Place, S3Place
from tests.integration.ingestion.server.served import Mesh, small_mesh
from tests.integration.processing.server.served import ServedProcessing, served


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
def server(request: pytest.FixtureRequest, mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedProcessing]:
    """`local`: SQLite, tables in folders. `s3`: PostgreSQL, tables in an S3."""
    place: Place
    if request.param == "local":
        place, database_url = FolderPlace(tmp_path_factory.mktemp("place")), ""
    else:
        place, database_url = S3Place(request.getfixturevalue("s3_access")), request.getfixturevalue("postgresql").new_database()
    with served(mesh, place, database_url=database_url) as running:
        yield running


@pytest.fixture(scope="module")
def local(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedProcessing]:
    """SQLite, and tables in folders."""
    with served(mesh, FolderPlace(tmp_path_factory.mktemp("place"))) as running:
        yield running
