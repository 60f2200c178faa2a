"""The Python that has Feast."""

from __future__ import annotations

import os
from pathlib import Path

_FEAST_PYTHON = "MLMESH_BENCH_FEAST_PYTHON"
_ROOT = Path(__file__).parents[2]


def feast_python() -> Path:
    """Returns where it is.

    Raises:
        SystemExit: It is not there.
    """
    python = Path(os.environ.get(_FEAST_PYTHON) or _ROOT / ".venv-feast" / "bin" / "python")
    if not python.exists():
        raise SystemExit(f"{python} does not exist; run `make .venv-feast/.ready`, or name another one with {_FEAST_PYTHON}")
    return python
