"""TensorFlow and Keras, as a SavedModel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from model_management.formats.artifact import Format, LoadRequest, SaveRequest, engine_of, existing
from model_management.formats.errors import ArtifactDamaged, EngineMissing, UntrustedTypes

__all__ = ["FORMAT", "SAVED_MODEL"]

_FOLDER = "saved_model"
SAVED_MODEL = "tensorflow.SavedModel"
"""What `load_artifact` has to be told to trust: a SavedModel is a program, with operations on files among others (ADR 0025)."""


def _save(model: Any, folder: Path, request: SaveRequest) -> dict[str, Any]:
    del request
    tensorflow = _tensorflow()
    path = folder / _FOLDER
    if callable(getattr(model, "export", None)):
        # Keras: `export` makes a SavedModel for inference, with the signature that serving expects.
        model.export(str(path), verbose=False)
    else:
        tensorflow.saved_model.save(model, str(path))
    return {"engine": engine_of(model, "tensorflow"), "untrusted_types": [SAVED_MODEL]}


def _load(folder: Path, request: LoadRequest) -> Any:
    tensorflow = _tensorflow()
    path = existing(folder / _FOLDER)
    if SAVED_MODEL not in request.trusted_types:
        raise UntrustedTypes([SAVED_MODEL])
    try:
        return tensorflow.saved_model.load(str(path))
    except (OSError, ValueError, KeyError, tensorflow.errors.OpError) as error:
        raise ArtifactDamaged(f"{_FOLDER} cannot be read: {type(error).__name__}") from error


def _tensorflow() -> Any:
    try:
        import tensorflow
    except ImportError as error:
        raise EngineMissing("tensorflow", "tensorflow") from error
    return tensorflow


FORMAT = Format("tensorflow", _save, _load)
