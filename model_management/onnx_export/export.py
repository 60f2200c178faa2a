"""An ONNX that has been compared with its model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from model_management.signature import Signature

__all__ = ["OnnxExport"]


@dataclass(frozen=True, slots=True)
class OnnxExport:
    """An ONNX that predicts what its model predicts.

    Args:
        model: The `ModelProto`.
        signature: Its inputs and outputs.
        report: How it was compared, as JSON values.
        columns: The names of the features of a single matrix, in order; empty where there are none.
    """

    model: Any
    signature: Signature
    report: Mapping[str, Any] = field(default_factory=dict)
    columns: tuple[str, ...] = ()
