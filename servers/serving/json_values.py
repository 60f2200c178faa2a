"""JSON values to numpy: nested lists, as people write them, against what the model expects.

What is taken: numbers for numbers (a whole `2.0` also where an integer is expected), `true` and `false` for BOOL and, as 1 and 0, for
numbers (pandas makes one-hot columns of booleans), strings for BYTES. JSON has no NaN and no infinities, so floating inputs take the
strings `"NaN"`, `"Infinity"` and `"-Infinity"` as protobuf's JSON does, and `null` as NaN, which is how pandas and R write a missing value.
Nothing is rounded into an integer, wrapped around, or turned into an infinity in silence.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

import numpy as np

from servers.serving.errors import InvalidTensor
from servers.serving.signature import DYNAMIC, TensorSpec

SPECIAL_FLOATS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
"""How JSON spells what it has no number for."""

_MAX_SHOWN = 60

# Integers are looked at one by one, since each has to be in range.
_UNCONVERTED: dict[str, frozenset[type]] = {
    "float": frozenset((float, int, bool)),
    "int": frozenset(),
    "bool": frozenset((bool,)),
    "string": frozenset((str,)),
}


def array_of(value: object, spec: TensorSpec, path: str, *, has_strings: bool = True) -> np.ndarray[Any, Any]:
    """Turns nested lists into the tensor that an input expects.

    Args:
        value: What the JSON parser gave: lists in lists, numbers, strings, booleans, None.
        spec: The input.
        path: Where the value stands in the body, for example `instances` or `inputs.x`.
        has_strings: Whether there may be strings among the values. Knowing that there are none makes it twice as fast.

    Returns:
        The tensor, in the input's element type.

    Raises:
        InvalidTensor: If shape or elements do not fit; names the first place that is wrong.
    """
    is_plain = spec.element.kind in ("float", "int") and not has_strings
    array = _from_numbers(value, spec, path) if is_plain else _from_objects(value, spec, path)
    if not spec.admits(array.shape):
        _refuse_shape(value, spec, path, array.shape)
    return array


def row_of_one(spec: TensorSpec) -> bool:
    """Whether one row of the input is one element, which may then be written without brackets."""
    return len(spec.shape) > 1 and all(extent == 1 for extent in spec.shape[1:])


def _from_numbers(value: object, spec: TensorSpec, path: str) -> np.ndarray[Any, Any]:
    """Lets numpy find the type. Not for values with strings: it would make room for the longest one at every place."""
    try:
        array = np.array(value)
    except (ValueError, OverflowError):
        _refuse_shape(value, spec, path, None)
    if array.dtype.kind in ("fiub" if spec.element.kind == "float" else "iub"):
        return _narrowed(array, spec, path)
    return _from_objects(value, spec, path)


def _from_objects(value: object, spec: TensorSpec, path: str) -> np.ndarray[Any, Any]:
    """Looks at the type of every element: strings and booleans, and numbers where numpy alone would lose or hide something."""
    try:
        objects = np.array(value, dtype=object)
    except ValueError:
        _refuse_shape(value, spec, path, None)
    if objects.ndim != len(spec.shape):
        _refuse_shape(value, spec, path, objects.shape)
    flat = objects.reshape(-1)
    kind = spec.element.kind
    if not _UNCONVERTED[kind].issuperset(map(type, flat)):
        for index, element in enumerate(flat):
            flat[index] = _element(element, spec, path, objects.shape, index)
    if kind == "string":
        return objects
    if kind == "bool":
        return objects.astype(np.bool_)
    if kind == "int":
        return objects.astype(spec.element.dtype)
    return _narrowed(objects.astype(np.float64), spec, path)


def _element(element: object, spec: TensorSpec, path: str, shape: Sequence[int], index: int) -> object:
    kind = spec.element.kind
    if kind == "string" and type(element) is str:
        return element
    if kind == "bool" and type(element) is bool:
        return element
    if kind == "float":
        if isinstance(element, (int, float)):
            return float(element)
        if element is None:
            return math.nan
        if isinstance(element, str) and element in SPECIAL_FLOATS:
            return SPECIAL_FLOATS[element]
    if kind == "int" and isinstance(element, (int, float)) and element == (whole := int(element)):
        limits = np.iinfo(spec.element.dtype)
        if not limits.min <= whole <= limits.max:
            _refuse_range(spec, path, shape, index, element)
        return whole
    if isinstance(element, (list, dict)):
        place = _place(path, shape, index)
        raise _invalid(place, f"input `{spec.name}` expects {spec}; {_too_deep(element)}")
    raise _invalid(_place(path, shape, index), f"input `{spec.name}` expects {_wanted(spec)}; got {shown(element)}")


def _narrowed(array: np.ndarray[Any, Any], spec: TensorSpec, path: str) -> np.ndarray[Any, Any]:
    """Casts to the input's type, and refuses what that type cannot hold."""
    target = spec.element.dtype
    if spec.element.kind == "int":
        limits = np.iinfo(target)
        if array.size and array.dtype.kind != "b" and (int(array.min()) < limits.min or int(array.max()) > limits.max):
            wrong = (array < limits.min) | (array > limits.max)
            index = int(np.argmax(wrong.reshape(-1)))
            _refuse_range(spec, path, array.shape, index, array.reshape(-1)[index].item())
        return array.astype(target)
    if spec.datatype == "BF16":
        with np.errstate(over="ignore"):
            bits = bfloat16_bits(array.astype(np.float32))
        _refuse_infinities(array, bfloat16_values(bits), spec, path)
        return bits
    if array.dtype == target:
        return array
    try:
        with np.errstate(over="raise"):
            return array.astype(target)
    except FloatingPointError:
        with np.errstate(over="ignore"):
            narrowed = array.astype(target)
        _refuse_infinities(array, narrowed, spec, path)
        return narrowed


