"""The served document is true: Schemathesis calls what it describes and finds no 5xx and no undocumented answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator, validate

from tests.whole_mesh import WholeMesh, save_iris, whole_mesh


def test_the_served_document_is_valid_openapi(mesh: WholeMesh) -> None:
    validate(mesh.request("GET", "/openapi.json", token=None).json(), cls=OpenAPIV31SpecValidator)


@pytest.fixture
def fuzzed() -> Iterator[WholeMesh]:
    """A mesh that may be left without a user who can log in."""
    # Schemathesis guesses at logins from one address, faster than anybody may; limits have tests of their own.
    limits = {"AUTH": {"per_second": 10_000, "burst": 10_000}}
    with whole_mesh({"MLMESH_GATEWAY_RATE_LIMITS": json.dumps(limits)}) as running:
        save_iris(running)
        yield running


# Of these bodies, which have a plan in them, there are more deterministic cases than can be made; random ones they have as all others.
CONFIGURATION = """
[[operations]]
include-name = "PATCH /api/v1/processing/pipelines/{name}"
phases.coverage.enabled = false

[[operations]]
include-name = "PATCH /api/v1/features/{name}"
phases.coverage.enabled = false
"""


def test_schemathesis_finds_no_server_error_and_no_undocumented_answer(fuzzed: WholeMesh, tmp_path: Path) -> None:
    (tmp_path / "schemathesis.toml").write_text(CONFIGURATION)
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("schemathesis")),
            "run",
            f"{fuzzed.url}/openapi.json",
            "--header",
            f"Authorization: Bearer {fuzzed.token}",
            "--checks=not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
            "--max-examples=8",
            "--seed=1",
            "--request-timeout=20",
            "--suppress-health-check=all",
            # It would end the session, lock its own user out or change its password, and all that follows would be 401.
            "--exclude-path=/api/v1/auth/logout",
            "--exclude-path=/api/v1/auth/password",
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "HYPOTHESIS_STORAGE_DIRECTORY": str(tmp_path)},
        timeout=480,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
