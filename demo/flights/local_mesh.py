"""A mesh of the demo's own, started and stopped as a user would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType


class MeshFailed(Exception):
    """A command of the mesh failed; the message is what it printed."""


@dataclass(frozen=True)
class LocalMesh:
    """A running mesh.

    Args:
        url: Where it serves.
        token: Bearer token of its administrator.
    """

    url: str
    token: str


@contextmanager
def running_mesh(data_dir: Path, settings: Mapping[str, str]) -> Iterator[LocalMesh]:
    """Starts a mesh on a free port and stops it at the end, whatever happens in between.

    Args:
        data_dir: Where it keeps everything that its settings put nowhere else.
        settings: Its settings, as variables of its environment.

    Raises:
        MeshFailed: It does not start.
    """
    _mlmesh("up", "--detach", "--port", "0", "--data-dir", str(data_dir), environment=settings)
    try:
        state = json.loads((data_dir / "state.json").read_text("utf-8"))
        yield LocalMesh(state["url"], _mlmesh("token", "--data-dir", str(data_dir)).strip())
    finally:
        _mlmesh("down", "--data-dir", str(data_dir))


def _mlmesh(*arguments: str, environment: Mapping[str, str] = MappingProxyType({})) -> str:
    command = [sys.executable, "-c", "from mlmesh.cli import main; main()", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})
    if done.returncode:
        raise MeshFailed(f"mlmesh {arguments[0]} failed:\n{done.stdout}{done.stderr}".rstrip())
    return done.stdout
