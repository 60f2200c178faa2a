"""Rows to models and versions, and back."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Row

from model_management.metadata.documents import details_from, details_of
from model_management.model import ModelVersion, RegisteredModel, Stage, VersionState

__all__ = [
    "attribute_rows",
    "file_rows",
    "model_from_row",
    "model_values",
    "parent_rows",
    "tag_rows",
    "version_from_row",
    "version_values",
]

_MODEL_COLUMNS = (
    "project",
    "name",
    "display_name",
    "description",
    "creator",
    "latest_version",
    "version_count",
    "create_time",
    "update_time",
    "delete_time",
    "etag",
)


def model_values(model: RegisteredModel) -> dict[str, Any]:
    """Return what of a model stands in its row."""
    return {**{name: getattr(model, name) for name in _MODEL_COLUMNS}, "tags": dict(model.tags), "aliases": dict(model.aliases)}


def model_from_row(row: Row[Any]) -> RegisteredModel:
    """Return the model of a row of `MODELS`."""
    values = row._mapping
    return RegisteredModel(**{name: values[name] for name in _MODEL_COLUMNS}, tags=values["tags"], aliases=values["aliases"])


def tag_rows(model_id: int, tags: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the rows of `MODEL_TAGS`."""
    return [{"model_id": model_id, "key": key, "value": value} for key, value in tags.items()]


def version_values(version: ModelVersion) -> dict[str, Any]:
    """Return what of a version stands in its row."""
    return {
        "project": version.project,
        "version": version.version,
        "state": version.state.value,
        "stage": version.stage.value,
        "format": version.format,
        "description": version.description,
        "run_id": version.lineage.run_id,
        "creator": version.creator,
        "digest": version.digest,
        "size_bytes": version.size_bytes,
        "create_time": version.create_time,
        "update_time": version.update_time,
        "delete_time": version.delete_time,
        "etag": version.etag,
        "details": details_of(version),
    }


def version_from_row(row: Row[Any]) -> ModelVersion:
    """Return the version of a row of `VERSIONS`, joined with `model` and `aliases` of its model."""
    values = row._mapping
    return ModelVersion(
        project=values["project"],
        model=values["model"],
        version=values["version"],
        state=VersionState(values["state"]),
        stage=Stage(values["stage"]),
        format=values["format"],
        description=values["description"],
        creator=values["creator"],
        digest=values["digest"],
        size_bytes=values["size_bytes"],
        create_time=values["create_time"],
        update_time=values["update_time"],
        delete_time=values["delete_time"],
        etag=values["etag"],
        aliases=tuple(sorted(alias for alias, number in values["aliases"].items() if number == values["version"])),
        **details_from(values["details"], values["run_id"]),
    )


def attribute_rows(version_id: int, version: ModelVersion) -> list[dict[str, Any]]:
    """Return the rows of `ATTRIBUTES`."""
    texts = [("tag", version.tags), ("parameter", version.parameters)]
    rows = [
        {"version_id": version_id, "kind": kind, "key": key, "text": value, "number": None}
        for kind, entries in texts
        for key, value in entries.items()
    ]
    return rows + [
        {"version_id": version_id, "kind": "metric", "key": key, "text": None, "number": _comparable(value)}
        for key, value in version.metrics.items()
        if not math.isnan(value)
    ]


def file_rows(version_id: int, version: ModelVersion) -> list[dict[str, Any]]:
    """Return the rows of `FILES`."""
    return [{"version_id": version_id, "position": number, "digest": entry.digest} for number, entry in enumerate(version.files)]


def parent_rows(version_id: int, version: ModelVersion) -> list[dict[str, Any]]:
    """Return the rows of `PARENTS`."""
    return [
        {
            "version_id": version_id,
            "position": number,
            "project": version.project,
            "child_model": version.model,
            "child_version": version.version,
            "parent_model": parent.model,
            "parent_version": parent.version,
        }
        for number, parent in enumerate(version.lineage.parents)
    ]


def _comparable(value: float) -> float:
    # MySQL has no infinity; the document keeps it, the index keeps its place in the order.
    return value if math.isfinite(value) else math.copysign(sys.float_info.max, value)
