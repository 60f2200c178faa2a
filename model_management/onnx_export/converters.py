"""The converters of others: skl2onnx for scikit-learn, onnxmltools for XGBoost and LightGBM."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np

from model_management.onnx_export.errors import OnnxNotPossible
from model_management.onnx_export.graphs import cast_around_trees
from model_management.onnx_export.layout import InputLayout, fitted_parts_of

__all__ = ["convert"]

_ML_OPSET = 3
"""Of ``ai.onnx.ml``: the newest that all converters take; some add a 5 of their own accord, which skl2onnx refuses then."""


def convert(model: Any, layout: InputLayout) -> Any:
    """Convert a fitted model to a `ModelProto`.

    Args:
        model: Of scikit-learn, XGBoost or LightGBM.
        layout: Its inputs.

    Raises:
        OnnxNotPossible: If the packages are missing.
        Exception: Whatever the converter raises for a model that it does not know.
    """
    root = next(
        (root for cls in type(model).__mro__ if (root := cls.__module__.partition(".")[0]) in ("xgboost", "lightgbm", "sklearn")), ""
    )
    try:
        match root:
            case "xgboost":
                return _convert_xgboost(model, layout)
            case "lightgbm":
                return _convert_lightgbm(model, layout)
            case _:
                return _convert_sklearn(model, layout)
    except ImportError as error:
        raise OnnxNotPossible(f"{error.name} is not installed") from error


def _convert_sklearn(model: Any, layout: InputLayout) -> Any:
    from skl2onnx import convert_sklearn, get_latest_tested_opset_version
    from skl2onnx.common import data_types
    from sklearn.base import is_classifier

    _register_boosters(model)
    types = {
        "FP64": data_types.DoubleTensorType,
        "FP32": data_types.FloatTensorType,
        "INT64": data_types.Int64TensorType,
        "BOOL": data_types.BooleanTensorType,
        "BYTES": data_types.StringTensorType,
    }
    inputs = [(spec.name, types[spec.datatype]([None, *spec.shape[1:]])) for spec in layout.specs()]
    model = _convertible(model)
    arguments = {"name": "model", "initial_types": inputs, "target_opset": {"": get_latest_tested_opset_version(), "ai.onnx.ml": _ML_OPSET}}
    if not is_classifier(model):
        return _as_runnable(convert_sklearn(model, **arguments))
    try:
        converted = convert_sklearn(model, options={id(model): {"zipmap": False}}, **arguments)
    except NameError:
        # This is how skl2onnx says that a classifier without probabilities has no such option.
        converted = convert_sklearn(model, **arguments)
    return _as_runnable(converted)


def _convertible(model: Any) -> Any:
    """Return a copy with settings that the converter knows and that mean the same for predictions."""
    from sklearn.ensemble import VotingClassifier
    from sklearn.impute import SimpleImputer

    model = copy.deepcopy(model)
    for part in fitted_parts_of(model):
        if isinstance(part, VotingClassifier):
            # Concerns `transform` only.
            part.flatten_transform = False
        if isinstance(part, SimpleImputer) and getattr(part, "statistics_", np.empty(0)).dtype.kind in "OUS":
            # A missing text is an empty one in a tensor; see `feeds_of`.
            part.missing_values = ""
    return model


def _as_runnable(converted: Any) -> Any:
    """Change what ONNX Runtime would refuse, in place."""
    from onnx import helper

    for node in converted.graph.node:
        if node.op_type == "StringNormalizer":
            # Its default is en_US.UTF-8, which images of containers lack; every Linux has this one.
            for attribute in [attribute for attribute in node.attribute if attribute.name == "locale"]:
                node.attribute.remove(attribute)
            node.attribute.append(helper.make_attribute("locale", "C.UTF-8"))
    cast_around_trees(converted)
    return converted


def _convert_xgboost(model: Any, layout: InputLayout) -> Any:
    from onnxmltools import convert_xgboost
    from onnxmltools.convert.common.data_types import FloatTensorType

    # The converter reads f0, f1, … only; names are in the order of the columns, which is all that a matrix needs.
    nameless = copy.deepcopy(model)
    booster = nameless if type(nameless).__name__ == "Booster" else nameless.get_booster()
    booster.feature_names = None
    booster.feature_types = None
    _refuse_what_is_converted_wrongly(booster)
    if type(model).__name__ == "XGBRanker":
        # The converter does not know the wrapper; what it adds is not needed to predict.
        nameless = booster
    return convert_xgboost(nameless, initial_types=[(layout.specs()[0].name, FloatTensorType([None, layout.width]))])


def _refuse_what_is_converted_wrongly(booster: Any) -> None:
    learner = json.loads(booster.save_config())["learner"]
    if (kind := learner["gradient_booster"]["name"]) != "gbtree":
        raise OnnxNotPossible(f"a booster of the kind {kind} has no converter")
    if int(learner["learner_model_param"].get("num_target", "1")) > 1:
        # onnxmltools 1.16 converts it, to something that predicts the first target twice.
        raise OnnxNotPossible("a model of XGBoost with several targets has no converter")


def _convert_lightgbm(model: Any, layout: InputLayout) -> Any:
    from onnxmltools import convert_lightgbm
    from onnxmltools.convert.common.data_types import FloatTensorType

    return convert_lightgbm(model, initial_types=[(layout.specs()[0].name, FloatTensorType([None, layout.width]))], zipmap=False)


def _register_boosters(model: Any) -> None:
    """Tell skl2onnx how to convert the XGBoost and LightGBM steps of a pipeline; only where there are some."""
    found = {type(part) for part in fitted_parts_of(model) if type(part).__module__.partition(".")[0] in ("xgboost", "lightgbm")}
    if not found:
        return
    from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm
    from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost
    from skl2onnx import update_registered_converter
    from skl2onnx.common.shape_calculator import calculate_linear_classifier_output_shapes, calculate_linear_regressor_output_shapes

    for kind in found:
        is_classifier = "Classifier" in kind.__name__
        update_registered_converter(
            kind,
            kind.__name__,
            calculate_linear_classifier_output_shapes if is_classifier else calculate_linear_regressor_output_shapes,
            convert_xgboost if kind.__module__.startswith("xgboost") else convert_lightgbm,
            options={"nocl": [True, False], "zipmap": [True, False, "columns"]} if is_classifier else None,
        )
