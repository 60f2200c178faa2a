"""Tensors as bytes: raw little-endian buffers to numpy and back, without a copy where the element type allows it."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from servers.serving.errors import InvalidTensor
from servers.serving.signature import DYNAMIC, ELEMENT_TYPES, Signature, TensorSpec, names_of

MAX_VIOLATIONS = 16
"""Wrong tensors that one error names."""

_LENGTH = struct.Struct("<I")


class RawTensor(NamedTuple):
    """A tensor as it travels.

    Args:
        name: Name of the input or output.
        datatype: Name of the element type, one of `ELEMENT_TYPES`.
        shape: Extent of each dimension, 0 or more each.
        raw: The elements in row-major order, little-endian, without padding; BYTES elements behind their 4-byte length.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    raw: bytes


Feeds = dict[str, "np.ndarray[Any, Any]"]
"""Inputs of one run by name, as `signature.ElementType` keeps them."""


def array_of(tensor: RawTensor, path: str) -> np.ndarray[Any, Any]:
    """Reads a tensor.

    Args:
        tensor: What came.
        path: Where it stands in the request, for example `inputs[0]`.

    Returns:
        The elements in the tensor's shape. All but BYTES share the memory of `tensor.raw` and cannot be written to.

    Raises:
        InvalidTensor: If the bytes do not fit the shape, a boolean is neither 0 nor 1, or a string is not UTF-8.
    """
    _, datatype, shape, raw = tensor
    count = math.prod(shape)
    if datatype == "BYTES":
        return _strings(tensor, count, path)
    dtype = ELEMENT_TYPES[datatype].dtype
    expected = count * dtype.itemsize
    if len(raw) != expected:
        raise _invalid(
            f"{path}.raw",
            f"tensor `{tensor.name}` of {tensor.datatype} {list(tensor.shape)} takes {expected} bytes; got {len(tensor.raw)}",
        )
    try:
        array: np.ndarray[Any, Any] = np.ndarray(shape, dtype, raw)
    except ValueError:  # no elements, and yet dimensions beyond what an address can reach
        raise _invalid(f"{path}.shape", f"tensor `{tensor.name}` of shape {list(tensor.shape)} is too large") from None
    if datatype == "BOOL" and count and array.view(np.uint8).max() > 1:
        raise _invalid(f"{path}.raw", f"tensor `{tensor.name}` of BOOL has bytes other than 0 and 1")
    return array


def raw_of(name: str, datatype: str, array: np.ndarray[Any, Any]) -> RawTensor:
    """Writes a tensor; the opposite of `array_of`."""
    if datatype == "BYTES":
        encoded = [str(value).encode() for value in array.reshape(-1)]
        raw = b"".join(part for text in encoded for part in (_LENGTH.pack(len(text)), text))
    else:
        dtype = ELEMENT_TYPES[datatype].dtype
        raw = (array if array.dtype == dtype else array.astype(dtype)).tobytes()
    return RawTensor(name, datatype, tuple(array.shape), raw)


def feeds_of(signature: Signature, tensors: Sequence[RawTensor], path: str = "inputs") -> Feeds:
    """Reads the inputs of a run.

    Args:
        signature: What the model takes.
        tensors: What came, in any order.
        path: Field of the request that holds them.

    Raises:
        InvalidTensor: If a tensor is missing, unknown, given twice, or not as the signature has it. Every wrong tensor is named.
    """
    violations: list[tuple[str, str]] = []
    feeds: Feeds = {}
    for index, tensor in enumerate(tensors):
        name = tensor.name
        spec = signature.input(name)
        if spec is not None and name not in feeds and tensor.datatype == spec.datatype and spec.admits(tensor.shape):
            feeds[name] = array_of(tensor, f"{path}[{index}]")
        else:
            violations.append(_violation(signature, spec, tensor, f"{path}[{index}]", is_repeated=name in feeds))
    required = signature.required
    if violations or len(feeds) < len(required) or (signature.has_optional and any(spec.name not in feeds for spec in required)):
        named = {tensor.name for tensor in tensors}
        violations += [(path, f"input `{spec.name}` ({spec}) is missing") for spec in required if spec.name not in named]
        raise InvalidTensor(violations[0][1], field_violations=violations[:MAX_VIOLATIONS])
    if signature.has_shared_symbols:
        check_symbols(signature, feeds, path)
    return feeds


