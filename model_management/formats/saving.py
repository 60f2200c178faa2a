"""Saving a model to a folder, and loading it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from model_management.formats import folder as any_folder
from model_management.formats import lightgbm, onnx, pickled, pytorch, scikit_learn, tensorflow, xgboost
from model_management.formats.artifact import (
    ONNX_FILE,
    Format,
    LoadRequest,
    OnnxMode,
    SavedArtifact,
    SaveRequest,
    read_description,
    write_description,
)
from model_management.formats.detection import detect_format
from model_management.formats.errors import ArtifactDamaged, OnnxExportFailed, UnknownModelType
from model_management.onnx_export import OnnxNotPossible, export_onnx, signature_of_onnx
from model_management.signature import Signature

__all__ = ["FORMATS", "load_artifact", "save_artifact"]

FORMATS: Mapping[str, Format] = {
    kind.name: kind
    for kind in (
        scikit_learn.FORMAT,
        xgboost.FORMAT,
        lightgbm.FORMAT,
        pytorch.FORMAT,
        tensorflow.FORMAT,
        onnx.FORMAT,
        any_folder.FORMAT,
        pickled.FORMAT,
    )
}
"""Every format by its name."""


def save_artifact(
    model: Any,
    folder: Path,
    *,
    format: str | None = None,
    sample_input: Any = None,
    allow_pickle: bool = False,
    onnx: OnnxMode = "auto",
) -> SavedArtifact:
    """Write a model to a folder, in its own format and, where it can be made, as ONNX.

    Args:
        model: A model of scikit-learn, XGBoost, LightGBM, PyTorch, TensorFlow or Keras, an ONNX, or the path of a file or folder.
        folder: Where to; made where it does not exist, empty otherwise.
        format: One of `FORMATS`; the one that fits the model, by default.
        sample_input: What the model is given, with a batch of rows first. With it the ONNX is compared, and the signature is known.
        allow_pickle: Whether a model that fits no other format may be pickled; whoever loads it has to allow that, too.
        onnx: ``auto``: kept where it predicts what the model predicts; ``require``: an error where not; ``off``: not tried.

    Returns:
        What has been written.

    Raises:
        UnknownModelType: If no format fits, or the one asked for does not.
        PickleNotAllowed: If only a pickle fits, and it is not allowed.
        SampleInputInvalid: If the model has to be traced with a sample, and cannot.
        EngineMissing: If a package is not installed.
        OnnxExportFailed: If an ONNX is required, and there is none.
        ValueError: If `folder` has something in it.
    """
    if format is not None and format not in FORMATS:
        raise UnknownModelType(f"{format!r} is not a format; formats are {', '.join(FORMATS)}")
    if onnx not in ("auto", "require", "off"):
        raise ValueError(f"onnx is 'auto', 'require' or 'off', not {onnx!r}")
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise ValueError(f"{str(folder)!r} is not empty")
    name = format or detect_format(model, allow_pickle=allow_pickle)
    description = FORMATS[name].save(model, folder, SaveRequest(sample_input, allow_pickle))
    signature, facts = _with_onnx(model, name, folder, sample_input, onnx)
    description |= facts
    if signature is not None:
        description["signature"] = signature.to_dict()
    write_description(folder, name, description)
    metadata = {key: value for key, value in description.items() if key in ("engine", "onnx", "columns", "untrusted_types")}
    return SavedArtifact(name, signature, ONNX_FILE if (folder / ONNX_FILE).exists() else None, metadata)


def load_artifact(folder: Path, format: str, *, allow_pickle: bool = False, trusted_types: Sequence[str] = ()) -> Any:
    """Read a model that `save_artifact` wrote.

    A server never calls this: it reads ``model.onnx`` and nothing else.

    Args:
        folder: Where it is. Its content is not trusted.
        format: What `SavedArtifact.format` said.
        allow_pickle: Whether a pickle may be loaded, which may run any code.
        trusted_types: Types, by their full names, that may be made although they are not known to be harmless; the error
            names those that are missing.

    Returns:
        The model; for the format ``folder`` its path.

    Raises:
        UntrustedTypes: If there are types that are neither known to be harmless nor trusted.
        PickleNotAllowed: If it is a pickle, and that is not allowed.
        ArtifactDamaged: If the folder is not what was saved.
        EngineMissing: If a package is not installed.
        UnknownModelType: If there is no such format.
    """
    if format not in FORMATS:
        raise UnknownModelType(f"{format!r} is not a format; formats are {', '.join(FORMATS)}")
    description = read_description(folder)
    if description and description.get("format") != format:
        raise ArtifactDamaged(f"the artifact is of the format {description.get('format')!r}, not {format!r}")
    return FORMATS[format].load(folder, LoadRequest(description, allow_pickle, tuple(trusted_types)))


def _with_onnx(model: Any, name: str, folder: Path, sample_input: Any, mode: OnnxMode) -> tuple[Signature | None, dict[str, Any]]:
    """Add the ONNX; return the signature and what else is to be known."""
    if name == "onnx":
        return _of_onnx(folder)
    if mode == "off":
        return _signature_without_onnx(model, name, sample_input), {}
    try:
        export = export_onnx(model, name, sample_input)
    except OnnxNotPossible as error:
        if mode == "require":
            raise OnnxExportFailed(f"no ONNX can be made: {error}") from error
        return _signature_without_onnx(model, name, sample_input), {"onnx": {"kept": False, "reason": str(error)}}
    FORMATS["onnx"].save(export.model, folder, SaveRequest())
    facts: dict[str, Any] = {"onnx": {"kept": True, **export.report}}
    if export.columns:
        facts["columns"] = list(export.columns)
    return export.signature, facts


def _of_onnx(folder: Path) -> tuple[Signature | None, dict[str, Any]]:
    model = onnx.read_onnx(folder / ONNX_FILE)
    try:
        return signature_of_onnx(model), {"onnx": {"kept": True}}
    except OnnxNotPossible as error:
        return None, {"onnx": {"kept": True, "signature": str(error)}}


def _signature_without_onnx(model: Any, name: str, sample_input: Any) -> Signature | None:
    from model_management.onnx_export.samples import signature_of_sample

    return signature_of_sample(model, name, sample_input)
