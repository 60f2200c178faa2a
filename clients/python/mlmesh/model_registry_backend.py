"""`model_management.create_registry("grpc")`: the library's registry over the one of a mesh."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import mlmesh
from blob_store import Blob, BlobNotFound, BlobReader, DigestMismatch
from mlmesh.configuration import API_KEY_PREFIX
from mlmesh.errors import DataLoss, NotFound
from mlmesh.files import describe
from mlmesh.model_files import signature_message
from mlmesh.registry_refusals import refusals_of_the_library
from mlmesh.registry_values import (
    files_message,
    lineage_graph_value,
    lineage_message,
    model_value,
    statistics_value,
    verification_value,
    version_value,
)
from mlmesh.sync.pages import Pager
from mlmesh.sync.registry import RegistryClient
from model_management.catalog import Verification
from model_management.errors import InvalidValue, ModelNotFound, VersionNotFound
from model_management.garbage import GarbageReport
from model_management.metadata.backend import MetadataBackend
from model_management.model import (
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
)
from model_management.query import ListQuery
from model_management.registry import RegistryParts
from model_management.storage import ArtifactStorage

_Value = TypeVar("_Value")


def open_registry_parts(url: str | None, token: str | None, project: str) -> RegistryParts:
    """Connects to a mesh and returns what `model_management.ModelRegistry` is made of.

    Args:
        url: Address of the mesh; None = that of the environment, or the one on this machine.
        token: Bearer token or API key; None = that of the environment, or of the mesh on this machine.
        project: The project.

    Raises:
        mlmesh.errors.NotConnected: There is no mesh.
    """
    is_key = token is not None and token.startswith(API_KEY_PREFIX)
    mesh = mlmesh.connect(url, api_key=token if is_key else None, token=None if is_key else token)
    backend = MeshBackend(mesh.registry, project, mesh.close)
    workspace = Path(tempfile.gettempdir()) / "mlmesh-artifacts"
    storage = ArtifactStorage(MeshBlobs(mesh.registry, project), workspace)
    return RegistryParts(backend, storage, backend.verify, backend.collect_garbage, mesh.close)


class MeshBackend(MetadataBackend):
    """Models and versions of one project in the registry of a mesh. The mesh itself says who creates what.

    Args:
        registry: Makes the calls.
        project: The project for questions that name none.
        close: Closes the connection.
    """

    def __init__(self, registry: RegistryClient, project: str, close: Callable[[], None]) -> None:
        self._registry = registry
        self._project = project
        self._close = close

    def create_model(
        self, project: str, name: str, new: NewModel | None = None, *, creator: str = "", request_id: str | None = None
    ) -> RegisteredModel:
        """Create a model; see `MetadataBackend`."""
        del creator
        said = new or NewModel()
        with refusals_of_the_library():
            created = self._registry.create_model(
                name,
                description=said.description,
                display_name=said.display_name,
                tags=said.tags,
                project=project,
                request_id=request_id or "",
            )
        return model_value(created)

    def get_model(self, project: str, name: str, *, include_deleted: bool = False) -> RegisteredModel:
        """Return a model; see `MetadataBackend`."""
        with refusals_of_the_library():
            if not include_deleted:
                return model_value(self._registry.get_model(name, project=project))
            found = self._registry.list_models(filter=f"name = {_quoted(name)}", show_deleted=True, project=project).to_list(1)
        if not found:
            raise ModelNotFound(project, name)
        return model_value(found[0])

    def list_models(self, query: ListQuery | None = None) -> Page[RegisteredModel]:
        """Return a page of models; see `MetadataBackend`."""
        asked = query or ListQuery()
        pager = self._registry.list_models(
            filter=asked.filter,
            order_by=asked.order_by,
            show_deleted=asked.include_deleted,
            project=self._only_project(asked),
            page_size=asked.limit(),
        )
        return _page(pager, asked, model_value)

    def update_model(self, project: str, name: str, changes: ModelChanges, *, etag: str = "") -> RegisteredModel:
        """Change a model; see `MetadataBackend`."""
        given = _given(asdict(changes))
        if not given:
            return self.get_model(project, name)
        with refusals_of_the_library():
            return model_value(self._registry.update_model(name, project=project, etag=etag, **given))

    def delete_model(self, project: str, name: str, *, etag: str = "") -> None:
        """Delete a model; see `MetadataBackend`."""
        with refusals_of_the_library():
            self._registry.delete_model(name, project=project, etag=etag)

    def restore_model(self, project: str, name: str) -> RegisteredModel:
        """Undo `delete_model`."""
        with refusals_of_the_library():
            return model_value(self._registry.restore_model(name, project=project))

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
        """Create the next version; see `MetadataBackend`."""
        del creator
        with refusals_of_the_library():
            created = self._registry.create_model_version(
                model,
                files=files_message(new),
                description=new.description,
                tags=new.tags,
                format=new.format,
                signature=signature_message(new.signature),
                onnx_path=new.onnx_path,
                metrics=new.metrics,
                parameters=new.parameters,
                lineage=lineage_message(new.lineage),
                model_card=new.model_card,
                create_model=create_model,
                project=project,
                request_id=request_id or "",
            )
        return version_value(created)

    def get_version(self, project: str, model: str, version: int, *, include_deleted: bool = False) -> ModelVersion:
        """Return a version; see `MetadataBackend`."""
        with refusals_of_the_library():
            if not include_deleted:
                return version_value(self._registry.get_model_version(model, version, project=project))
            pager = self._registry.list_model_versions(model, filter=f"version = {version}", show_deleted=True, project=project)
            found = pager.to_list(1)
        if not found:
            raise VersionNotFound(project, model, version)
        return version_value(found[0])

    def resolve_version(
        self, project: str, model: str, *, version: int | None = None, alias: str | None = None, stage: Stage | None = None
    ) -> ModelVersion:
        """Return the version that is meant; see `MetadataBackend`."""
        with refusals_of_the_library():
            found = self._registry.resolve_model_version(
                model, version=version or 0, alias=alias or "", stage=stage.value if stage is not None else "", project=project
            )
        return version_value(found)

    def list_versions(self, query: ListQuery | None = None) -> Page[ModelVersion]:
        """Return a page of versions, of one model or over all; see `MetadataBackend`.

        Raises:
            InvalidValue: If deleted versions of all models are asked for, which a mesh does not list.
        """
        asked = query or ListQuery()
        common: dict[str, Any] = {"filter": asked.filter, "order_by": asked.order_by, "page_size": asked.limit()}
        project = self._only_project(asked)
        if asked.model:
            pager = self._registry.list_model_versions(asked.model, show_deleted=asked.include_deleted, project=project, **common)
        elif asked.include_deleted:
            raise InvalidValue("include_deleted", "a mesh lists deleted versions of one model at a time; name it")
        else:
            pager = self._registry.search_model_versions(project=project, **common)
        return _page(pager, asked, version_value)

    def update_version(self, project: str, model: str, version: int, changes: VersionChanges, *, etag: str = "") -> ModelVersion:
        """Change a version; see `MetadataBackend`."""
        given = _given(asdict(changes))
        if not given:
            return self.get_version(project, model, version)
        with refusals_of_the_library():
            return version_value(self._registry.update_model_version(model, version, project=project, etag=etag, **given))

    def delete_version(self, project: str, model: str, version: int, *, etag: str = "") -> None:
        """Delete a version; see `MetadataBackend`."""
        with refusals_of_the_library():
            self._registry.delete_model_version(model, version, project=project, etag=etag)

    def restore_version(self, project: str, model: str, version: int) -> ModelVersion:
        """Undo `delete_version`."""
        with refusals_of_the_library():
            return version_value(self._registry.restore_model_version(model, version, project=project))

    def finalize_version(self, project: str, model: str, version: int) -> ModelVersion:
        """Make a PENDING version READY; see `MetadataBackend`."""
        with refusals_of_the_library():
            return version_value(self._registry.finalize_model_version(model, version, project=project))

    def set_alias(self, project: str, model: str, alias: str, version: int, *, etag: str = "") -> RegisteredModel:
        """Point an alias at a version; see `MetadataBackend`."""
        with refusals_of_the_library():
            return model_value(self._registry.set_alias(model, alias, version, project=project, etag=etag))

    def delete_alias(self, project: str, model: str, alias: str) -> RegisteredModel:
        """Remove an alias."""
        with refusals_of_the_library():
            return model_value(self._registry.delete_alias(model, alias, project=project))

    def set_stage(
        self, project: str, model: str, version: int, stage: Stage, *, archive_others: bool = False, etag: str = ""
    ) -> ModelVersion:
        """Move a version to a stage; see `MetadataBackend`."""
        with refusals_of_the_library():
            moved = self._registry.set_model_stage(model, version, stage.value, archive_others=archive_others, project=project, etag=etag)
        return version_value(moved)

    def lineage(self, project: str, model: str, version: int) -> LineageGraph:
        """Return where a version stands among others."""
        with refusals_of_the_library():
            return lineage_graph_value(self._registry.get_model_version_lineage(model, version, project=project))

    def get_statistics(self, project: str | None = None) -> Statistics:
        """Return counts of a project; by default of the one this backend was opened for."""
        with refusals_of_the_library():
            return statistics_value(self._registry.get_model_statistics(project=project or self._project))

    def find_models_by_tag(self, key: str, value: str, project: str | None = None) -> list[RegisteredModel]:
        """Return the models that have this tag, by name; by default in the project this backend was opened for."""
        with refusals_of_the_library():
            pager = self._registry.list_models(filter=f"tags.{_quoted(key)} = {_quoted(value)}", project=project or self._project)
            return [model_value(message) for message in pager]

    def verify(self, version: ModelVersion) -> Verification:
        """Let the mesh read all files of a version, and check its signature against the keys that the registry server trusts."""
        with refusals_of_the_library():
            return verification_value(self._registry.verify_model_version(version.model, version.version, project=version.project))

    def collect_garbage(self, dry_run: bool) -> GarbageReport:
        """Purge what was deleted before the retention of the mesh, and remove blobs that nothing refers to."""
        with refusals_of_the_library():
            answer = self._registry.collect_garbage(validate_only=dry_run)
        return GarbageReport(answer.removed_blob_count, answer.freed_bytes, answer.purged_version_count)

    def check(self) -> None:
        """Find out whether the mesh answers; see `MetadataBackend`."""
        self.get_statistics()

    def close(self) -> None:
        """Close the connection."""
        self._close()

    def _only_project(self, query: ListQuery) -> str:
        if query.projects is None:
            return self._project
        if len(query.projects) != 1:
            raise InvalidValue("projects", "a mesh is asked about one project at a time")
        return next(iter(query.projects))


class MeshBlobs:
    """The bytes of models in a mesh; see `model_management.storage.ArtifactBlobs`.

    Args:
        registry: Makes the calls.
        project: The project.
    """

    def __init__(self, registry: RegistryClient, project: str) -> None:
        self._registry = registry
        self._project = project

    def put_file(self, path: Path, expected_digest: str | None = None, *, take_ownership: bool = False) -> Blob:
        """Store a file; what breaks off is gone on with.

        Raises:
            DigestMismatch: If it is not what it should be.
        """
        source = describe(path, path.name)
        if expected_digest is not None and expected_digest != source.digest:
            raise DigestMismatch(expected_digest, source.digest)
        with refusals_of_the_library():
            self._registry.upload_described(source, project=self._project)
        if take_ownership:
            path.unlink()
        return Blob(source.digest, source.size_bytes, datetime.now(UTC))

    def open(self, digest: str, offset: int = 0, length: int | None = None) -> BlobReader:
        """Read a blob, verified at its end; what breaks off is gone on with.

        Raises:
            BlobNotFound: If no version of the project refers to it.
        """
        is_whole = offset == 0 and length is None
        # How long it is turns out at its end; readers go by the bytes.
        blob = Blob(digest, 0, datetime.now(UTC))
        return BlobReader(blob, _limited(self._read(digest, offset), length), lambda: None, is_whole=is_whole)

    def _read(self, digest: str, offset: int) -> Iterator[bytes]:
        try:
            with refusals_of_the_library():
                yield from self._registry.read_blob(digest, offset_bytes=offset, project=self._project)
        except (NotFound, DataLoss) as error:
            raise BlobNotFound(digest) from error


def _limited(pieces: Iterator[bytes], length: int | None) -> Iterator[bytes]:
    left = length
    for piece in pieces:
        yield piece if left is None else piece[:left]
        left = None if left is None else left - len(piece)
        if left is not None and left <= 0:
            return


def _page(pager: Pager[Any], query: ListQuery, value: Callable[[Any], _Value]) -> Page[_Value]:
    with refusals_of_the_library():
        items, following = pager.page(query.page_token)
    return Page(tuple(value(item) for item in items), following)


def _given(changes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in changes.items() if value is not None}


def _quoted(text: str) -> str:
    """Returns a text as a string of the filter grammar that stands for itself: also where it has an asterisk."""
    escaped = re.sub(r'([\\"*])', r"\\\1", text)
    return f'"{escaped}"'
