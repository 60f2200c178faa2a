"""What every metadata backend can do. Each operation is whole by itself, so that it can as well be a call to another machine."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from model_management.model import (
    FileEntry,
    LineageGraph,
    ModelChanges,
    ModelVersion,
    NewModel,
    NewVersion,
    Page,
    RegisteredModel,
    Stage,
    Statistics,
    VersionChanges,
    VersionError,
)
from model_management.query import ListQuery

__all__ = ["CollectableBackend", "MetadataBackend", "MetadataHolder", "Purged"]


class MetadataBackend(Protocol):
    """Models and versions, wherever they are kept.

    Every method is one transaction and may be called from several threads and processes. All raise `InvalidValue` for a value that is not
    allowed, `ModelNotFound` and `VersionNotFound` for what is not there (or is deleted), `StorageFull` and `MetadataUnavailable`, beside
    what each states. An `etag` that is given has to be the current one, or else `EtagMismatch` is raised.
    """

    def create_model(
        self, project: str, name: str, new: NewModel | None = None, *, creator: str = "", request_id: str | None = None
    ) -> RegisteredModel:
        """Create a model without versions. A repeat with the same request id returns the first answer.

        Raises:
            ModelExists: If the name is taken, also by a deleted model.
        """
        ...

    def get_model(self, project: str, name: str, *, include_deleted: bool = False) -> RegisteredModel:
        """Return a model."""
        ...

    def list_models(self, query: ListQuery | None = None) -> Page[RegisteredModel]:
        """Return a page of models, by name unless ordered otherwise.

        Raises:
            QueryError: If filter, ordering or page token cannot be used.
        """
        ...

    def update_model(self, project: str, name: str, changes: ModelChanges, *, etag: str = "") -> RegisteredModel:
        """Change a model."""
        ...

    def delete_model(self, project: str, name: str, *, etag: str = "") -> None:
        """Delete a model and its versions, restorable until they are purged. Nothing happens where it is deleted already."""
        ...

    def restore_model(self, project: str, name: str) -> RegisteredModel:
        """Undo `delete_model`; versions that had been deleted before stay deleted."""
        ...

    def create_version(
        self,
        project: str,
        model: str,
        new: NewVersion,
        *,
        create_model: bool = False,
        creator: str = "",
        request_id: str | None = None,
    ) -> ModelVersion:
        """Create the next version: READY where it has files, PENDING where it has none.

        Args:
            project: The project.
            model: The model.
            new: What the version is.
            create_model: Whether a model that does not exist is created, with the version's description. The model also takes on
                the version's tags, so that it is found by them.
            creator: Who creates it.
            request_id: A repeat with the same one returns the first answer.

        Raises:
            RequestIdReused: If the request id belongs to a version of another model.
            ModelDeleted: If the model is deleted.
            ParentNotFound: If a parent in its lineage does not exist.
        """
        ...

    def get_version(self, project: str, model: str, version: int, *, include_deleted: bool = False) -> ModelVersion:
        """Return a version."""
        ...

    def resolve_version(
        self, project: str, model: str, *, version: int | None = None, alias: str | None = None, stage: Stage | None = None
    ) -> ModelVersion:
        """Return the READY version that a number, an alias or a stage (its newest) stands for.

        Without any of them it is the alias ``default``, or else the newest; the alias ``latest`` always is the newest.

        Raises:
            AliasNotFound: If the model has no such alias.
            VersionNotReady: If the version with this number is not READY.
        """
        ...

    def list_versions(self, query: ListQuery | None = None) -> Page[ModelVersion]:
        """Return a page of versions, newest first unless ordered otherwise; of one model or over all.

        Raises:
            QueryError: If filter, ordering or page token cannot be used.
        """
        ...

    def update_version(self, project: str, model: str, version: int, changes: VersionChanges, *, etag: str = "") -> ModelVersion:
        """Change a version."""
        ...

    def delete_version(self, project: str, model: str, version: int, *, etag: str = "") -> None:
        """Delete a version, restorable until it is purged. Nothing happens where it is deleted already.

        Raises:
            VersionHasAliases: If an alias points at it.
        """
        ...

    def restore_version(self, project: str, model: str, version: int) -> ModelVersion:
        """Undo `delete_version`. Nothing happens where it is not deleted."""
        ...

    def finalize_version(self, project: str, model: str, version: int) -> ModelVersion:
        """Make a PENDING version with files READY. Nothing happens where it is READY already.

        Raises:
            IllegalTransition: If it is FAILED, or has no files.
        """
        ...

    def set_alias(self, project: str, model: str, alias: str, version: int, *, etag: str = "") -> RegisteredModel:
        """Point an alias at a READY version, away from where it may have pointed. The etag is the model's.

        Raises:
            VersionNotReady: If the version is not READY.
        """
        ...

    def delete_alias(self, project: str, model: str, alias: str) -> RegisteredModel:
        """Remove an alias. Nothing happens where there is none."""
        ...

    def set_stage(
        self, project: str, model: str, version: int, stage: Stage, *, archive_others: bool = False, etag: str = ""
    ) -> ModelVersion:
        """Move a READY version to a stage. The etag is the version's.

        Args:
            project: The project.
            model: The model.
            version: Which.
            stage: Where to.
            archive_others: Whether all others in that stage become archived in the same transaction.
            etag: The etag last seen.

        Raises:
            VersionNotReady: If the version is not READY.
        """
        ...

    def lineage(self, project: str, model: str, version: int) -> LineageGraph:
        """Return what a version was made from through all generations, and what was made from it."""
        ...

    def get_statistics(self, project: str | None = None) -> Statistics:
        """Return counts of a project, or of all that this backend serves."""
        ...

    def find_models_by_tag(self, key: str, value: str, project: str | None = None) -> list[RegisteredModel]:
        """Return the models that have this tag, by name, in a project or in all that this backend serves."""
        ...

    def check(self) -> None:
        """Find out whether the backend answers.

        Raises:
            MetadataUnavailable: If not, with the reason.
        """
        ...

    def close(self) -> None:
        """Give back files and connections."""
        ...


@dataclass(frozen=True, slots=True)
class Purged:
    """What a purge did: versions and models taken away for good, PENDING versions given up."""

    version_count: int = 0
    model_count: int = 0
    failed_count: int = 0


class CollectableBackend(MetadataBackend, Protocol):
    """A backend that lives here, next to its blobs: it takes files that are stored, and can say which blobs nobody needs."""

    def attach_file(self, project: str, model: str, version: int, file: FileEntry) -> ModelVersion:
        """Add a stored file to a PENDING version, in place of one of the same path.

        Raises:
            IllegalTransition: If it is not PENDING.
        """
        ...

    def fail_version(self, project: str, model: str, version: int, error: VersionError) -> ModelVersion:
        """Give a PENDING version up. Nothing happens where it is FAILED already.

        Raises:
            IllegalTransition: If it is READY.
        """
        ...

    def purge(self, *, before: datetime, pending_before: datetime, dry_run: bool = False) -> Purged:
        """Take away what was deleted or FAILED before a time, and make PENDING versions not touched since another FAILED.

        The numbers of purged versions are never used again, not even by a new model of the same name.

        Args:
            before: End of the retention of what is deleted or FAILED.
            pending_before: End of the patience with what is PENDING.
            dry_run: Whether to only count.
        """
        ...

    def referenced(self, digests: Collection[str], *, project: str | None = None, purged_before: datetime | None = None) -> frozenset[str]:
        """Return those digests that a version refers to, whatever its state.

        Args:
            digests: Which to look for.
            project: Only versions of this project; all, by default.
            purged_before: Look as if everything deleted or FAILED before this time were purged.
        """
        ...

    def collection_lock(self, *, exclusive: bool) -> AbstractContextManager[None]:
        """Hold off garbage collection (shared), or everybody who refers to blobs stored long ago (exclusive)."""
        ...


@dataclass(frozen=True, slots=True)
class MetadataHolder:
    """Where a registry has its metadata backend: ``registry.metadata_backend.backend``."""

    backend: MetadataBackend
