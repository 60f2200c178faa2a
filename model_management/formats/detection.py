"""Which format a model is saved in: by the module of its type, so that no engine is imported to find out."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model_management.formats.errors import PickleNotAllowed, UnknownModelType

__all__ = ["detect_format"]

_ROOTS = {
    "xgboost": "xgboost",
    "lightgbm": "lightgbm",
    "sklearn": "sklearn",
    "torch": "pytorch",
    "keras": "tensorflow",
    "tensorflow": "tensorflow",
    "onnx": "onnx",
}


def detect_format(model: Any, *, allow_pickle: bool = False) -> str:
    """Return the name of the format that fits.

    Args:
        model: A model, or the path of a folder, of an ``.onnx`` file or of another file.
        allow_pickle: Whether to fall back to a pickle.

    Raises:
        PickleNotAllowed: If no other format fits, and a pickle is not allowed.
        UnknownModelType: If it is a path that is not there.
    """
    if isinstance(model, (str, os.PathLike)):
        path = Path(model)
        if not path.exists():
            raise UnknownModelType(f"there is no file or folder {str(path)!r}")
        return "onnx" if path.is_file() and path.suffix == ".onnx" else "folder"
    # The nearest class decides: an XGBClassifier is a scikit-learn estimator, too, but XGBoost's own format keeps it better.
    for cls in type(model).__mro__:
        if (found := _ROOTS.get(cls.__module__.partition(".")[0])) is not None:
            return found
    if isinstance(model, Mapping) and model and all(_is_tensor(value) for value in model.values()):
        return "pytorch"
    if allow_pickle:
        return "pickle"
    raise PickleNotAllowed(
        f"a {type(model).__module__}.{type(model).__qualname__} fits no format of {', '.join(sorted(set(_ROOTS.values())))}; saving it"
    )


def _is_tensor(value: Any) -> bool:
    return any(cls.__module__.partition(".")[0] == "torch" for cls in type(value).__mro__)
