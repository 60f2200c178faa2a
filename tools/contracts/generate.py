"""Makes `gen/` from `proto/`: `python -m tools.contracts.generate [--check]`."""

from __future__ import annotations

import argparse
import filecmp
import json
import shutil
import sys
import tempfile
from pathlib import Path

from google.protobuf import descriptor_pb2

from tools.contracts import compiler, layout, reference
from tools.contracts.openapi import document
from tools.contracts.reading import Contracts

_IGNORED = "__pycache__"


def generate(target: Path, proto_root: Path = layout.PROTO_ROOT) -> None:
    """Writes everything that is made from the contracts below an empty folder.

    Args:
        target: Folder that takes the place of `gen/`.
        proto_root: Folder that holds the contracts.

    Raises:
        CompileError: A contract does not compile.
    """
    lean = compiler.compile_image(with_comments=False, proto_root=proto_root)
    descriptors = target / layout.DESCRIPTORS
    descriptors.parent.mkdir(parents=True, exist_ok=True)
    descriptors.write_bytes(lean)
    for protocol in layout.PROTOCOLS:
        (target / layout.protocol_descriptors(protocol)).write_bytes(compiler.compile_protocol(protocol, proto_root))
    compiler.write_python_stubs(descriptor_pb2.FileDescriptorSet.FromString(lean), target / layout.PYTHON, proto_root)
    contracts = Contracts.of_image(compiler.compile_image(with_comments=True, proto_root=proto_root))
    openapi = target / layout.OPENAPI
    openapi.parent.mkdir(parents=True, exist_ok=True)
    openapi.write_text(json.dumps(document.build(contracts), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    docs = target / layout.DOCS
    docs.mkdir(parents=True, exist_ok=True)
    for name, text in reference.pages(contracts).items():
        (docs / name).write_text(text, encoding="utf-8")


def differences(fresh: Path, present: Path) -> list[str]:
    """Returns one sentence for each file that is missing from, outdated in or left over in `present`."""
    made, kept = _files(fresh), _files(present)
    missing = [f"missing: {name}" for name in sorted(made - kept)]
    outdated = [f"outdated: {name}" for name in sorted(made & kept) if not filecmp.cmp(fresh / name, present / name, shallow=False)]
    left_over = [f"left over: {name}" for name in sorted(kept - made)]
    return missing + outdated + left_over


def replace(fresh: Path, present: Path) -> None:
    """Makes `present` equal to `fresh`, and touches only files that differ, so that builds and watchers stay quiet."""
    made, kept = _files(fresh), _files(present)
    for name in sorted(made):
        target = present / name
        if name in kept and filecmp.cmp(fresh / name, target, shallow=False):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(fresh / name, target)
    for name in kept - made:
        (present / name).unlink()


def _files(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file() and _IGNORED not in path.parts}


def main(arguments: list[str] | None = None) -> int:
    """Generates, or with `--check` only says what generating would change.

    Returns:
        0 when `gen/` is what the contracts say, 1 when it is not or a contract does not compile.
    """
    parser = argparse.ArgumentParser(description="Make gen/ from proto/.")
    parser.add_argument("--check", action="store_true", help="change nothing; fail when gen/ is not what the contracts say")
    parsed = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        try:
            generate(fresh)
        except compiler.CompileError as refused:
            print(refused, file=sys.stderr)
            return 1
        changes = differences(fresh, layout.GENERATED)
        if not parsed.check:
            replace(fresh, layout.GENERATED)
    for change in changes:
        print(f"gen/: {change}")
    if parsed.check and changes:
        print("gen/ is not what proto/ says; run `make generate` and commit the result", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
