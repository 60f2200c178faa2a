"""The TypeScript client, made from the contracts, built, and run against a whole mesh."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.whole_mesh import Iris, WholeMesh, save_iris, whole_mesh

CLIENT = Path(__file__).parents[3] / "clients" / "node"


def run(*command: str, environment: Mapping[str, str] | None = None) -> str:
    ran = subprocess.run(
        command, cwd=CLIENT, capture_output=True, text=True, timeout=300, env={**os.environ, **(environment or {})}, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.fixture(scope="module", autouse=True)
def built() -> None:
    run("npm", "ci", "--no-audit", "--no-fund")
    run(sys.executable, "generate.py")
    run("npm", "run", "build")


@pytest.fixture(scope="module")
def mesh() -> Iterator[WholeMesh]:
    with whole_mesh() as running:
        yield running


@pytest.fixture(scope="module")
def iris(mesh: WholeMesh) -> Iris:
    return save_iris(mesh)


def test_the_client_keeps_its_promises_to_a_server_of_its_own() -> None:
    assert "# fail 0" in run("npm", "run", "test:unit")


def test_the_client_gets_the_predictions_of_onnx_runtime_through_the_gateway(mesh: WholeMesh, iris: Iris, tmp_path: Path) -> None:
    expected = tmp_path / "expected.json"
    # A float32 as JSON is the double of the same value, and the float32 of that double is itself again.
    values = {"rows": iris.rows.tolist(), "probabilities": iris.probabilities.tolist()}
    expected.write_text(json.dumps({"model": iris.name, "version": 1, "digest": iris.digest, **values}))
    environment = {"MLMESH_URL": mesh.url, "MLMESH_TOKEN": mesh.token, "EXPECTED": str(expected)}
    assert "# fail 0" in run("npm", "run", "test:mesh", environment=environment)


def test_the_client_exchanges_an_api_key_by_itself(mesh: WholeMesh) -> None:
    key = (mesh.data_dir / "token").read_text().strip()
    program = """
        const { connect } = await import("./dist/index.js");
        const mesh = connect();
        console.log((await mesh.users.getMe({})).user.username);
        mesh.close();
    """
    environment = {"MLMESH_URL": mesh.url, "MLMESH_API_KEY": key, "MLMESH_TOKEN": ""}
    assert run("node", "--input-type=module", "--eval", program, environment=environment).strip() == "admin"
