"""Arrays as the payload of a frame, bit by bit: numbers as they lie in memory, strings behind their length.

Every tensor starts at a multiple of 16 bytes, so that an array can be a view of the payload, whatever its elements are.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from servers.serving.model_process.frames import MalformedFrame, Part, Payload
from servers.serving.signature import ELEMENT_TYPES

_ALIGNMENT = 16
_LENGTH = struct.Struct("<I")
_MAX_DIMENSIONS = 64  # numpy's own


@dataclass(frozen=True, slots=True)
class NamedTensor:
    """A tensor with its place in a model.

    Args:
        name: Name of the input or output.
        datatype: Name of its element type, one of `ELEMENT_TYPES`.
        array: The elements, kept as `signature.ElementType` says.
    """

    name: str
    datatype: str
    array: np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class PackedTensors:
    """Tensors on their way.

    Args:
        descriptions: What the header says of each: name, datatype, shape, size in bytes.
        parts: The payload. Views of the arrays where their elements are numbers.
        size_bytes: Size of the payload.
    """

    descriptions: list[list[Any]]
    parts: list[Part]
    size_bytes: int


def packed(tensors: Iterable[NamedTensor]) -> PackedTensors:
    """Writes tensors.

    Raises:
        TypeError: If an array is not kept as its element type says.
    """
    descriptions: list[list[Any]] = []
    parts: list[Part] = []
    size_bytes = 0
    for tensor in tensors:
        part = _strings_written(tensor.array) if tensor.datatype == "BYTES" else _numbers_written(tensor)
        descriptions.append([tensor.name, tensor.datatype, tensor.array.shape, len(part)])
        if not len(part):
            continue
        padding = -size_bytes % _ALIGNMENT
        if padding:
            parts.append(bytes(padding))
        parts.append(part)
        size_bytes += padding + len(part)
    return PackedTensors(descriptions, parts, size_bytes)


def unpacked(descriptions: object, payload: Payload) -> list[NamedTensor]:
    """Reads tensors; the opposite of `packed`.

    Args:
        descriptions: What the header says; anything that JSON can be.
        payload: The payload.

    Returns:
        The tensors. Numbers are views of `payload`.

    Raises:
        MalformedFrame: If the two do not fit each other.
    """
    if not isinstance(descriptions, list):
        raise MalformedFrame("the tensors of a frame are not a list")
    tensors = []
    position = 0
    for description in descriptions:
        name, datatype, shape, size_bytes = _described(description)
        start = position + (-position % _ALIGNMENT if size_bytes else 0)
        position = start + size_bytes
        if position > len(payload):
            raise MalformedFrame(f"tensor `{name[:100]}` reaches beyond the payload")
        part = payload[start:position]
        read = _strings_read if datatype == "BYTES" else _numbers_read
        tensors.append(NamedTensor(name, datatype, read(name, datatype, shape, part)))
    if position != len(payload):
        raise MalformedFrame(f"{len(payload) - position:,} bytes of the payload belong to no tensor")
    return tensors


def _described(description: object) -> tuple[str, str, tuple[int, ...], int]:
    if isinstance(description, list) and len(description) == 4:
        name, datatype, shape, size_bytes = description
        is_named = isinstance(name, str) and isinstance(datatype, str) and datatype in ELEMENT_TYPES
        if is_named and _are_counts([size_bytes]) and isinstance(shape, list) and len(shape) <= _MAX_DIMENSIONS and _are_counts(shape):
            return name, datatype, tuple(shape), size_bytes
    raise MalformedFrame("a tensor of a frame is described by its name, datatype, shape and size in bytes")


def _are_counts(values: list[Any]) -> bool:
    return all([type(value) is int and value >= 0 for value in values])  # noqa: C419  # a generator takes twice as long for so few


def _numbers_written(tensor: NamedTensor) -> Part:
    wanted = ELEMENT_TYPES[tensor.datatype].dtype
    if tensor.array.dtype != wanted:
        raise TypeError(f"tensor `{tensor.name}` of {tensor.datatype} is kept as {wanted}, and this one is {tensor.array.dtype}")
    return np.ascontiguousarray(tensor.array).reshape(-1).view(np.uint8).data


def _numbers_read(name: str, datatype: str, shape: Sequence[int], part: Payload) -> np.ndarray[Any, Any]:
    element = ELEMENT_TYPES[datatype]
    if math.prod(shape) * element.dtype.itemsize != len(part):
        raise MalformedFrame(f"tensor `{name[:100]}` of {datatype} {list(shape)} does not have {len(part):,} bytes")
    if datatype == "BOOL" and len(part) and part.max() > 1:
        raise MalformedFrame(f"tensor `{name[:100]}` of BOOL has bytes other than 0 and 1")
    return _reshaped(name, part.view(element.dtype), shape)


def _strings_written(array: np.ndarray[Any, Any]) -> Part:
    # As far as Python is concerned a string may hold half a surrogate pair. Whether the model takes it is for ONNX Runtime to say.
    encoded = [str(value).encode("utf-8", "surrogatepass") for value in array.reshape(-1)]
    return b"".join(piece for text in encoded for piece in (_LENGTH.pack(len(text)), text))


def _strings_read(name: str, datatype: str, shape: Sequence[int], part: Payload) -> np.ndarray[Any, Any]:
    count = math.prod(shape)
    # Each element takes its length at least, so a huge shape is refused before anything is allocated for it.
    if count * _LENGTH.size > len(part):
        raise MalformedFrame(f"tensor `{name[:100]}` of {datatype} {list(shape)} does not fit in {len(part):,} bytes")
    array: np.ndarray[Any, Any] = np.empty(count, dtype=object)
    raw = part.data
    position = 0
    for index in range(count):
        start = position + _LENGTH.size
        length = _LENGTH.unpack_from(raw, position)[0] if start <= len(raw) else 0
        position = start + length
        if position > len(raw):
            raise MalformedFrame(f"tensor `{name[:100]}`: element {index} reaches beyond the end")
        try:
            array[index] = str(raw[start:position], "utf-8", "surrogatepass")
        except UnicodeDecodeError:
            raise MalformedFrame(f"tensor `{name[:100]}`: element {index} is not UTF-8") from None
    if position != len(raw):
        raise MalformedFrame(f"tensor `{name[:100]}`: {len(raw) - position:,} bytes are left behind its elements")
    return _reshaped(name, array, shape)


def _reshaped(name: str, array: np.ndarray[Any, Any], shape: Sequence[int]) -> np.ndarray[Any, Any]:
    try:
        return array.reshape(tuple(shape))
    except (ValueError, OverflowError):  # no elements, and yet dimensions beyond what an address can reach
        raise MalformedFrame(f"tensor `{name[:100]}` of shape {list(shape)} is too large") from None
