"""XGBoost, in its own binary JSON (UBJSON)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from model_management.formats.artifact import Format, LoadRequest, SaveRequest, engine_of, existing
from model_management.formats.errors import ArtifactDamaged, EngineMissing, UnknownModelType

__all__ = ["FORMAT"]

_FILE = "model.ubj"
_KINDS = ("Booster", "XGBClassifier", "XGBRegressor", "XGBRanker", "XGBRFClassifier", "XGBRFRegressor")


def _save(model: Any, folder: Path, request: SaveRequest) -> dict[str, Any]:
    del request
    kind = next((cls.__name__ for cls in type(model).__mro__ if cls.__name__ in _KINDS and cls.__module__.startswith("xgboost.")), None)
    if kind is None:
        raise UnknownModelType(f"{type(model).__name__} is not a model of XGBoost that can be saved; these can: {', '.join(_KINDS)}")
    model.save_model(folder / _FILE)
    return {"engine": engine_of(model, "xgboost"), "kind": kind}


def _load(folder: Path, request: LoadRequest) -> Any:
    try:
        import xgboost
    except ImportError as error:
        raise EngineMissing("xgboost", "xgboost") from error
    kind = request.description.get("kind", "Booster")
    if kind not in _KINDS:
        raise ArtifactDamaged(f"{kind!r} is not a model of XGBoost")
    model = getattr(xgboost, kind)()
    try:
        model.load_model(existing(folder / _FILE))
    except xgboost.core.XGBoostError as error:
        raise ArtifactDamaged(f"{_FILE} cannot be read: {str(error).splitlines()[0]}") from error
    return model


FORMAT = Format("xgboost", _save, _load)
