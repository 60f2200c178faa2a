"""The provider in a real Airflow, in a venv of its own, against a whole mesh."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url

from demo.real_servers.postgresql import PostgresqlServer
from tests.whole_mesh import WholeMesh, whole_mesh

SUITE = Path(__file__).parent / "suite"
VENV = Path(os.environ.get("AIRFLOW_VENV") or Path(__file__).parents[3] / ".venv-airflow")
LEAST_CASES = 64
# Two minutes on an idle machine, and ten on a busy one; what never comes meets the patience of its own case long before.
PATIENCE_S = 1500


@pytest.fixture(scope="module")
def landing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder whose files the mesh may ingest."""
    return tmp_path_factory.mktemp("landing")


@pytest.fixture(scope="module")
def mesh(landing: Path) -> Iterator[WholeMesh]:
    assert (VENV / "bin" / "airflow").exists(), "Airflow has a venv of its own: run this by `make test-compat`"
    settings = {
        "MLMESH_INGESTION_ALLOWED_SOURCES": json.dumps([landing.as_uri()]),
        # With one a job takes as long as a test wants.
        "MLMESH_PROCESSING_ALLOWS_PYTHON_FUNCTIONS": "true",
    }
    with whole_mesh(settings) as running:
        yield running


def database_of_an_airflow(server: PostgresqlServer) -> str:
    return make_url(server.new_database()).set(drivername="postgresql+psycopg2").render_as_string(hide_password=False)


@pytest.mark.timeout(PATIENCE_S + 100)
def test_every_case_passes_in_a_real_airflow(mesh: WholeMesh, landing: Path, postgresql: PostgresqlServer, tmp_path: Path) -> None:
    with mesh.client() as client:
        api_key = client.users.create_api_key("airflow").secret
    given = {
        "url": mesh.url,
        "api_key": api_key,
        "landing": str(landing),
        "data_dir": str(mesh.data_dir),
        "database": database_of_an_airflow(postgresql),
        "deployment_database": database_of_an_airflow(postgresql),
    }
    environment = {
        "PATH": f"{VENV / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "SUITE": json.dumps(given),
        "AIRFLOW_HOME": str(tmp_path / "airflow"),
    }

    ran = subprocess.run(
        [
            *(VENV / "bin" / "python", "-m", "pytest", "-q", "-c", SUITE / "pytest.ini", "-p", "no:cacheprovider", "--durations=5"),
            *("--basetemp", tmp_path / "pytest", SUITE),
        ],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env=environment,
        cwd=tmp_path,
        check=False,
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert api_key not in ran.stdout + ran.stderr
    passed = re.search(r"(\d+) passed", ran.stdout)
    assert passed is not None, ran.stdout
    assert int(passed[1]) >= LEAST_CASES
