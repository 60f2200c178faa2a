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


PROTOCOLS = ("feast", "inference")
"""Protocols of others, which the mesh speaks as they are: no stubs, documents or lint rules of ours. Folders below the proto root."""


def contract_files(proto_root: Path = PROTO_ROOT) -> list[str]:
    """Returns the paths of all our `.proto` files, relative to the proto root, sorted."""
    found = (path.relative_to(proto_root) for path in proto_root.rglob("*.proto"))
    return sorted(path.as_posix() for path in found if path.parts[0] not in PROTOCOLS)


def protocol_files(protocol: str, proto_root: Path = PROTO_ROOT) -> list[str]:
    """Returns the paths of the `.proto` files of a protocol that is not ours, relative to the proto root, sorted."""
    return sorted(path.relative_to(proto_root).as_posix() for path in (proto_root / protocol).rglob("*.proto"))


def protocol_descriptors(protocol: str) -> Path:
    """Returns the path of what a protocol that is not ours is compiled into, relative to `gen/`."""
    return DESCRIPTORS.with_name(f"{protocol}.binpb")
