"""ONNX of models of scikit-learn, XGBoost, LightGBM, PyTorch and Keras, compared with what the models predict themselves."""

from model_management.onnx_export.errors import OnnxNotPossible
from model_management.onnx_export.export import OnnxExport
from model_management.onnx_export.exporting import export_onnx
from model_management.onnx_export.graphs import signature_of_onnx

__all__ = ["OnnxExport", "OnnxNotPossible", "export_onnx", "signature_of_onnx"]
