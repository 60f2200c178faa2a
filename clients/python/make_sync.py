"""Makes the client for threads from the client for asyncio: `python clients/python/make_sync.py [--check]`.

Both do the same, call by call; only `async` and `await` differ. So `mlmesh/aio` is written, and `mlmesh/sync` is made, committed, and
checked by a test (ADR 0031).
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parent / "mlmesh"
_BY_HAND = {"__init__.py", "blocking.py"}
_RULES = (
    (r"\basync (def|with|for)\b", r"\1"),
    (r"\bawait ", ""),
    (r"\bAsyncIterator\b", "Iterator"),
    (r"\bAsyncMesh\b", "SyncMesh"),
    (r"\b__a(iter|enter|exit)__\b", r"__\1__"),
    (r"\bconnect_async\b", "connect"),
    (r"\bmlmesh\.aio\b", "mlmesh.sync"),
    (r"^import grpc\.aio\n", "import grpc\n"),
    (r"\bgrpc\.aio\b", "grpc"),
    (r"(^import grpc\n)\1", r"\1"),
    # A generator may delegate, an asynchronous one may not.
    (r"\bfor (\w+) in (\w+):\n +yield \1\n", r"yield from \2\n"),
)


def to_sync(source: str) -> str:
    """Returns the module for threads of a module for asyncio."""
    for pattern, replacement in _RULES:
        source = re.sub(pattern, replacement, source, flags=re.MULTILINE)
    lines = source.split("\n", 1)
    return "\n".join([lines[0], "# Made by clients/python/make_sync.py. Change mlmesh/aio instead.", *lines[1:]])


def made() -> dict[str, str]:
    """Returns the modules for threads by file name, as the formatter leaves them."""
    names = sorted(path.name for path in (PACKAGE / "aio").glob("*.py") if path.name not in _BY_HAND)
    return {name: _formatted(to_sync((PACKAGE / "aio" / name).read_text("utf-8")), PACKAGE / "sync" / name) for name in names}


def _formatted(source: str, path: Path) -> str:
    ruff = [sys.executable, "-m", "ruff"]
    for command in (["check", "--fix-only", "--quiet", "--select", "I"], ["format", "--quiet"]):
        ran = subprocess.run(
            [*ruff, *command, "--stdin-filename", str(path), "-"], input=source, capture_output=True, text=True, check=True
        )
        source = ran.stdout
    return source


def main() -> int:
    """Makes the modules, or with `--check` says which are not what they should be.

    Returns:
        0 where everything is as made, else 1.
    """
    parser = argparse.ArgumentParser(description="Make mlmesh/sync from mlmesh/aio.")
    parser.add_argument("--check", action="store_true", help="change nothing; fail where something would change")
    check = parser.parse_args().check
    fresh = made()
    target = PACKAGE / "sync"
    present = {path.name: path.read_text("utf-8") for path in target.glob("*.py") if path.name not in _BY_HAND}
    stale = sorted(name for name in fresh.keys() | present.keys() if fresh.get(name) != present.get(name))
    if check:
        for name in stale:
            print(f"clients/python/mlmesh/sync/{name} is not what make_sync.py makes")
        return 1 if stale else 0
    for name in stale:
        if name in fresh:
            (target / name).write_text(fresh[name], "utf-8")
        else:
            (target / name).unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
