"""An unmodified `tritonclient`, in a venv of its own, against a whole mesh: through the gateway, and against the server itself."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from servers.topology import Place
from tests.compat.triton import models
from tests.whole_mesh import WholeMesh, whole_mesh

SUITE = Path(__file__).parent / "suite"
PYTHON = Path(__file__).parents[3] / ".venv-triton" / "bin" / "python"
LEAST_CASES = 80


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("expected")


@pytest.fixture(scope="module")
def mesh(expected: Path) -> Iterator[WholeMesh]:
    assert PYTHON.exists(), "the client has a venv of its own: run this by `make test-compat`"
    with whole_mesh() as running:
        with running.client() as client:
            models.save(client, expected)
        yield running


def run_suite(mesh: WholeMesh, expected: Path, *, grpc: str, http: str) -> int:
    """Runs the cases in the client's venv and returns how many passed; none may fail."""
    environment = {
        "PATH": os.environ["PATH"],
        "SUITE": json.dumps({"grpc": grpc, "http": http, "token": mesh.token, "expected": str(expected)}),
    }
    selected = () if http else ("-m", "not http")
    ran = subprocess.run(
        [PYTHON, "-m", "pytest", "-q", "-c", SUITE / "pytest.ini", "-p", "no:cacheprovider", "-p", "no:asyncio", *selected, SUITE],
        capture_output=True,
        text=True,
        timeout=540,
        env=environment,
        cwd=SUITE,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    passed = re.search(r"(\d+) passed", ran.stdout)
    assert passed is not None, ran.stdout
    return int(passed[1])


def test_every_case_passes_through_the_gateway(mesh: WholeMesh, expected: Path) -> None:
    assert run_suite(mesh, expected, grpc=mesh.target, http=mesh.target) >= 2 * LEAST_CASES


def test_every_grpc_case_passes_against_the_server_itself(mesh: WholeMesh, expected: Path) -> None:
    assert run_suite(mesh, expected, grpc=Place.of(mesh.data_dir).address("serving"), http="") >= LEAST_CASES