def check_symbols(signature: Signature, feeds: Feeds, path: str) -> None:
    """Refuses inputs that disagree on a dimension which the model calls by one name, such as the batch.

    Raises:
        InvalidTensor: If two do.
    """
    if not signature.has_shared_symbols:
        return
    seen: dict[str, tuple[str, int]] = {}
    for spec in signature.inputs:
        if spec.name not in feeds:
            continue
        for axis, (symbol, extent) in enumerate(zip(spec.symbols, feeds[spec.name].shape, strict=False)):
            if not symbol:
                continue
            other, wanted = seen.setdefault(symbol, (f"dimension {axis} of input `{spec.name}`", extent))
            if extent != wanted:
                text = f"dimension {axis} of input `{spec.name}` is {extent}; it has to be {wanted}, as {other}"
                raise _invalid(path, text)


def _violation(signature: Signature, spec: TensorSpec | None, tensor: RawTensor, here: str, *, is_repeated: bool) -> tuple[str, str]:
    if spec is None:
        return f"{here}.name", f"the model has no input `{tensor.name}`; its inputs are {names_of(signature.inputs)}"
    if is_repeated:
        return f"{here}.name", f"input `{spec.name}` is given twice"
    got = f"{tensor.datatype} {list(tensor.shape)}"
    if tensor.datatype != spec.datatype:
        return f"{here}.datatype", f"input `{spec.name}` expects {spec}; got {got}"
    return f"{here}.shape", f"input `{spec.name}` expects {spec}; got {got}{_difference(spec, tensor.shape)}"


def _difference(spec: TensorSpec, shape: Sequence[int]) -> str:
    if len(shape) != len(spec.shape):
        return f": {len(spec.shape)} dimensions are expected, not {len(shape)}"
    axis = next(axis for axis, wanted in enumerate(spec.shape) if wanted not in (DYNAMIC, shape[axis]))
    return f": dimension {axis} has to be {spec.shape[axis]}"


def _strings(tensor: RawTensor, count: int, path: str) -> np.ndarray[Any, Any]:
    raw = tensor.raw
    # Each element takes its length prefix at least, so a huge shape is refused before anything is allocated for it.
    if count * _LENGTH.size > len(raw):
        text = f"tensor `{tensor.name}` of BYTES {list(tensor.shape)} takes at least {count * _LENGTH.size} bytes; got {len(raw)}"
        raise _invalid(f"{path}.raw", text)
    array: np.ndarray[Any, Any] = np.empty(count, dtype=object)
    offset = 0
    for index in range(count):
        end = offset + _LENGTH.size
        length = _LENGTH.unpack_from(raw, offset)[0] if end <= len(raw) else 0
        if end + length > len(raw):
            raise _invalid(f"{path}.raw", f"tensor `{tensor.name}`: element {index} at byte {offset} reaches beyond the end")
        try:
            array[index] = raw[end : end + length].decode()
        except UnicodeDecodeError:
            raise _invalid(f"{path}.raw", f"tensor `{tensor.name}`: element {index} is not UTF-8, as the strings of ONNX are") from None
        offset = end + length
    if offset != len(raw):
        raise _invalid(f"{path}.raw", f"tensor `{tensor.name}`: {len(raw) - offset} bytes are left behind its {count} elements")
    try:
        return array.reshape(tensor.shape)
    except ValueError:
        raise _invalid(f"{path}.shape", f"tensor `{tensor.name}` of shape {list(tensor.shape)} is too large") from None


def _invalid(path: str, text: str) -> InvalidTensor:
    return InvalidTensor(text, field_violations=[(path, text)])
