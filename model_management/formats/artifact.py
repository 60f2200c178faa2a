"""A saved model: a folder of files, one of which says what they are."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from model_management.formats.errors import ArtifactDamaged
from model_management.signature import Signature

__all__ = ["ARTIFACT_FILE", "ONNX_FILE", "LoadRequest", "OnnxMode", "SaveRequest", "SavedArtifact", "read_description", "write_description"]

ARTIFACT_FILE = "artifact.json"
"""Says what the other files of the folder are."""
ONNX_FILE = "model.onnx"
"""The model as ONNX, where it could be made; its large tensors may lie beside it as ``model.onnx.data``."""

OnnxMode = Literal["auto", "require", "off"]


@dataclass(frozen=True, slots=True)
class SavedArtifact:
    """What saving has left in the folder.

    Args:
        format: Name of the format, to be kept and handed to `load_artifact`.
        signature: Inputs and outputs; those of the ONNX where there is one. None where nothing is known about them.
        onnx_file: The ONNX, relative to the folder; None where there is none.
        metadata: What else is known, as JSON values: ``engine`` (class, package and version), ``onnx`` (how well it agrees with the
            model, or why there is none), ``columns`` (names of the features that make up a single input).
    """

    format: str
    signature: Signature | None
    onnx_file: str | None
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SaveRequest:
    """How a model is to be saved; see `save_artifact`."""

    sample_input: Any = None
    allow_pickle: bool = False


@dataclass(frozen=True, slots=True)
class LoadRequest:
    """What the loader is allowed to do; see `load_artifact`."""

    description: Mapping[str, Any]
    allow_pickle: bool = False
    trusted_types: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Format:
    """One way to write a model to files and to read it again.

    Args:
        name: As it is kept in the registry.
        save: Writes the model into an empty folder and returns what loading needs to know, as JSON values.
        load: Reads it again.
    """

    name: str
    save: Callable[[Any, Path, SaveRequest], dict[str, Any]]
    load: Callable[[Path, LoadRequest], Any]


def engine_of(model: Any, package: str) -> dict[str, str]:
    """Return class, package and version of what made the model."""
    kind = type(model)
    try:
        found = version(package)
    except PackageNotFoundError:
        found = ""
    return {"class": f"{kind.__module__}.{kind.__qualname__}", "package": package, "version": found}


def write_description(folder: Path, format_name: str, description: Mapping[str, Any]) -> None:
    """Write the file that says what the other files are."""
    content = {"artifact_version": 1, "format": format_name, **description}
    (folder / ARTIFACT_FILE).write_text(json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n")


def read_description(folder: Path) -> dict[str, Any]:
    """Read it again; an empty one where there is none, as in a folder that somebody else made.

    Raises:
        ArtifactDamaged: If it is not a JSON object, or of a version that is not known.
    """
    path = folder / ARTIFACT_FILE
    if not path.exists():
        return {}
    try:
        description = json.loads(path.read_text())
    except ValueError as error:
        raise ArtifactDamaged(f"{ARTIFACT_FILE} is not JSON") from error
    if not isinstance(description, dict) or description.get("artifact_version") != 1:
        raise ArtifactDamaged(f"{ARTIFACT_FILE} is not of version 1; a newer mlmesh has made it")
    return description


def existing(path: Path) -> Path:
    """Return the path of a file or folder of an artifact.

    Raises:
        ArtifactDamaged: If it is not there.
    """
    if not path.exists():
        raise ArtifactDamaged(f"the artifact has no {path.name}")
    return path
