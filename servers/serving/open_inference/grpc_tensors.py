"""Tensors between the messages of the protocol and `RawTensor`: raw as they are, or typed `contents` in the field of their type."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from servers.serving.errors import InvalidTensor
from servers.serving.open_inference.errors import InvalidInferRequest, invalid
from servers.serving.open_inference.infer_call import MAX_DIMENSIONS
from servers.serving.open_inference.parameters import refuse_unserved
from servers.serving.signature import ELEMENT_TYPES
from servers.serving.tensors import RawTensor

_LENGTH = struct.Struct("<I")

CONTENTS_FIELDS: Mapping[str, str] = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""Field of `InferTensorContents` by datatype. FP16 and BF16 have none."""


def raw_tensors(request: Any) -> tuple[RawTensor, ...]:
    """Reads the inputs of a `ModelInferRequest`.

    Raises:
        InvalidInferRequest: If the request has both forms of data, or not one piece of raw data an input, or a shape that cannot be one.
        InvalidTensor: If contents do not fit the datatype and the shape.
        UnservedExtension: If an input lies in shared memory.
    """
    inputs, raw = request.inputs, request.raw_input_contents
    for index, tensor in enumerate(inputs):
        _check(tensor, f"inputs[{index}]")
    if not raw:
        return tuple(_of_contents(tensor, f"inputs[{index}]") for index, tensor in enumerate(inputs))
    for index, tensor in enumerate(inputs):
        if tensor.HasField("contents"):
            text = f"input `{tensor.name[:100]}` has `contents`, and the request has `raw_input_contents`; use one of them for all inputs"
            raise InvalidInferRequest(text, field_violations=[(f"inputs[{index}].contents", text)])
    if len(raw) != len(inputs):
        raise invalid("raw_input_contents", f"{len(inputs)} inputs and {len(raw)} pieces of raw data came; each input takes one, in order")
    return tuple(RawTensor(tensor.name, tensor.datatype, tuple(tensor.shape), piece) for tensor, piece in zip(inputs, raw, strict=True))


def add_output(response: Any, tensor: RawTensor) -> None:
    """Adds a tensor to a `ModelInferResponse`. Always raw: Triton's clients read nothing else."""
    response.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
    response.raw_output_contents.append(tensor.raw)


def _check(tensor: Any, place: str) -> None:
    if tensor.parameters:
        refuse_unserved(tensor.parameters, f"{place}.parameters")
    shape = tensor.shape
    if len(shape) > MAX_DIMENSIONS or any(extent < 0 for extent in shape):
        shown = f"{list(shape[:8])}{' and so on' if len(shape) > 8 else ''}"
        text = f"input `{tensor.name[:100]}` has shape {shown}; expected at most {MAX_DIMENSIONS} extents, each 0 or more"
        raise InvalidInferRequest(text, field_violations=[(f"{place}.shape", text)])
    if tensor.datatype not in ELEMENT_TYPES:
        text = f"input `{tensor.name[:100]}` has the datatype `{tensor.datatype[:100]}`; datatypes are {', '.join(ELEMENT_TYPES)}"
        raise InvalidInferRequest(text, field_violations=[(f"{place}.datatype", text)])


def _of_contents(tensor: Any, place: str) -> RawTensor:
    name, datatype, shape = tensor.name, tensor.datatype, tuple(tensor.shape)
    count = math.prod(shape)
    field = CONTENTS_FIELDS.get(datatype)
    filled = [other.name for other, _ in tensor.contents.ListFields()]
    described = f"input `{name[:100]}` of {datatype} {list(shape)}"
    if field is None:
        if filled or count:
            raise _wrong(
                f"{place}.contents", f"{described} travels in `raw_input_contents` only: the protocol has no contents for {datatype}"
            )
        return RawTensor(name, datatype, shape, b"")
    others = [other for other in filled if other != field]
    if others:
        raise _wrong(f"{place}.contents.{others[0]}", f"{described} travels in `{field}`; got `{others[0]}`")
    values = getattr(tensor.contents, field)
    if len(values) != count:
        hint = "" if filled else "; send it there, or raw in `raw_input_contents`"
        raise _wrong(f"{place}.contents.{field}", f"{described} has {count} elements; `{field}` has {len(values)}{hint}")
    return RawTensor(name, datatype, shape, _raw_of(values, datatype, described, f"{place}.contents.{field}"))


def _raw_of(values: Sequence[Any], datatype: str, described: str, place: str) -> bytes:
    if datatype == "BYTES":
        return b"".join(part for value in values for part in (_LENGTH.pack(len(value)), value))
    element = ELEMENT_TYPES[datatype]
    if element.kind == "int" and element.dtype.itemsize < 4:
        # They travel in 32 bits, so there may be more than fits.
        wide = np.fromiter(values, dtype=np.int64, count=len(values))
        limits = np.iinfo(element.dtype)
        outside = (wide < limits.min) | (wide > limits.max)
        if outside.any():
            index = int(np.argmax(outside))
            raise _wrong(f"{place}[{index}]", f"{described} takes {limits.min} to {limits.max}; got {wide[index]}")
        return wide.astype(element.dtype).tobytes()
    return np.fromiter(values, dtype=element.dtype, count=len(values)).tobytes()


def _wrong(place: str, text: str) -> InvalidTensor:
    return InvalidTensor(text, field_violations=[(place, text)])
