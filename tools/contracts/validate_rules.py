"""Where `buf/validate/validate.proto` comes from.

Version 2 of protovalidate ships the rules neither as a `.proto` nor as google.protobuf stubs, only as the descriptor inside its own
generated module. Reading that descriptor keeps the rules that we compile against and the rules that are enforced at run time the same.
"""

from __future__ import annotations

import importlib
from typing import Protocol, cast

from google.protobuf import descriptor_pb2

PROTO_PATH = "buf/validate/validate.proto"
_MODULE = "protovalidate._gen.buf.validate.validate_pb"


class _Binary(Protocol):
    def to_binary(self) -> bytes: ...


class _FileDescriptor(Protocol):
    proto: _Binary


def rules_file() -> descriptor_pb2.FileDescriptorProto:
    """Returns the descriptor of `buf/validate/validate.proto` as the installed protovalidate has it.

    Raises:
        RuntimeError: The installed protovalidate keeps its descriptor elsewhere.
    """
    try:
        described = cast(_FileDescriptor, importlib.import_module(_MODULE).desc())
        file = descriptor_pb2.FileDescriptorProto.FromString(described.proto.to_binary())
    except (ImportError, AttributeError) as missing:
        raise RuntimeError(
            f"{_MODULE}.desc() is gone from the installed protovalidate; find where this release keeps the descriptor of {PROTO_PATH}"
        ) from missing
    if file.name != PROTO_PATH:
        raise RuntimeError(f"{_MODULE} describes {file.name!r}, expected {PROTO_PATH!r}")
    return file
