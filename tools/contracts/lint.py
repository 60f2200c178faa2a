"""Lints the contracts and looks for breaking changes: `python -m tools.contracts.lint`.

buf reads an image that protoc made, so that it needs no network for the imported files.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from google.protobuf import descriptor_pb2

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


def style_findings(contracts: descriptor_pb2.FileDescriptorSet) -> list[str]:
    """Returns what breaks the lint rules of buf.yaml. `contracts` must have source info, since the comments are checked too."""
    with tempfile.TemporaryDirectory() as folder:
        image = _write(contracts, Path(folder) / "contracts.binpb")
        return buf("lint", image, "--config", str(layout.BUF_CONFIG))


def breaking_findings(contracts: descriptor_pb2.FileDescriptorSet, baseline: descriptor_pb2.FileDescriptorSet) -> list[str]:
    """Returns what a client made from `baseline` would trip over."""
    with tempfile.TemporaryDirectory() as folder:
        image = _write(contracts, Path(folder) / "contracts.binpb")
        against = _write(baseline, Path(folder) / "baseline.binpb")
        return buf("breaking", image, "--against", against, "--config", str(layout.BUF_CONFIG))


def _write(contracts: descriptor_pb2.FileDescriptorSet, target: Path) -> str:
    target.write_bytes(contracts.SerializeToString(deterministic=True))
    return str(target)


def main() -> int:
    """Prints every finding.

    Returns:
        0 where there is none, else 1.
    """
    try:
        contracts = compiler.compile_descriptors(with_comments=True)
    except compiler.CompileError as refused:
        print(refused, file=sys.stderr)
        return 1
    baseline = descriptor_pb2.FileDescriptorSet.FromString(layout.BASELINE.read_bytes())
    found = style_findings(contracts) + breaking_findings(contracts, baseline)
    for finding in found:
        print(f"proto/{finding}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
