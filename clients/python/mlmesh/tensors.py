"""numpy arrays and pandas DataFrames to tensors and back."""

from __future__ import annotations

import contextlib
import struct
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from mlops.common.v1 import tensor_pb2
from mlops.common.v1.tensor_pb2 import Signature, Tensor, TensorSpec
from numpy.typing import NDArray

from mlmesh.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterator

_DTYPES: Mapping[int, str] = {
    tensor_pb2.DATA_TYPE_BOOL: "?",
    tensor_pb2.DATA_TYPE_UINT8: "<u1",
    tensor_pb2.DATA_TYPE_UINT16: "<u2",
    tensor_pb2.DATA_TYPE_UINT32: "<u4",
    tensor_pb2.DATA_TYPE_UINT64: "<u8",
    tensor_pb2.DATA_TYPE_INT8: "<i1",
    tensor_pb2.DATA_TYPE_INT16: "<i2",
    tensor_pb2.DATA_TYPE_INT32: "<i4",
    tensor_pb2.DATA_TYPE_INT64: "<i8",
    tensor_pb2.DATA_TYPE_FP16: "<f2",
    tensor_pb2.DATA_TYPE_FP32: "<f4",
    tensor_pb2.DATA_TYPE_FP64: "<f8",
}
_DATATYPES = {np.dtype(code): datatype for datatype, code in _DTYPES.items()}
_LENGTH = struct.Struct("<I")


def to_tensor(name: str, values: Any, spec: TensorSpec | None = None) -> Tensor:
    """Makes a tensor of an array, a DataFrame, a Series or nested lists.

    Args:
        name: Name of the input.
        values: The values. Strings and bytes make a BYTES tensor.
        spec: What the model says of the input. Numbers are converted to its element type where nothing is lost but precision.

    Returns:
        The tensor.

    Raises:
        InvalidArgument: The values cannot be sent as a tensor, or cannot be what the model expects.
    """
    array = _as_array(name, values)
    if spec is not None:
        array = _as_expected(name, array, spec)
    if array.dtype.kind in "OSU":
        elements = [element.encode() if isinstance(element, str) else _bytes(name, element) for element in array.ravel().tolist()]
        raw = b"".join(_LENGTH.pack(len(element)) + element for element in elements)
        return Tensor(name=name, datatype=tensor_pb2.DATA_TYPE_BYTES, shape=array.shape, raw=raw)
    little_endian = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    datatype = _DATATYPES.get(little_endian.dtype)
    if datatype is None:
        raise InvalidArgument(f"input {name!r}: {array.dtype} cannot be sent as a tensor; convert it to a number, bool or string type")
    # A scalar stays one: ascontiguousarray would make it a vector.
    return Tensor(name=name, datatype=tensor_pb2.DataType.ValueType(datatype), shape=array.shape, raw=little_endian.tobytes())


def from_tensor(tensor: Tensor) -> NDArray[Any]:
    """Makes an array of a tensor.

    Returns:
        An array of the tensor's shape and element type; for BYTES, `object` elements that are `str` where all are UTF-8, else `bytes`.

    Raises:
        ValueError: The bytes do not fit the shape.
    """
    shape = tuple(tensor.shape)
    if tensor.datatype == tensor_pb2.DATA_TYPE_BYTES:
        elements: list[Any] = list(_elements(tensor.raw))
        with contextlib.suppress(UnicodeDecodeError):  # not text: the bytes as they are
            elements = [element.decode() for element in elements]
        array = np.empty(len(elements), dtype=object)
        array[:] = elements
        return array.reshape(shape)
    if tensor.datatype == tensor_pb2.DATA_TYPE_BF16:
        # numpy has no bfloat16: it is the upper half of a float32.
        return (np.frombuffer(tensor.raw, "<u2").astype("<u4") << 16).view("<f4").reshape(shape)
    return np.frombuffer(tensor.raw, _DTYPES[tensor.datatype]).reshape(shape).copy()


