"""Models and versions as JSON objects, for the log of the JSON backend and for the document columns of the SQL one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from model_management.model import (
    DatasetReference,
    FileEntry,
    Lineage,
    ModelVersion,
    RegisteredModel,
    Signature,
    Stage,
    VersionError,
    VersionReference,
    VersionState,
)

__all__ = ["details_from", "details_of", "model_from", "model_to_dict", "version_from", "version_to_dict"]

_MODEL_TEXTS = ("project", "name", "display_name", "description", "creator", "etag")
_MODEL_NUMBERS = ("latest_version", "version_count")
_VERSION_TEXTS = ("project", "model", "description", "format", "digest", "creator", "etag")
_TIMES = ("create_time", "update_time", "delete_time")


def model_to_dict(model: RegisteredModel) -> dict[str, Any]:
    """Return a model as a JSON object."""
    return {
        **{name: getattr(model, name) for name in (*_MODEL_TEXTS, *_MODEL_NUMBERS)},
        **{name: _time_to_json(getattr(model, name)) for name in _TIMES},
        "tags": dict(model.tags),
        "aliases": dict(model.aliases),
    }


def model_from(document: Mapping[str, Any]) -> RegisteredModel:
    """Read back what `model_to_dict` returned."""
    return RegisteredModel(
        **{name: document[name] for name in (*_MODEL_TEXTS, *_MODEL_NUMBERS)},
        **{name: _time_from_json(document[name]) for name in _TIMES},
        tags=document["tags"],
        aliases=document["aliases"],
    )


def version_to_dict(version: ModelVersion) -> dict[str, Any]:
    """Return a version as a JSON object, without its aliases: those belong to the model."""
    return {
        **{name: getattr(version, name) for name in _VERSION_TEXTS},
        **{name: _time_to_json(getattr(version, name)) for name in _TIMES},
        "version": version.version,
        "state": version.state.value,
        "stage": version.stage.value,
        "size_bytes": version.size_bytes,
        "run_id": version.lineage.run_id,
        **details_of(version),
    }


def version_from(document: Mapping[str, Any]) -> ModelVersion:
    """Read back what `version_to_dict` returned."""
    return ModelVersion(
        **{name: document[name] for name in _VERSION_TEXTS},
        **{name: _time_from_json(document[name]) for name in _TIMES},
        version=document["version"],
        state=VersionState(document["state"]),
        stage=Stage(document["stage"]),
        size_bytes=document["size_bytes"],
        **details_from(document, document["run_id"]),
    )


def details_of(version: ModelVersion) -> dict[str, Any]:
    """Return those fields of a version that are structures, and nothing is sorted by."""
    lineage = version.lineage
    return {
        "error": None if version.error is None else [version.error.reason, version.error.message],
        "tags": dict(version.tags),
        "files": [[entry.path, entry.digest, entry.size_bytes] for entry in version.files],
        "signature": None if version.signature is None else version.signature.to_dict(),
        "onnx_path": version.onnx_path,
        "metrics": {key: _number_to_json(value) for key, value in version.metrics.items()},
        "parameters": dict(version.parameters),
        "lineage": {
            "datasets": [[dataset.name, dataset.uri, dataset.digest] for dataset in lineage.datasets],
            "code_repository": lineage.code_repository,
            "code_commit": lineage.code_commit,
            "parents": [[parent.model, parent.version] for parent in lineage.parents],
        },
        "model_card": version.model_card,
    }


def details_from(document: Mapping[str, Any], run_id: str) -> dict[str, Any]:
    """Return what `details_of` returned as keyword arguments of `ModelVersion`."""
    lineage = document["lineage"]
    return {
        "error": None if document["error"] is None else VersionError(*document["error"]),
        "tags": document["tags"],
        "files": tuple(FileEntry(*entry) for entry in document["files"]),
        "signature": None if document["signature"] is None else Signature.from_dict(document["signature"]),
        "onnx_path": document["onnx_path"],
        # float() reads "NaN" and "Infinity", which JSON cannot say as numbers.
        "metrics": {key: float(value) for key, value in document["metrics"].items()},
        "parameters": document["parameters"],
        "lineage": Lineage(
            datasets=tuple(DatasetReference(*dataset) for dataset in lineage["datasets"]),
            run_id=run_id,
            code_repository=lineage["code_repository"],
            code_commit=lineage["code_commit"],
            parents=tuple(VersionReference(*parent) for parent in lineage["parents"]),
        ),
        "model_card": document["model_card"],
    }


def _number_to_json(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _time_to_json(time: datetime | None) -> str | None:
    return None if time is None else time.astimezone(UTC).isoformat()


def _time_from_json(text: str | None) -> Any:
    return None if text is None else datetime.fromisoformat(text)
