"""Every example of docs/features.md, in the order of the page, against a whole mesh."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.whole_mesh import WholeMesh, whole_mesh

PAGE = Path(__file__).parents[3] / "docs" / "features.md"
PATIENCE_S = 900
PROGRAMS = Path(sys.executable).parent


@pytest.fixture(scope="module")
def mesh() -> Iterator[WholeMesh]:
    with whole_mesh({}) as running:
        yield running


def examples(language: str) -> str:
    return "\n".join(re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE))


def run(mesh: WholeMesh, folder: Path, *command: str | Path) -> str:
    environment = {**os.environ, "PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}", "MLMESH_URL": mesh.url, "MLMESH_TOKEN": mesh.token}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.timeout(2 * PATIENCE_S + 100)
def test_the_examples_do_what_they_say(mesh: WholeMesh, tmp_path: Path) -> None:
    (tmp_path / "examples.py").write_text(examples("python"), "utf-8")
    (tmp_path / "examples.sh").write_text("set -euo pipefail\n" + examples("sh"), "utf-8")

    assert "user_activity 1 activity" in run(mesh, tmp_path, sys.executable, "examples.py")
    assert "training_cli version" in run(mesh, tmp_path, "bash", "-x", "examples.sh")
