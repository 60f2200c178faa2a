"""Where the servers' code is: beside the client in a source tree, or as payload in the wheel."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_MARK = Path("servers") / "topology.py"


class PlatformMissing(Exception):
    """This installation has the client only."""


def platform_root() -> Path:
    """Returns the folder that has `servers/`, `gateway/` and `demo/`.

    Raises:
        PlatformMissing: There is none.
    """
    package = Path(__file__).resolve().parent
    for folder in (package / "_platform", *package.parents[2:3]):
        if (folder / _MARK).exists():
            return folder
    raise PlatformMissing(
        "this installation of mlmesh has no servers; install the wheel, or work in a clone of the repository with `pip install -e .`"
    )


def components() -> list[str]:
    """Returns the names of the components that can run alone, sorted.

    Raises:
        PlatformMissing: There are none.
    """
    root = platform_root()
    alone = [folder.parent.name for folder in (root / "servers").glob("*/__main__.py") if folder.parent.name != "control"]
    return sorted([*alone, *(["gateway"] if (root / "gateway" / "__main__.py").exists() else [])])


def command(module: str, *arguments: str) -> list[str]:
    """Returns the command that runs a module of the platform."""
    # -P: a folder `servers` in the current directory must not be taken for ours.
    return [sys.executable, "-P", "-m", module, *arguments]


def environment() -> dict[str, str]:
    """Returns this process's environment with the platform on the import path.

    Raises:
        PlatformMissing: There is no platform.
    """
    root = platform_root()
    in_source = [folder for folder in (root / "gen" / "python", root / "clients" / "python") if folder.is_dir()]
    inherited = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), *map(str, in_source), *inherited])}
