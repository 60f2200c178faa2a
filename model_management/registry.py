"""The registry as people use it: models in, models out."""

from __future__ import annotations

import json
import shutil
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from model_management.catalog import Verification
from model_management.comparison import Comparison, compare
from model_management.errors import EtagMismatch, InvalidValue
from model_management.garbage import GarbageReport
from model_management.metadata.backend import MetadataBackend, MetadataHolder
from model_management.model import (
    Lineage,
    LineageGraph,
    ModelChanges,
    ModelVersion,
    NewModel,
    NewVersion,
    Page,
    RegisteredModel,
    Signature,
    Stage,
    Statistics,
    VersionChanges,
)
from model_management.parts import ArtifactFormats, RegistryParts
from model_management.query import MAX_PAGE_SIZE, ListQuery
from model_management.signed_versions import sign_files, verify_version
from model_management.storage import full_disk_is_typed

__all__ = ["ModelRegistry", "RegistryParts"]

_TAG_ATTEMPTS = 10


class ModelRegistry:
    """The one place for trained models. Made by `create_registry`; may be used by several threads.

    All methods raise `RegistryError` (`ModelNotFound`, `VersionNotFound`, `InvalidValue`, `StorageFull`, …).

    Args:
        parts: Where things are.
        formats: How models become files.
        project: The project of all models seen through this object.
        creator: Who is named as creator of what is saved.
    """

    def __init__(self, parts: RegistryParts, formats: ArtifactFormats, *, project: str = "default", creator: str = "") -> None:
        self.metadata_backend = MetadataHolder(parts.backend)
        self.storage = parts.storage
        self.project = project
        self._parts = parts
        self._formats = formats
        self._creator = creator
        self._kept_folders = ExitStack()
        # Also where nobody closes the registry.
        weakref.finalize(self, self._kept_folders.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give back files and connections."""
        self._kept_folders.close()
        self._parts.close()

    def save_model(
        self,
        model: Any,
        name: str,
        description: str = "",
        *,
        tags: Mapping[str, str] | None = None,
        metrics: Mapping[str, float] | None = None,
        parameters: Mapping[str, Any] | None = None,
        lineage: Lineage | None = None,
        model_card: str = "",
        format: str | None = None,
        sample_input: Any = None,
        signature: Signature | None = None,
        onnx: str = "auto",
        allow_pickle: bool = False,
        alias: str | None = None,
        stage: str | Stage | None = None,
        request_id: str | None = None,
        signing_key: str | Path | None = None,
        signing_password: str | None = None,
    ) -> ModelVersion:
        """Save a model as the next version of a name, which is created by its first version.

        The version appears whole, with all files stored and synced, or not at all.

        Args:
            model: A model of a supported library, or the path of a file or folder.
            name: Letters, digits, ``.``, ``_`` and ``-``.
            description: What is new in it, in Markdown.
            tags: Keys and values; the model takes them on, so that it is found by the tags of its newest version.
            metrics: Evaluation results.
            parameters: Hyperparameters; kept as text.
            lineage: What it was made from.
            model_card: Model card in Markdown.
            format: One of `formats.FORMATS`; the one that fits the model by default.
            sample_input: A batch of inputs; needed for the signature, and to check the ONNX form against the model.
            signature: Inputs and outputs, where they are known better than by the sample.
            onnx: ``auto``, ``require`` or ``off``: whether an ONNX form is made beside the model.
            allow_pickle: Whether the model may be pickled where no safe format fits.
            alias: Points at the new version when it is saved.
            stage: The new version's stage.
            request_id: A UUID; a repeat returns the version that the first call made.
            signing_key: PEM of an elliptic private key to sign the files with (OpenSSF Model Signing); see `signing.make_key_pair`.
            signing_password: Of that key.

        Returns:
            The version; READY.
        """
        wanted = NewVersion(
            description=description,
            tags=tags or {},
            metrics=metrics or {},
            parameters={key: _as_text(value) for key, value in (parameters or {}).items()},
            lineage=lineage or Lineage(),
            model_card=model_card,
        )
        with self.storage.folder() as folder:
            artifact = folder / "artifact"
            saved = self._formats.save_artifact(
                model, artifact, format=format, sample_input=sample_input, allow_pickle=allow_pickle, onnx=onnx
            )
            files = self.storage.keep(artifact)
            if signing_key is not None:
                files = sign_files(files, name, signing_key, self.storage, password=signing_password)
            new = replace(
                wanted,
                format=saved.format,
                files=files,
                signature=signature or saved.signature,
                onnx_path=saved.onnx_file or "",
                parameters={**_flat(saved.metadata), **wanted.parameters},
            )
        version = self._backend.create_version(self.project, name, new, create_model=True, creator=self._creator, request_id=request_id)
        if stage is not None:
            version = self._backend.set_stage(self.project, name, version.version, Stage.parse(stage))
        if alias is not None:
            self._backend.set_alias(self.project, name, alias, version.version)
            version = self._backend.get_version(self.project, name, version.version)
        return version

    def load_model(
        self,
        name: str,
        version: int | None = None,
        *,
        alias: str | None = None,
        stage: str | Stage | None = None,
        allow_pickle: bool = False,
        trusted_types: Sequence[str] = (),
        verify_with: str | Path | None = None,
    ) -> Any:
        """Load a model, its files verified on their way.

        What was saved as a file or folder comes back as a path, which is there until the registry is closed; `download` keeps it longer.

        Args:
            name: The model.
            version: Which version; by default the alias ``default``, or else the newest.
            alias: The version that this alias points at.
            stage: The newest version in this stage.
            allow_pickle: Whether a pickle may be loaded, which can run anything.
            trusted_types: Types that may be made although they are not known to be harmless; the error names those that are missing.
            verify_with: PEM of the public key that has to have signed the version; nobody has to, by default.
        """
        found = self.resolve(name, version, alias=alias, stage=stage)
        if verify_with is not None:
            verify_version(found, verify_with, self.storage)
        with ExitStack() as stack:
            folder = stack.enter_context(self.storage.folder())
            self.storage.fetch(found, folder)
            loaded = self._formats.load_artifact(folder, found.format, allow_pickle=allow_pickle, trusted_types=trusted_types)
            if isinstance(loaded, Path):
                self._kept_folders.push(stack.pop_all())
            return loaded

    def download(
        self, name: str, destination: str | Path, version: int | None = None, *, alias: str | None = None, stage: str | Stage | None = None
    ) -> ModelVersion:
        """Write the files of a version into a folder, which is made or has to be empty; it appears with all of them or with none.

        Args:
            name: The model.
            destination: The folder.
            version: Which version; by default the alias ``default``, or else the newest.
            alias: The version that this alias points at.
            stage: The newest version in this stage.
        """
        found = self.resolve(name, version, alias=alias, stage=stage)
        target = Path(destination)
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise InvalidValue("destination", f"{str(target)!r} is not an empty folder")
        part = target.with_name(f".{target.name}.part")
        with full_disk_is_typed():
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            try:
                self.storage.fetch(found, part)
                part.replace(target)
            finally:
                shutil.rmtree(part, ignore_errors=True)
        return found

    def verify_model(
        self, name: str, public_key: str | Path, version: int | None = None, *, alias: str | None = None, stage: str | Stage | None = None
    ) -> ModelVersion:
        """Check that the owner of a key has signed exactly the files of a version; returns the version, or raises `SignatureInvalid`.

        Reads the signature only; `check_model` reads the files, too.
        """
        found = self.resolve(name, version, alias=alias, stage=stage)
        verify_version(found, public_key, self.storage)
        return found

    def check_model(
        self, name: str, version: int | None = None, *, alias: str | None = None, stage: str | Stage | None = None
    ) -> Verification:
        """Read all files of a version where they are stored, and say which are damaged, and whether and by whom they are signed.

        Signatures count by the keys that the registry trusts: those of `create_registry`, or those of the mesh's registry server.

        Args:
            name: The model.
            version: Which version; by default the alias ``default``, or else the newest.
            alias: The version that this alias points at.
            stage: The newest version in this stage.
        """
        return self._parts.verify(self.resolve(name, version, alias=alias, stage=stage))

    def resolve(self, name: str, version: int | None = None, *, alias: str | None = None, stage: str | Stage | None = None) -> ModelVersion:
        """Return the READY version that is meant: by number, alias or stage, or else the alias ``default`` or the newest."""
        return self._backend.resolve_version(
            self.project, name, version=version, alias=alias, stage=None if stage is None else Stage.parse(stage)
        )

    def create_model(
        self, name: str, description: str = "", *, display_name: str = "", tags: Mapping[str, str] | None = None
    ) -> RegisteredModel:
        """Create a model without versions."""
        return self._backend.create_model(self.project, name, NewModel(display_name, description, tags or {}), creator=self._creator)

    def get_model(self, name: str, *, include_deleted: bool = False) -> RegisteredModel:
        """Return a model."""
        return self._backend.get_model(self.project, name, include_deleted=include_deleted)

    def update_model(
        self,
        name: str,
        *,
        description: str | None = None,
        display_name: str | None = None,
        tags: Mapping[str, str] | None = None,
        etag: str = "",
    ) -> RegisteredModel:
        """Change a model; None leaves a field as it is, tags replace all tags."""
        return self._backend.update_model(self.project, name, ModelChanges(display_name, description, tags), etag=etag)

    def delete_model(self, name: str) -> None:
        """Delete a model and its versions; `restore_model` undoes it until the retention ends."""
        self._backend.delete_model(self.project, name)

    def restore_model(self, name: str) -> RegisteredModel:
        """Undo `delete_model`."""
        return self._backend.restore_model(self.project, name)

    def get_version(self, name: str, version: int, *, include_deleted: bool = False) -> ModelVersion:
        """Return a version."""
        return self._backend.get_version(self.project, name, version, include_deleted=include_deleted)

    def update_version(
        self,
        name: str,
        version: int,
        *,
        description: str | None = None,
        tags: Mapping[str, str] | None = None,
        metrics: Mapping[str, float] | None = None,
        parameters: Mapping[str, str] | None = None,
        model_card: str | None = None,
        etag: str = "",
    ) -> ModelVersion:
        """Change a version; None leaves a field as it is, a mapping replaces all its entries."""
        changes = VersionChanges(description, tags, metrics, parameters, model_card)
        return self._backend.update_version(self.project, name, version, changes, etag=etag)

    def tag_version(self, name: str, version: int, tags: Mapping[str, str | None]) -> ModelVersion:
        """Set tags of a version beside those it has; None removes one. Nobody else's tags are lost."""
        for _ in range(_TAG_ATTEMPTS):
            found = self.get_version(name, version)
            merged = {key: value for key, value in {**found.tags, **tags}.items() if value is not None}
            with suppress(EtagMismatch):
                return self.update_version(name, version, tags=merged, etag=found.etag)
        raise EtagMismatch(f"version {version} of model {name!r}", found.etag, "another at each attempt")

    def delete_version(self, name: str, version: int) -> None:
        """Delete a version to which no alias points; `restore_version` undoes it until the retention ends."""
        self._backend.delete_version(self.project, name, version)

    def restore_version(self, name: str, version: int) -> ModelVersion:
        """Undo `delete_version`."""
        return self._backend.restore_version(self.project, name, version)

    def set_alias(self, name: str, alias: str, version: int) -> RegisteredModel:
        """Point an alias at a version, away from where it may have pointed."""
        return self._backend.set_alias(self.project, name, alias, version)

    def delete_alias(self, name: str, alias: str) -> RegisteredModel:
        """Remove an alias."""
        return self._backend.delete_alias(self.project, name, alias)

    def set_stage(self, name: str, version: int, stage: str | Stage, *, archive_others: bool = False) -> ModelVersion:
        """Move a version to ``none``, ``development``, ``staging``, ``production`` or ``archived``; others may be archived."""
        return self._backend.set_stage(self.project, name, version, Stage.parse(stage), archive_others=archive_others)

    def list_models(
        self, filter: str = "", order_by: str = "", *, page_size: int = 0, page_token: str = "", include_deleted: bool = False
    ) -> Page[RegisteredModel]:
        """Return a page of models, for example ``list_models('tags.type = "classifier"')``."""
        return self._backend.list_models(
            ListQuery(self._projects, "", filter, order_by, page_size, page_token, include_deleted=include_deleted)
        )

    def list_versions(
        self,
        name: str = "",
        filter: str = "",
        order_by: str = "",
        *,
        page_size: int = 0,
        page_token: str = "",
        include_deleted: bool = False,
    ) -> Page[ModelVersion]:
        """Return a page of versions, newest first; of one model, or of all where no name is given."""
        return self._backend.list_versions(
            ListQuery(self._projects, name, filter, order_by, page_size, page_token, include_deleted=include_deleted)
        )

    def search_models(self, filter: str = "", order_by: str = "") -> Iterator[RegisteredModel]:
        """Return all models that match, fetched page by page."""
        query = ListQuery(self._projects, "", filter, order_by, MAX_PAGE_SIZE)
        while True:
            page = self._backend.list_models(query)
            yield from page.items
            if not page.next_page_token:
                return
            query = replace(query, page_token=page.next_page_token)

    def search_versions(self, filter: str = "", order_by: str = "", *, name: str = "") -> Iterator[ModelVersion]:
        """Return all versions that match, for example ``search_versions('metrics.roc_auc > 0.7')``, fetched page by page."""
        query = ListQuery(self._projects, name, filter, order_by, MAX_PAGE_SIZE)
        while True:
            page = self._backend.list_versions(query)
            yield from page.items
            if not page.next_page_token:
                return
            query = replace(query, page_token=page.next_page_token)

    def compare(self, name: str, version: int, other_version: int, *, other_name: str = "") -> Comparison:
        """Return what differs between two versions, and whether the second can take the first's place."""
        return compare(self.get_version(name, version), self.get_version(other_name or name, other_version))

    def lineage(self, name: str, version: int) -> LineageGraph:
        """Return what a version was made from through all generations, and what was made from it."""
        return self._backend.lineage(self.project, name, version)

    def get_statistics(self) -> Statistics:
        """Return counts of the project."""
        return self._backend.get_statistics(self.project)

    def collect_garbage(self, *, dry_run: bool = False) -> GarbageReport:
        """Purge what was deleted before the retention, and remove blobs that nothing refers to."""
        return self._parts.collect_garbage(dry_run)

    @property
    def _backend(self) -> MetadataBackend:
        return self.metadata_backend.backend

    @property
    def _projects(self) -> frozenset[str]:
        return frozenset({self.project})


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _flat(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Return nested metadata as ``engine.package: scikit-learn``."""
    flat: dict[str, str] = {}
    for key, value in metadata.items():
        if isinstance(value, Mapping):
            flat.update({f"{key}.{inner}": text for inner, text in _flat(value).items()})
        elif value not in (None, ""):
            flat[key] = _as_text(value)
    return flat
