"""Where contracts and what is made from them live in the repository."""

from __future__ import annotations

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PROTO_ROOT = REPOSITORY / "proto"
GENERATED = REPOSITORY / "gen"
BASELINE = PROTO_ROOT / "baseline.binpb"
BUF_CONFIG = REPOSITORY / "buf.yaml"

PYTHON = Path("python")
DESCRIPTORS = Path("descriptors/mlops.binpb")
OPENAPI = Path("openapi/openapi.json")
DOCS = Path("docs")


def contract_files(proto_root: Path = PROTO_ROOT) -> list[str]:
    """Returns the paths of all our `.proto` files, relative to the proto root, sorted."""
    return sorted(path.relative_to(proto_root).as_posix() for path in proto_root.rglob("*.proto"))
