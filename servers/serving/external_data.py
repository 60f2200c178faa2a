"""Finds the files that an ONNX model refers to, by reading its protobuf wire format.

ONNX Runtime opens whatever path a tensor's `external_data` names. So the names are read first, from the verified bytes, and only
files that the version has, in the folder of the model, are put where the runtime may look. The walk visits every field that the schema
(onnx.proto 1.18) allows a tensor in, and takes a length-delimited field for what the schema says it is, as the runtime's own parser does.
"""

from __future__ import annotations

import mmap
import posixpath
from collections.abc import Iterator

from servers.serving.errors import ModelLoadFailed

_VARINT, _FIXED64, _BYTES, _GROUP, _END_GROUP, _FIXED32 = 0, 1, 2, 3, 4, 5
_MAX_DEPTH = 100  # protobuf's own limit

_MEMORY_TAG = "_ORT_MEM_ADDR_"
"""ONNX Runtime takes a location with this tag for an address in its own memory."""

_ENTRY_KEY, _ENTRY_VALUE = 1, 2
# Message type -> field number -> type of the message in that field.
_MESSAGES: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse_tensor"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse_tensor", 23: "sparse_tensor"},
    "sparse_tensor": {1: "tensor", 2: "tensor"},
    "tensor": {13: "external_entry"},
    "external_entry": {},
}


def external_locations(model: bytes | mmap.mmap) -> frozenset[str]:
    """Lists the files that hold tensors of a model.

    Args:
        model: The content of an ONNX file.

    Returns:
        Their paths, relative to the folder of the model.

    Raises:
        ModelLoadFailed: If the file is not protobuf, or a path is absolute or leaves the folder.
    """
    locations = frozenset(_locations(memoryview(model), "model", 0))
    for location in locations:
        inside = posixpath.normpath(location)
        is_path = location and not set("\\\0") & set(location) and not posixpath.isabs(location)
        if not is_path or inside.split("/")[0] in ("..", ".") or _MEMORY_TAG in location:
            raise ModelLoadFailed(f"the model refers to external data at `{location[:200]}`, which is not a file beside it")
    return frozenset(posixpath.normpath(location) for location in locations)


def _locations(message: memoryview, kind: str, depth: int) -> Iterator[str]:
    if depth > _MAX_DEPTH:
        raise ModelLoadFailed("the ONNX file nests its graphs too deep")
    if kind == "external_entry":
        fields = dict(_fields(message))
        if bytes(fields.get(_ENTRY_KEY, b"")) == b"location":
            yield bytes(fields.get(_ENTRY_VALUE, b"")).decode("utf-8", "surrogateescape")
        return
    known = _MESSAGES[kind]
    for number, value in _fields(message):
        inner = known.get(number)
        if inner is not None:
            yield from _locations(value, inner, depth + 1)


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yields the length-delimited fields of a message; of a field that is there twice the last one counts, as for any string."""
    position, end = 0, len(message)
    while position < end:
        tag, position = _varint(message, position)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            _, position = _varint(message, position)
        elif wire == _FIXED64:
            position += 8
        elif wire == _FIXED32:
            position += 4
        elif wire == _BYTES:
            length, position = _varint(message, position)
            if position + length > end:
                raise _broken()
            yield number, message[position : position + length]
            position += length
        else:  # groups: no field of ONNX is one, and what hides in an unknown one is not looked at by the runtime
            raise _broken()
    if position > end:
        raise _broken()


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if position >= len(message) or shift > 63:
            raise _broken()
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7


def _broken() -> ModelLoadFailed:
    return ModelLoadFailed("the file is not an ONNX model: its protobuf is damaged")
