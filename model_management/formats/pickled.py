"""Anything, as a pickle; only where saver and loader both say so, and never in a server."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

from model_management.formats.artifact import Format, LoadRequest, SaveRequest, engine_of, existing
from model_management.formats.errors import ArtifactDamaged, PickleNotAllowed, UnknownModelType

__all__ = ["FORMAT"]

_FILE = "model.pkl"


def _save(model: Any, folder: Path, request: SaveRequest) -> dict[str, Any]:
    if not request.allow_pickle:
        raise PickleNotAllowed(f"saving a {type(model).__name__}")
    try:
        with (folder / _FILE).open("wb") as file:
            pickle.dump(model, file, protocol=5)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise UnknownModelType(f"a {type(model).__name__} cannot be pickled: {error}") from error
    return {"engine": engine_of(model, type(model).__module__.partition(".")[0])}


def _load(folder: Path, request: LoadRequest) -> Any:
    if not request.allow_pickle:
        raise PickleNotAllowed("loading this artifact")
    try:
        with existing(folder / _FILE).open("rb") as file:
            # Both sides have been told what this means; see the module.
            return pickle.load(file)  # noqa: S301
    except (pickle.UnpicklingError, EOFError, AttributeError, ImportError, IndexError) as error:
        raise ArtifactDamaged(f"{_FILE} cannot be read: {type(error).__name__}: {error}") from error


FORMAT = Format("pickle", _save, _load)
