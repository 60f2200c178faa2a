"""LightGBM, in its own text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from model_management.formats.artifact import Format, LoadRequest, SaveRequest, engine_of, existing
from model_management.formats.errors import ArtifactDamaged, EngineMissing, UnknownModelType

__all__ = ["FORMAT"]

_FILE = "model.txt"
_KINDS = ("Booster", "LGBMClassifier", "LGBMRegressor", "LGBMRanker")


def _save(model: Any, folder: Path, request: SaveRequest) -> dict[str, Any]:
    del request
    kind = next((cls.__name__ for cls in type(model).__mro__ if cls.__name__ in _KINDS and cls.__module__.startswith("lightgbm.")), None)
    if kind is None:
        raise UnknownModelType(f"{type(model).__name__} is not a model of LightGBM that can be saved; these can: {', '.join(_KINDS)}")
    description: dict[str, Any] = {"engine": engine_of(model, "lightgbm"), "kind": kind}
    if kind == "Booster":
        model.save_model(folder / _FILE)
        return description
    model.booster_.save_model(folder / _FILE)
    description["parameters"] = {name: value for name, value in model.get_params().items() if _is_json(value)}
    description["objective"] = model.objective_ if isinstance(model.objective_, str) else None
    description["best_iteration"] = int(model.best_iteration_ or 0)
    description["has_feature_names"] = hasattr(model, "feature_names_in_")
    if kind == "LGBMClassifier":
        description["classes"] = model.classes_.tolist()
        description["classes_dtype"] = "str" if model.classes_.dtype.kind in "UO" else model.classes_.dtype.str
    return description


def _load(folder: Path, request: LoadRequest) -> Any:
    try:
        import lightgbm
    except ImportError as error:
        raise EngineMissing("lightgbm", "lightgbm") from error
    kind = request.description.get("kind", "Booster")
    if kind not in _KINDS:
        raise ArtifactDamaged(f"{kind!r} is not a model of LightGBM")
    try:
        booster = lightgbm.Booster(model_file=existing(folder / _FILE))
    except lightgbm.basic.LightGBMError as error:
        raise ArtifactDamaged(f"{_FILE} cannot be read: {error}") from error
    if kind == "Booster":
        return booster
    try:
        return _with_booster(getattr(lightgbm, kind)(**request.description["parameters"]), booster, request.description)
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactDamaged(f"the description of the {kind} is incomplete: {error}") from error


def _with_booster(model: Any, booster: Any, description: Any) -> Any:
    """Put a trained booster into an estimator that was never fitted.

    LightGBM has no public way to do it (its own advice is a pickle), so these are the attributes that `fit` of LightGBM 4 sets; the tests
    compare every kind of prediction before and after.
    """
    import numpy as np
    from sklearn.preprocessing import LabelEncoder

    model._Booster = booster
    model._best_iteration = description["best_iteration"]
    model._objective = description["objective"]
    model._n_features = model._n_features_in = booster.num_feature()
    model._fitted_with_feature_names = description["has_feature_names"]
    model.fitted_ = True
    if "classes" in description:
        classes = np.asarray(description["classes"], dtype=description["classes_dtype"])
        model._le = LabelEncoder().fit(classes)
        model._classes = model._le.classes_
        model._n_classes = len(classes)
        model._class_map = dict(zip(model._classes, model._le.transform(model._classes), strict=True))
    return model


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True


FORMAT = Format("lightgbm", _save, _load)
