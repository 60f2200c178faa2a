"""protoc, as grpcio-tools brings it: descriptor sets and Python stubs out of the `.proto` files."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from importlib.resources import as_file, files
from pathlib import Path

from google.protobuf import descriptor_pb2

from tools.contracts import layout, validate_rules

# Envoy drops a whole error body when the type of one detail is not in the set, so these are roots though no contract imports them all.
ERROR_DETAIL_FILES = ("google/rpc/error_details.proto", "google/rpc/status.proto")


class CompileError(Exception):
    """protoc refused the contracts; it has already written why to stderr."""


def _run_protoc(arguments: Sequence[str], proto_root: Path) -> None:
    with ExitStack() as stack:
        rules = descriptor_pb2.FileDescriptorSet(file=[*_well_known_dependencies(), validate_rules.rules_file()])
        rules_path = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "rules.binpb"
        rules_path.write_bytes(rules.SerializeToString(deterministic=True))
        # google is a namespace package, so its folder is found through a package that is in it.
        googleapis = stack.enter_context(as_file(files("google.api"))).parents[1]
        includes = [f"--proto_path={proto_root}", f"--proto_path={googleapis}", f"--descriptor_set_in={rules_path}"]
        # The module adds the folder of google/protobuf itself. It has no types, and a process of its own keeps its global state out.
        ended = subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *includes, *arguments], check=False)
    if ended.returncode != 0:
        raise CompileError(f"protoc ended with status {ended.returncode} on: {' '.join(arguments)}")


def _well_known_dependencies() -> list[descriptor_pb2.FileDescriptorProto]:
    """Returns what the rules file imports: a descriptor set given to protoc must be closed."""
    from google.protobuf import duration_pb2, field_mask_pb2, timestamp_pb2

    found = []
    for module in (descriptor_pb2, duration_pb2, field_mask_pb2, timestamp_pb2):
        file = descriptor_pb2.FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(file)
        found.append(file)
    return found


def compile_image(*, with_comments: bool, proto_root: Path = layout.PROTO_ROOT) -> bytes:
    """Compiles all contracts and everything they import.

    What is kept must be these bytes: the set, parsed and serialized again, differs in the order of options with the modules imported.

    Args:
        with_comments: Keep the source info. The gateway has no use for it; documents and lint do.
        proto_root: Folder that holds the contracts.

    Returns:
        A serialized FileDescriptorSet, the files in dependency order, the error details included.

    Raises:
        CompileError: A contract does not compile.
    """
    return _image([*layout.contract_files(proto_root), *ERROR_DETAIL_FILES], with_comments=with_comments, proto_root=proto_root)


def compile_protocol(protocol: str, proto_root: Path = layout.PROTO_ROOT) -> bytes:
    """Compiles a protocol that is not ours and everything it imports.

    Args:
        protocol: One of `layout.PROTOCOLS`.
        proto_root: Folder that holds the contracts.

    Returns:
        A serialized FileDescriptorSet, the files in dependency order.

    Raises:
        CompileError: It does not compile.
    """
    return _image(layout.protocol_files(protocol, proto_root), with_comments=False, proto_root=proto_root)


def _image(roots: Sequence[str], *, with_comments: bool, proto_root: Path) -> bytes:
    if not roots:
        return b""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "set.binpb"
        source_info = ["--include_source_info"] if with_comments else []
        _run_protoc([f"--descriptor_set_out={target}", "--include_imports", *source_info, *roots], proto_root)
        return target.read_bytes()


def _plugin(name: str) -> str:
    path = Path(sysconfig.get_path("scripts")) / name
    if not path.exists():
        path = Path(sys.executable).with_name(name)
    return f"--plugin={name}={path}"


def write_python_stubs(contracts: descriptor_pb2.FileDescriptorSet, target: Path, proto_root: Path = layout.PROTO_ROOT) -> None:
    """Writes messages, service stubs and the types of both below `target`.

    Args:
        contracts: The compiled contracts; tells which files hold services.
        target: Folder that becomes a Python root (`target/mlops/...`).
        proto_root: Folder that holds the contracts.

    Raises:
        CompileError: A contract does not compile.
    """
    target.mkdir(parents=True, exist_ok=True)
    ours = layout.contract_files(proto_root)
    with_services = [file.name for file in contracts.file if file.service and file.name in ours]
    _run_protoc(
        [f"--python_out={target}", _plugin("protoc-gen-mypy"), f"--mypy_out=quiet:{target}", *ours, validate_rules.PROTO_PATH], proto_root
    )
    if with_services:
        _run_protoc(
            [f"--grpc_python_out={target}", _plugin("protoc-gen-mypy_grpc"), f"--mypy_grpc_out=quiet:{target}", *with_services], proto_root
        )
    _make_packages(target)


def _make_packages(target: Path) -> None:
    """Makes each folder of ours a typed package; `buf` stays a namespace, since other distributions may put files into it."""
    for folder in sorted(path for path in target.rglob("*") if path.is_dir()):
        top = folder.relative_to(target).parts[0]
        if top != "buf":
            (folder / "__init__.py").write_text("")
    for package in sorted(path for path in target.iterdir() if path.is_dir()):
        typed = package / "validate" if package.name == "buf" else package
        (typed / "py.typed").write_text("")
