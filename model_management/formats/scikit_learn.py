"""scikit-learn, as skops: a zip of JSON and arrays, of which every type is looked at before it is made."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any

from model_management.formats.artifact import Format, LoadRequest, SaveRequest, engine_of, existing
from model_management.formats.errors import ArtifactDamaged, EngineMissing, UntrustedTypes

__all__ = ["FORMAT", "HARMLESS_TYPES"]

_FILE = "model.skops"

HARMLESS_TYPES = frozenset(
    {
        # Settings of estimators. What a `partial` calls is looked at on its own.
        "collections.OrderedDict",
        "collections.defaultdict",
        "functools.partial",
        "numpy.dtype",
        "sklearn.utils.validation.check_array",
        # Steps of pipelines; each reads its own text or binary model.
        "lightgbm.basic.Booster",
        "lightgbm.sklearn.LGBMClassifier",
        "lightgbm.sklearn.LGBMRanker",
        "lightgbm.sklearn.LGBMRegressor",
        "xgboost.core.Booster",
        "xgboost.sklearn.XGBClassifier",
        "xgboost.sklearn.XGBRFClassifier",
        "xgboost.sklearn.XGBRFRegressor",
        "xgboost.sklearn.XGBRanker",
        "xgboost.sklearn.XGBRegressor",
    }
)
"""Types that are loaded without asking, beside the classes of scikit-learn and what skops trusts itself (ADR 0025)."""

_NOT_FOR_MODELS = ("sklearn.externals.", "sklearn.datasets.", "sklearn.utils._testing", "sklearn.conftest", "sklearn.tests.")


def _save(model: Any, folder: Path, request: SaveRequest) -> dict[str, Any]:
    del request
    io = _skops()
    io.dump(model, folder / _FILE)
    untrusted = sorted(name for name in io.get_untrusted_types(file=folder / _FILE) if not _is_harmless(name))
    return {"engine": engine_of(model, "scikit-learn"), "untrusted_types": untrusted}


def _load(folder: Path, request: LoadRequest) -> Any:
    io = _skops()
    path = existing(folder / _FILE)
    try:
        present = io.get_untrusted_types(file=path)
        if untrusted := sorted(name for name in present if name not in request.trusted_types and not _is_harmless(name)):
            raise UntrustedTypes(untrusted)
        return io.load(path, trusted=list(present))
    except UntrustedTypes:
        raise
    except ImportError as error:
        raise EngineMissing(error.name or "a package of the model", "sklearn") from error
    except Exception as error:
        # skops lets through whatever a malformed file leads to: KeyError, BadZipFile, TypeError, ...
        raise ArtifactDamaged(f"{_FILE} cannot be read: {type(error).__name__}: {error}") from error


def _is_harmless(name: str) -> bool:
    """Tell whether a type may be made without asking: it is in the list, or a class (no function) of scikit-learn itself.

    skops trusts the public estimators and leaves out what they are made of, such as the trees of a forest.
    """
    if name in HARMLESS_TYPES:
        return True
    module, _, attribute = name.rpartition(".")
    if not module.startswith("sklearn.") or f"{module}.".startswith(_NOT_FOR_MODELS):
        return False
    try:
        found = getattr(importlib.import_module(module), attribute, None)
    except ImportError:
        return False
    return inspect.isclass(found) and found.__module__.startswith("sklearn.")


def _skops() -> Any:
    try:
        import skops.io
    except ImportError as error:
        raise EngineMissing("skops", "sklearn") from error
    return skops.io


FORMAT = Format("sklearn", _save, _load)