def _refuse_infinities(array: np.ndarray[Any, Any], narrowed: np.ndarray[Any, Any], spec: TensorSpec, path: str) -> None:
    """Refuses numbers that became infinite on the way to the input's type."""
    lost = (np.isfinite(array) & ~np.isfinite(narrowed)).reshape(-1)
    if lost.any():
        index = int(np.argmax(lost))
        _refuse_range(spec, path, array.shape, index, array.reshape(-1)[index].item())


def bfloat16_bits(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Rounds float32 to bfloat16, to nearest and ties to even, and gives the bits as uint16."""
    bits = np.asarray(array, dtype="<f4").view("<u4")
    rounded = ((bits + (0x7FFF + ((bits >> 16) & 1)).astype("<u4")) >> 16).astype("<u2")
    # Rounding up the payload of a NaN could carry it into an infinity or the sign.
    quiet = ((bits >> 16) | 0x40).astype("<u2")
    return np.asarray(np.where(np.isnan(array), quiet, rounded), dtype="<u2")


def bfloat16_values(bits: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The float32 values of bfloat16 bits."""
    return np.asarray(np.asarray(bits, dtype="<u4") << 16, dtype="<u4").view("<f4")


def shown(value: object) -> str:
    """A JSON value as an error shows it: short, and in JSON's words."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = f'"{value}"' if isinstance(value, str) else repr(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"


def _wanted(spec: TensorSpec) -> str:
    words = {"string": "a string", "bool": "true or false", "int": "an integer", "float": "a number"}
    return f"{words[spec.element.kind]} ({spec})"


def _place(path: str, shape: Sequence[int], index: int) -> str:
    return path + "".join(f"[{position}]" for position in np.unravel_index(index, tuple(shape))) if shape else path


def _refuse_range(spec: TensorSpec, path: str, shape: Sequence[int], index: int, element: object) -> NoReturn:
    raise _invalid(
        _place(path, shape, index), f"input `{spec.name}` expects {spec}; {shown(element)} is out of the range of {spec.datatype}"
    )


def _refuse_shape(value: object, spec: TensorSpec, path: str, shape: Sequence[int] | None) -> NoReturn:
    """Finds the first place where nested lists leave the expected shape."""
    extents: list[int] = list(spec.shape)
    for place, found in _walk(value, extents, path, 0):
        raise _invalid(place, f"input `{spec.name}` expects {spec}; {found}")
    got = f"shape {list(shape)}" if shape is not None else "lists of different lengths"
    raise _invalid(path, f"input `{spec.name}` expects {spec}; got {got}")


def _too_deep(value: object) -> str:
    return f"got {shown(value)} where a value is expected: it is nested too deep"


def _walk(value: object, extents: list[int], path: str, depth: int) -> Iterator[tuple[str, str]]:
    if depth == len(extents):
        if isinstance(value, (list, dict)):
            yield path, _too_deep(value)
        return
    if not isinstance(value, list):
        yield path, f"got {shown(value)} where a list is expected: it is not nested deep enough"
        return
    if extents[depth] == DYNAMIC:
        extents[depth] = len(value)  # the first list sets the extent that its siblings have to have
    elif len(value) != extents[depth]:
        yield path, f"got {shown(value)}; {extents[depth]} are expected here"
        return
    for index, inner in enumerate(value):
        yield from _walk(inner, extents, f"{path}[{index}]", depth + 1)


def _invalid(place: str, text: str) -> InvalidTensor:
    return InvalidTensor(f"{place}: {text}", field_violations=[(place, text)])
