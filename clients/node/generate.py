"""Makes `src/gen` from the contracts: `python clients/node/generate.py [--check]` (after `npm ci` in this folder)."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from google.protobuf import descriptor_pb2

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from tools.contracts import compiler, generate  # noqa: E402 (the repository is no installed package)

_PLUGIN = HERE / "node_modules" / ".bin" / "protoc-gen-es"
# @bufbuild/protobuf brings these itself.
_BUILT_IN = "google/protobuf/"


def write_typescript(target: Path) -> None:
    """Writes the TypeScript of all contracts, and of what they import, below a folder.

    Raises:
        compiler.CompileError: A contract does not compile.
        subprocess.CalledProcessError: The plugin is missing or refuses.
    """
    image = compiler.compile_image(with_comments=True)
    names = [file.name for file in descriptor_pb2.FileDescriptorSet.FromString(image).file if not file.name.startswith(_BUILT_IN)]
    with tempfile.NamedTemporaryFile() as compiled:
        compiled.write(image)
        compiled.flush()
        arguments = [f"--descriptor_set_in={compiled.name}", f"--plugin=protoc-gen-es={_PLUGIN}", f"--es_out={target}"]
        options = ["--es_opt=target=ts", "--es_opt=import_extension=js"]
        subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *arguments, *options, *names], check=True)


def main() -> int:
    """Generates, or with `--check` only says what generating would change.

    Returns:
        0 where `src/gen` is what the contracts say, else 1.
    """
    parser = argparse.ArgumentParser(description="Make the TypeScript of the contracts.")
    parser.add_argument("--check", action="store_true", help="change nothing; fail when something would change")
    check = parser.parse_args().check
    present = HERE / "src" / "gen"
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        write_typescript(fresh)
        changes = generate.differences(fresh, present)
        if not check:
            generate.replace(fresh, present)
    for change in changes:
        print(f"clients/node/src/gen: {change}")
    return 1 if check and changes else 0


if __name__ == "__main__":
    sys.exit(main())