def to_inputs(values: Any, signature: Signature | None) -> list[Tensor]:
    """Makes the inputs of a model of whatever people hold in their hands.

    Args:
        values: A mapping of input names to arrays; a DataFrame, whose columns are the inputs where the model has inputs of these names,
            and else the columns of its only input; or anything that makes one array, for a model with one input.
        signature: What the model expects; None = unknown, so that only a mapping can be sent.

    Returns:
        One tensor an input.

    Raises:
        InvalidArgument: The values do not fit the signature.
    """
    specs = {spec.name: spec for spec in signature.inputs} if signature is not None else {}
    if isinstance(values, Mapping):
        unknown = sorted(set(map(str, values)) - set(specs)) if specs else []
        if unknown:
            raise InvalidArgument(f"the model has no input {unknown[0]!r}; it has: {', '.join(specs)}", reason="INPUT_UNKNOWN")
        return [to_tensor(str(name), value, specs.get(str(name))) for name, value in values.items()]
    if _is_frame(values) and specs and {str(column) for column in values.columns} >= set(specs):
        return [_column(spec, values[name]) for name, spec in specs.items()]
    if len(specs) != 1:
        expected = f"the inputs {', '.join(specs)}" if specs else "inputs whose names are not known here"
        raise InvalidArgument(f"the model has {expected}: give a mapping of names to arrays", reason="INPUT_AMBIGUOUS")
    (name, spec), *_ = specs.items()
    return [to_tensor(name, values, spec)]


def to_nested_lists(values: Any) -> Any:
    """Returns rows as nested lists, for JSON.

    Raises:
        InvalidArgument: The values have no JSON form.
    """
    array = _as_array("instances", values)
    if array.dtype.kind == "O" and any(isinstance(element, bytes) for element in array.ravel().tolist()):
        raise InvalidArgument("bytes have no JSON form: give a mapping of input names to arrays", reason="INPUT_TYPE")
    return array.tolist()


def _column(spec: TensorSpec, series: Any) -> Tensor:
    """A column of a DataFrame as an input: one row a value, with a second axis of 1 where the model has two axes."""
    array = _as_array(spec.name, series)
    return to_tensor(spec.name, array.reshape(-1, 1) if len(spec.shape) == 2 else array, spec)


def _as_array(name: str, values: Any) -> NDArray[Any]:
    if _is_frame(values) or _is_series(values):
        values = values.to_numpy()
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise InvalidArgument(f"input {name!r} is not rectangular: {error}", reason="INPUT_RAGGED") from None
    if array.dtype.kind == "O":
        return _of_objects(name, array)
    return array


def _of_objects(name: str, array: NDArray[Any]) -> NDArray[Any]:
    """An object array holds texts, or numbers that a DataFrame of mixed columns turned into objects."""
    elements = array.ravel().tolist()
    if all(isinstance(element, (str, bytes)) for element in elements):
        return array
    if all(isinstance(element, (bool, int, float, np.number)) for element in elements):
        return np.array(elements).reshape(array.shape)
    odd = next(element for element in elements if not isinstance(element, (bool, int, float, np.number)))
    raise InvalidArgument(f"input {name!r} mixes types: {type(odd).__name__} among others cannot be sent as a tensor", reason="INPUT_MIXED")


def _as_expected(name: str, array: NDArray[Any], spec: TensorSpec) -> NDArray[Any]:
    if spec.datatype == tensor_pb2.DATA_TYPE_BYTES or array.dtype.kind in "OSU":
        if (spec.datatype == tensor_pb2.DATA_TYPE_BYTES) != (array.dtype.kind in "OSU"):
            wanted = tensor_pb2.DataType.Name(spec.datatype).removeprefix("DATA_TYPE_")
            raise InvalidArgument(f"input {name!r} expects {wanted} and got {array.dtype}", reason="INPUT_TYPE")
        return array
    code = _DTYPES.get(spec.datatype)
    if code is None or array.dtype == np.dtype(code):
        return array
    with np.errstate(over="ignore", invalid="ignore"):
        converted = array.astype(code)
    wanted = tensor_pb2.DataType.Name(spec.datatype).removeprefix("DATA_TYPE_")
    is_float = converted.dtype.kind == "f"
    if not is_float and not np.array_equal(converted.astype(array.dtype), array):
        raise InvalidArgument(f"input {name!r} expects {wanted}; {array.dtype} values would change", reason="INPUT_TYPE")
    if is_float and array.dtype.kind == "f" and bool(np.any(np.isinf(converted) & np.isfinite(array))):
        raise InvalidArgument(f"input {name!r} expects {wanted}; some values are too large for it", reason="INPUT_TYPE")
    return converted


def _elements(raw: bytes) -> Iterator[bytes]:
    position = 0
    while position < len(raw):
        (length,) = _LENGTH.unpack_from(raw, position)
        position += _LENGTH.size
        if position + length > len(raw):
            raise ValueError("a BYTES element is longer than the tensor")
        yield raw[position : position + length]
        position += length


def _bytes(name: str, element: object) -> bytes:
    if isinstance(element, bytes):
        return element
    raise InvalidArgument(f"input {name!r}: {type(element).__name__} among text cannot be sent as a tensor", reason="INPUT_MIXED")


def _is_frame(values: Any) -> bool:
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(values, pandas.DataFrame)


def _is_series(values: Any) -> bool:
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(values, pandas.Series)
