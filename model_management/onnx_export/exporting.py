"""One door to the ONNX of any model."""

from __future__ import annotations

from typing import Any

from model_management.onnx_export.errors import OnnxNotPossible
from model_management.onnx_export.export import OnnxExport

__all__ = ["export_onnx"]


def export_onnx(model: Any, format_name: str, sample_input: Any = None) -> OnnxExport:
    """Make an ONNX of a model and compare both.

    Args:
        model: The model.
        format_name: The format it is saved in, as `detect_format` names it.
        sample_input: What to compare with; made up where the model says enough about its inputs.

    Raises:
        OnnxNotPossible: If there is no converter, or the ONNX does not predict what the model predicts.
    """
    match format_name:
        case "sklearn" | "xgboost" | "lightgbm":
            from model_management.onnx_export.tabular import export_tabular

            return export_tabular(model, sample_input)
        case "pytorch":
            from model_management.onnx_export.modules import export_torch

            return export_torch(model, sample_input)
        case "tensorflow":
            from model_management.onnx_export.modules import export_keras

            return export_keras(model, sample_input)
    raise OnnxNotPossible(f"there is no converter for the format {format_name}")
