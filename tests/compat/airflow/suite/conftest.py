from __future__ import annotations

import json
import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from given import API_KEY, DATABASE, URL

# Airflow reads these when it is imported, which the modules below do.
_ADDRESS = urlsplit(URL)
_CONNECTION = {"conn_type": "mlmesh", "host": _ADDRESS.hostname, "port": _ADDRESS.port, "schema": "http", "password": API_KEY}
os.environ |= {
    "AIRFLOW_CONN_MLMESH_DEFAULT": json.dumps(_CONNECTION),
    "AIRFLOW__CORE__DAGS_FOLDER": str(Path(__file__).parent / "dags"),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": DATABASE,
    # Not all of Airflow: at this level `dag.test()` prints what it masks.
    "AIRFLOW__LOGGING__NAMESPACE_LEVELS": "mlmesh_airflow=DEBUG mlmesh=DEBUG grpc=DEBUG airflow.task=DEBUG",
}

import mlmesh  # noqa: E402
import pytest  # noqa: E402
from held_data import HeldData  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def database() -> None:
    """Airflow's own, for what runs in this process."""
    subprocess.run(["airflow", "db", "migrate"], check=True, capture_output=True, timeout=300)


@pytest.fixture(scope="session")
def mesh(database: None) -> Iterator[mlmesh.Mesh]:
    with mlmesh.connect(URL, api_key=API_KEY) as connection:
        yield connection


@pytest.fixture
def dataset() -> str:
    return f"flights_{uuid.uuid4().hex[:8]}"


@pytest.fixture
def held() -> Iterator[HeldData]:
    """While it is held, no ingestion of the mesh comes to its end."""
    with HeldData.of_the_mesh() as data:
        yield data
