"""Lints the contracts and looks for breaking changes: `python -m tools.contracts.lint`.

buf reads an image that protoc made, so that it needs no network for the imported files.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from tools.contracts import compiler, layout


def buf(*arguments: str) -> list[str]:
    """Runs buf.

    Returns:
        Its findings, one a line; empty where it has none.

    Raises:
        RuntimeError: buf itself failed, for example on a wrong configuration.
    """
    program = Path(sysconfig.get_path("scripts")) / "buf"
    ended = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    found = ended.stdout.splitlines()
    if ended.returncode != 0 and not found:
        raise RuntimeError(f"buf {' '.join(arguments)} ended with status {ended.returncode}: {ended.stderr.strip()}")
    return found


def style_findings(image: bytes) -> list[str]:
    """Returns what breaks the lint rules of buf.yaml. `image` must have source info, since the comments are checked too."""
    with tempfile.TemporaryDirectory() as folder:
        path = _write(image, Path(folder) / "contracts.binpb")
        return buf("lint", path, "--config", str(layout.BUF_CONFIG))


def breaking_findings(image: bytes, baseline: bytes) -> list[str]:
    """Returns what a client made from `baseline` would trip over."""
    with tempfile.TemporaryDirectory() as folder:
        path = _write(image, Path(folder) / "contracts.binpb")
        against = _write(baseline, Path(folder) / "baseline.binpb")
        return buf("breaking", path, "--against", against, "--config", str(layout.BUF_CONFIG))


def _write(image: bytes, target: Path) -> str:
    target.write_bytes(image)
    return str(target)


def main() -> int:
    """Prints every finding.

    Returns:
        0 where there is none, else 1.
    """
    try:
        image = compiler.compile_image(with_comments=True)
    except compiler.CompileError as refused:
        print(refused, file=sys.stderr)
        return 1
    found = style_findings(image) + breaking_findings(image, layout.BASELINE.read_bytes())
    for finding in found:
        print(f"proto/{finding}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
