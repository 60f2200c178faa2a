"""What goes into a model and what comes out: names, datatypes and shapes of its tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from model_management.errors import InvalidValue

__all__ = ["DATATYPES", "DYNAMIC", "Signature", "TensorSpec"]

DATATYPES = frozenset(
    {"BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64", "BF16", "BYTES"}
)
"""Datatype names of the Open Inference Protocol (v2); ``BYTES`` carries strings."""

DYNAMIC = -1
"""A dimension whose size is chosen by the caller, such as the batch."""

_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,512}")


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of a model.

    Args:
        name: Unique among the inputs (or the outputs) of the model; 1 to 512 characters, none of them a control character.
        datatype: One of `DATATYPES`.
        shape: Sizes of the dimensions, outermost first; ``-1`` where the caller chooses, such as the batch.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise InvalidValue("signature", f"tensor name {self.name!r} is not 1 to 512 characters without control characters")
        if self.datatype not in DATATYPES:
            raise InvalidValue(
                "signature", f"tensor {self.name!r} has datatype {self.datatype!r}; allowed are {', '.join(sorted(DATATYPES))}"
            )
        object.__setattr__(self, "shape", tuple(int(size) for size in self.shape))
        if any(size < DYNAMIC for size in self.shape):
            raise InvalidValue(
                "signature", f"tensor {self.name!r} has shape {list(self.shape)}; a dimension is 0 or more, or -1 for any size"
            )

    def to_dict(self) -> dict[str, object]:
        """Return the JSON form: ``{"name", "datatype", "shape"}``."""
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}

    @classmethod
    def from_dict(cls, value: Mapping[str, object]) -> TensorSpec:
        """Read the JSON form back.

        Args:
            value: What `to_dict` returned.

        Raises:
            InvalidValue: If a key is missing or a value is not allowed.
        """
        name, datatype, shape = value.get("name"), value.get("datatype"), value.get("shape")
        if not isinstance(name, str) or not isinstance(datatype, str) or not isinstance(shape, Sequence) or isinstance(shape, str):
            raise InvalidValue("signature", f"a tensor is an object with name, datatype and shape; got {dict(value)!r}")
        return cls(name, datatype, tuple(shape))


@dataclass(frozen=True, slots=True)
class Signature:
    """Inputs and outputs of a model, in the order in which the model lists them."""

    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()

    def __post_init__(self) -> None:
        for kind, specs in (("inputs", self.inputs), ("outputs", self.outputs)):
            object.__setattr__(self, kind, tuple(specs))
            names = [spec.name for spec in specs]
            if len(set(names)) != len(names):
                raise InvalidValue(
                    "signature", f"{kind} have names that occur twice: {sorted({name for name in names if names.count(name) > 1})}"
                )

    def to_dict(self) -> dict[str, list[dict[str, object]]]:
        """Return the JSON form: ``{"inputs": [...], "outputs": [...]}``."""
        return {"inputs": [spec.to_dict() for spec in self.inputs], "outputs": [spec.to_dict() for spec in self.outputs]}

    @classmethod
    def from_dict(cls, value: Mapping[str, Sequence[Mapping[str, object]]]) -> Signature:
        """Read the JSON form back.

        Args:
            value: What `to_dict` returned.

        Raises:
            InvalidValue: If a tensor is malformed or a name occurs twice.
        """
        return cls(
            inputs=tuple(TensorSpec.from_dict(spec) for spec in value.get("inputs", ())),
            outputs=tuple(TensorSpec.from_dict(spec) for spec in value.get("outputs", ())),
        )
