"""What a version or model becomes: rules without any storage in them."""

from __future__ import annotations

import secrets
from dataclasses import replace
from datetime import datetime

from model_management.errors import EtagMismatch, IllegalTransition, InvalidValue, VersionHasAliases, VersionNotReady
from model_management.files import FileEntry, check_files, files_digest
from model_management.model import (
    ModelChanges,
    ModelVersion,
    NewVersion,
    RegisteredModel,
    Stage,
    VersionChanges,
    VersionError,
    VersionState,
)

__all__ = [
    "attached",
    "changed_model",
    "changed_version",
    "check_etag",
    "deleted",
    "failed",
    "finalized",
    "in_stage",
    "new_etag",
    "new_version",
    "require_ready",
    "restored",
]


def new_etag() -> str:
    """Return an etag that was never used before."""
    return secrets.token_hex(8)


def check_etag(what: str, sent: str, current: str) -> None:
    """Compare the etag that a caller saw with the one there is; none matches always.

    Raises:
        EtagMismatch: If they differ.
    """
    if sent and sent != current:
        raise EtagMismatch(what, sent, current)


def require_ready(version: ModelVersion) -> None:
    """Refuse a version that has no complete set of files.

    Raises:
        VersionNotReady: If it is in any other state.
    """
    if version.state is not VersionState.READY:
        raise VersionNotReady(version.model, version.version, version.state)


def new_version(project: str, model: str, number: int, new: NewVersion, creator: str, now: datetime) -> ModelVersion:
    """Return the version that a caller asked for: READY with its files, PENDING without."""
    return ModelVersion(
        project=project,
        model=model,
        version=number,
        state=VersionState.READY if new.files else VersionState.PENDING,
        create_time=now,
        update_time=now,
        description=new.description,
        tags=new.tags,
        format=new.format,
        files=new.files,
        digest=files_digest(new.files) if new.files else "",
        size_bytes=sum(entry.size_bytes for entry in new.files),
        signature=new.signature,
        onnx_path=new.onnx_path,
        metrics=new.metrics,
        parameters=new.parameters,
        lineage=new.lineage,
        model_card=new.model_card,
        creator=creator,
        etag=new_etag(),
    )


def changed_version(version: ModelVersion, changes: VersionChanges, now: datetime) -> ModelVersion:
    """Return a version with changed fields."""
    return replace(
        version,
        description=version.description if changes.description is None else changes.description,
        tags=version.tags if changes.tags is None else dict(changes.tags),
        metrics=version.metrics if changes.metrics is None else dict(changes.metrics),
        parameters=version.parameters if changes.parameters is None else dict(changes.parameters),
        model_card=version.model_card if changes.model_card is None else changes.model_card,
        update_time=now,
        etag=new_etag(),
    )


def changed_model(model: RegisteredModel, changes: ModelChanges, now: datetime) -> RegisteredModel:
    """Return a model with changed fields."""
    return replace(
        model,
        display_name=model.display_name if changes.display_name is None else changes.display_name,
        description=model.description if changes.description is None else changes.description,
        tags=model.tags if changes.tags is None else dict(changes.tags),
        update_time=now,
        etag=new_etag(),
    )


def attached(version: ModelVersion, file: FileEntry, now: datetime) -> ModelVersion:
    """Return a PENDING version with one more file, in place of one of the same path.

    Raises:
        IllegalTransition: If it is not PENDING.
    """
    _require_pending(version, "take files")
    files = check_files([entry for entry in version.files if entry.path != file.path] + [file])
    return replace(version, files=files, size_bytes=sum(entry.size_bytes for entry in files), update_time=now, etag=new_etag())


def finalized(version: ModelVersion, now: datetime) -> ModelVersion:
    """Return a PENDING version as READY.

    Raises:
        IllegalTransition: If it is not PENDING.
        InvalidValue: If it has no files, or its ONNX file is not among them.
    """
    _require_pending(version, "become READY")
    if not version.files:
        raise InvalidValue("files", "there are none yet; upload at least one before the version is finalized")
    if version.onnx_path and version.file(version.onnx_path) is None:
        raise InvalidValue("onnx_path", f"{version.onnx_path!r} has not been uploaded; upload it before the version is finalized")
    return replace(version, state=VersionState.READY, digest=files_digest(version.files), update_time=now, etag=new_etag())


def failed(version: ModelVersion, error: VersionError, now: datetime) -> ModelVersion:
    """Return a PENDING version as FAILED.

    Raises:
        IllegalTransition: If it is not PENDING.
    """
    _require_pending(version, "become FAILED")
    return replace(version, state=VersionState.FAILED, error=error, update_time=now, etag=new_etag())


def deleted(version: ModelVersion, now: datetime) -> ModelVersion:
    """Return a version as DELETED. One that was PENDING can only come back as FAILED, since nobody goes on uploading to it.

    Raises:
        VersionHasAliases: If an alias points at it.
    """
    if version.aliases:
        raise VersionHasAliases(version.model, version.version, version.aliases)
    error = version.error
    if version.state is VersionState.PENDING:
        error = VersionError("DELETED_WHILE_PENDING", "it was deleted before its files had arrived")
    return replace(version, state=VersionState.DELETED, error=error, delete_time=now, update_time=now, etag=new_etag())


def restored(version: ModelVersion, now: datetime) -> ModelVersion:
    """Return a DELETED version as what it was."""
    state = VersionState.READY if version.error is None else VersionState.FAILED
    return replace(version, state=state, delete_time=None, update_time=now, etag=new_etag())


def in_stage(version: ModelVersion, stage: Stage, now: datetime) -> ModelVersion:
    """Return a READY version in a stage.

    Raises:
        VersionNotReady: If it is not READY.
    """
    require_ready(version)
    return replace(version, stage=stage, update_time=now, etag=new_etag())


def _require_pending(version: ModelVersion, action: str) -> None:
    if version.state is not VersionState.PENDING:
        raise IllegalTransition(version.model, version.version, version.state, [VersionState.PENDING], action)
