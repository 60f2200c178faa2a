"""What a model itself predicts, under the names that the outputs of its ONNX have."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from model_management.onnx_export.errors import OnnxNotPossible

__all__ = ["Prediction", "predictions_of"]


@dataclass(frozen=True, slots=True)
class Prediction:
    """One output of a model.

    Args:
        name: ``label``, ``probabilities``, ``scores``, ``prediction`` or ``transformed``.
        values: Row by row, the batch first.
        is_optional: Whether the ONNX may leave it out where it does not agree; an ONNX has no output that was not compared.
    """

    name: str
    values: np.ndarray[Any, Any]
    is_optional: bool = False


def predictions_of(model: Any, rows: Any) -> tuple[Prediction, ...]:
    """Return what the model predicts, in the order in which its converter puts the outputs.

    Args:
        model: Of scikit-learn, XGBoost or LightGBM.
        rows: As the model takes them.

    Raises:
        OnnxNotPossible: If the model predicts nothing, or not for these rows.
    """
    try:
        booster = _BOOSTERS.get(f"{type(model).__module__.partition('.')[0]}.{type(model).__name__}")
        return booster(model, rows) if booster is not None else _of_estimator(model, rows)
    except OnnxNotPossible:
        raise
    except Exception as error:
        # Whatever the model raises, it is about the rows that it was given.
        raise OnnxNotPossible(f"the model does not predict for sample_input: {type(error).__name__}: {error}") from error


def _of_estimator(model: Any, rows: Any) -> tuple[Prediction, ...]:
    from sklearn.base import is_classifier

    if is_classifier(model):
        labels = Prediction("label", np.asarray(model.predict(rows)))
        if hasattr(model, "predict_proba"):
            probabilities = model.predict_proba(rows)
            if not isinstance(probabilities, np.ndarray) or labels.values.ndim != 1:
                raise OnnxNotPossible("a classifier of several labels at once has no ONNX of one shape")
            return labels, Prediction("probabilities", probabilities)
        return (labels, *_scores(model, rows))
    if hasattr(model, "predict"):
        values = np.asarray(model.predict(rows))
        if values.dtype.kind in "iu" and (hasattr(model, "cluster_centers_") or hasattr(model, "score_samples")):
            # Clusters and outliers.
            return (Prediction("label", values), *_scores(model, rows))
        return (Prediction("prediction", values.reshape(len(values), -1)),)
    if hasattr(model, "transform"):
        values = model.transform(rows)
        return (Prediction("transformed", np.asarray(values.toarray() if hasattr(values, "toarray") else values)),)
    raise OnnxNotPossible(f"a {type(model).__name__} neither predicts nor transforms")


def _scores(model: Any, rows: Any) -> tuple[Prediction, ...]:
    if not hasattr(model, "decision_function"):
        return ()
    values = np.asarray(model.decision_function(rows))
    return (Prediction("scores", values.reshape(len(values), -1), is_optional=True),)


def _of_xgboost(model: Any, rows: Any) -> tuple[Prediction, ...]:
    import xgboost

    matrix = xgboost.DMatrix(rows, feature_names=model.feature_names if not hasattr(rows, "columns") else None)
    objective = json.loads(model.save_config())["learner"]["objective"]["name"]
    return _by_objective(str(objective), np.asarray(model.predict(matrix)))


def _of_lightgbm(model: Any, rows: Any) -> tuple[Prediction, ...]:
    found = re.search(r"^objective=(\S+)", model.model_to_string(num_iteration=1), re.MULTILINE)
    return _by_objective(found.group(1) if found else "", np.asarray(model.predict(rows)))


def _by_objective(objective: str, values: np.ndarray[Any, Any]) -> tuple[Prediction, ...]:
    if objective in ("binary", "binary:logistic"):
        values = np.stack([1 - values, values], axis=1)
    elif objective == "multi:softmax":
        return (Prediction("label", values.astype(np.int64)),)
    elif objective not in ("multi:softprob", "multiclass", "multiclassova", "softmax"):
        return (Prediction("prediction", values.reshape(len(values), -1)),)
    return Prediction("label", values.argmax(axis=1)), Prediction("probabilities", values)


_BOOSTERS: dict[str, Callable[[Any, Any], tuple[Prediction, ...]]] = {
    "xgboost.Booster": _of_xgboost,
    "lightgbm.Booster": _of_lightgbm,
}
