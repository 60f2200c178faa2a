"""What a loaded model takes and gives: names, element types and shapes of its tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

DYNAMIC = -1
"""A dimension whose extent may differ from call to call."""

_ROWS = (DYNAMIC,)


@dataclass(frozen=True, slots=True)
class ElementType:
    """How the elements of a tensor are kept.

    Args:
        name: Name in the Open Inference Protocol, for example `FP32`.
        onnx_name: Name that ONNX Runtime uses, for example `tensor(float)`.
        dtype: numpy's dtype, little-endian. BF16, which numpy lacks, is kept as its bits in `uint16`; BYTES as `str` objects.
        kind: What a JSON value of it is: `float`, `int`, `bool` or `string`.
    """

    name: str
    onnx_name: str
    dtype: np.dtype[Any]
    kind: str


def _element(name: str, onnx_name: str, dtype: str, kind: str) -> tuple[str, ElementType]:
    return name, ElementType(name, f"tensor({onnx_name})", np.dtype(dtype), kind)


ELEMENT_TYPES: Mapping[str, ElementType] = MappingProxyType(
    dict(
        (
            _element("BOOL", "bool", "?", "bool"),
            _element("UINT8", "uint8", "<u1", "int"),
            _element("UINT16", "uint16", "<u2", "int"),
            _element("UINT32", "uint32", "<u4", "int"),
            _element("UINT64", "uint64", "<u8", "int"),
            _element("INT8", "int8", "<i1", "int"),
            _element("INT16", "int16", "<i2", "int"),
            _element("INT32", "int32", "<i4", "int"),
            _element("INT64", "int64", "<i8", "int"),
            _element("FP16", "float16", "<f2", "float"),
            _element("FP32", "float", "<f4", "float"),
            _element("FP64", "double", "<f8", "float"),
            _element("BF16", "bfloat16", "<u2", "float"),
            _element("BYTES", "string", "O", "string"),
        )
    )
)
"""Every element type that a tensor may have, by its name in the Open Inference Protocol."""

BY_ONNX_NAME: Mapping[str, ElementType] = MappingProxyType({element.onnx_name: element for element in ELEMENT_TYPES.values()})


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of a model.

    Args:
        name: Unique among the inputs, or the outputs, of the model.
        datatype: Name of its element type, one of `ELEMENT_TYPES`.
        shape: Extent of each dimension, outermost first; -1 where it may vary.
        symbols: The model's own name of each dimension, empty where it has none. Dimensions of one name have one extent in a call.
        is_optional: Whether the model has a value of its own for this input, which counts where a call gives none.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    symbols: tuple[str, ...] = ()
    is_optional: bool = False

    @property
    def element(self) -> ElementType:
        """How its elements are kept."""
        return ELEMENT_TYPES[self.datatype]

    def admits(self, shape: Sequence[int]) -> bool:
        """Whether a tensor of that shape fits."""
        if len(shape) != len(self.shape):
            return False
        if shape[1:] == self.shape[1:] and self.shape[:1] == _ROWS:  # by far the most usual
            return True
        for extent, wanted in zip(shape, self.shape, strict=True):  # noqa: SIM110  # every prediction comes through here
            if extent != wanted and wanted != DYNAMIC:
                return False
        return True

    def __str__(self) -> str:
        return f"{self.datatype} {list(self.shape)}"


@dataclass(frozen=True, slots=True)
class Signature:
    """Inputs and outputs of a model, in its own order.

    Args:
        inputs: What it takes; optional ones last.
        outputs: What it gives.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    required: tuple[TensorSpec, ...] = field(init=False, repr=False, compare=False)
    """The inputs that each call has to give."""
    rows_input: str = field(init=False, repr=False, compare=False)
    """The input whose first dimension counts the rows; empty where it is fixed, and a call is one row."""
    has_optional: bool = field(init=False, repr=False, compare=False)
    """Whether there are others."""
    has_shared_symbols: bool = field(init=False, repr=False, compare=False)
    """Whether two dimensions of the inputs have one name, and so one extent."""
    _by_name: Mapping[str, TensorSpec] = field(init=False, repr=False, compare=False)
    all_outputs: tuple[int, ...] = field(init=False, repr=False, compare=False)
    """Positions of all outputs."""

    def __post_init__(self) -> None:
        symbols = [symbol for spec in self.inputs for symbol in spec.symbols if symbol]
        object.__setattr__(self, "required", tuple(spec for spec in self.inputs if not spec.is_optional))
        first = next(iter(self.required), None)
        object.__setattr__(self, "rows_input", first.name if first is not None and first.shape[:1] == _ROWS else "")
        object.__setattr__(self, "has_optional", len(self.required) < len(self.inputs))
        object.__setattr__(self, "has_shared_symbols", len(set(symbols)) < len(symbols))
        object.__setattr__(self, "_by_name", {spec.name: spec for spec in self.inputs})
        object.__setattr__(self, "all_outputs", tuple(range(len(self.outputs))))

    def input(self, name: str) -> TensorSpec | None:
        """The input of that name, if there is one."""
        return self._by_name.get(name)

    def output_indexes(self, names: Sequence[str]) -> tuple[int, ...]:
        """Positions of the named outputs; of all where none is named.

        Raises:
            KeyError: With the first name that is not an output.
        """
        if not names:
            return self.all_outputs
        positions = {spec.name: index for index, spec in enumerate(self.outputs)}
        return tuple(positions[name] for name in names)


def names_of(specs: Sequence[TensorSpec]) -> str:
    """The names as a message lists them."""
    return ", ".join(f"`{spec.name}`" for spec in specs) or "none"
