"""Puts a registry together from what is written in one line."""

from __future__ import annotations

import getpass
import importlib
import os
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, cast

from blob_store import BlobStore, LocalBlobStore, open_store
from model_management.catalog import ModelCatalog
from model_management.errors import InvalidValue
from model_management.garbage import Retention
from model_management.metadata.operations import LocalBackend
from model_management.metadata.records import RecordStore
from model_management.parts import ArtifactFormats, RegistryParts
from model_management.registry import ModelRegistry
from model_management.signing import trusted_key
from model_management.storage import ArtifactStorage
from model_management.values import check_project

__all__ = ["create_registry"]

PATH_VARIABLE = "MLMESH_REGISTRY_PATH"
"""Names the folder in which registries are kept by default."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


def create_registry(
    kind: Literal["local", "database", "grpc"] = "local",
    *,
    path: str | Path | None = None,
    url: str | None = None,
    storage: str | None = None,
    storage_credentials: tuple[str, str] | None = None,
    token: str | None = None,
    project: str = "default",
    creator: str | None = None,
    retention: Retention | None = None,
    trusted_keys: Sequence[str | Path] = (),
    formats: ArtifactFormats | None = None,
    clock: Callable[[], datetime] = _utc_now,
) -> ModelRegistry:
    """Open a registry, which is made where it does not exist.

    Args:
        kind: ``local`` keeps metadata as JSON and files in a folder; ``database`` keeps metadata in SQLite, PostgreSQL, MySQL or MariaDB;
            ``grpc`` speaks to a mesh.
        path: Folder of a ``local`` or ``database`` registry; by default ``$MLMESH_REGISTRY_PATH/<kind>``, or ``~/.mlmesh/registry/<kind>``.
        url: Of ``database``: ``sqlite:///…`` (by default in the folder), ``postgresql://…``, ``mysql://…``, ``mariadb://…``. Of ``grpc``:
            the mesh.
        storage: Where files are: ``file:///folder`` (by default in the folder) or ``s3://bucket/prefix?endpoint=http://…``.
        storage_credentials: Access key and secret key of S3; by default from the environment, as AWS tools do.
        token: Of ``grpc``: a bearer token or API key; by default the local admin's.
        project: The project of all models seen through it.
        creator: Who is named as creator; by default the user of this process.
        retention: How long things are kept that nobody needs.
        trusted_keys: PEM files of the public keys whose signatures `ModelRegistry.check_model` counts as valid. Not of ``grpc``: there
            those count that the registry server trusts.
        formats: How models become files; by default `model_management.formats`.
        clock: Tells the time, in UTC.

    Raises:
        InvalidValue: If the kind is unknown, or an argument does not go with it.
        DatabaseUrlError: If `url` cannot be read.
        DriverMissing: If the database's driver is not installed.
        SigningFailed: If a trusted key cannot be used.
    """
    check_project(project)
    given = {"path": path, "url": url, "storage": storage, "storage_credentials": storage_credentials, "token": token}
    names = {name for name, value in given.items() if value is not None} | ({"trusted_keys"} if trusted_keys else set())
    _check_arguments(kind, frozenset(names))
    if kind == "grpc":
        parts = _remote_parts(url, token, project)
    else:
        folder = _folder(kind, path)
        parts = _local_parts(
            _records(kind, folder, url), folder, storage, storage_credentials, retention or Retention(), trusted_keys, clock
        )
    used = formats if formats is not None else cast("ArtifactFormats", _Formats())
    return ModelRegistry(parts, used, project=project, creator=_user() if creator is None else creator)


_ARGUMENTS = {
    "local": frozenset({"path", "storage", "storage_credentials", "trusted_keys"}),
    "database": frozenset({"path", "url", "storage", "storage_credentials", "trusted_keys"}),
    "grpc": frozenset({"url", "token"}),
}


def _check_arguments(kind: str, given: frozenset[str]) -> None:
    if kind not in _ARGUMENTS:
        raise InvalidValue("kind", f"{kind!r} is no kind of registry; allowed are {', '.join(_ARGUMENTS)}")
    if wrong := sorted(given - _ARGUMENTS[kind]):
        raise InvalidValue(wrong[0], f"does not go with a registry of kind {kind!r}; allowed are {', '.join(sorted(_ARGUMENTS[kind]))}")


def _folder(kind: str, path: str | Path | None) -> Path:
    if path is not None:
        return Path(path).expanduser().absolute()
    return Path(os.environ.get(PATH_VARIABLE) or Path.home() / ".mlmesh" / "registry").expanduser().absolute() / kind


def _records(kind: str, folder: Path, url: str | None) -> RecordStore:
    if kind == "local":
        from model_management.metadata.json_file import JsonFileStore

        return JsonFileStore(folder / "metadata")
    # SQLAlchemy takes 0.2 s to import, which a registry in JSON need not pay.
    from model_management.metadata.sql import SqlStore
    from sql_engine import connect

    return SqlStore(connect(url or f"sqlite:///{folder / 'registry.db'}"))


def _local_parts(
    records: RecordStore,
    folder: Path,
    storage: str | None,
    credentials: tuple[str, str] | None,
    retention: Retention,
    trusted_keys: Sequence[str | Path],
    clock: Callable[[], datetime],
) -> RegistryParts:
    blobs: BlobStore = open_store(storage, credentials=credentials) if storage else LocalBlobStore(folder / "blobs")
    workspace = folder / "tmp" if isinstance(blobs, LocalBlobStore) else Path(tempfile.gettempdir()) / f"mlmesh-{os.getuid()}"
    artifacts = ArtifactStorage(blobs, workspace)
    backend = LocalBackend(records, clock=clock)
    keys = [trusted_key(Path(path)) for path in trusted_keys]
    catalog = ModelCatalog(backend, blobs, retention=retention, clock=clock, clean=artifacts.clean, trusted_keys=keys)
    return RegistryParts(
        backend, artifacts, catalog.verify_version, lambda dry_run: catalog.collect_garbage(dry_run=dry_run), backend.close
    )


def _remote_parts(url: str | None, token: str | None, project: str) -> RegistryParts:
    try:
        remote = importlib.import_module("mlmesh.model_registry_backend")
    except ModuleNotFoundError as error:
        raise InvalidValue("kind", f"a registry of kind 'grpc' needs the client library mlmesh; {error}") from error
    return cast("RegistryParts", remote.open_registry_parts(url=url, token=token, project=project))


class _Formats:
    """`model_management.formats`, imported when it is first needed: it brings numpy and more."""

    def save_artifact(self, model: Any, folder: Path, **options: Any) -> Any:
        from model_management.formats import save_artifact

        return save_artifact(model, folder, **options)

    def load_artifact(self, folder: Path, format: str, **options: Any) -> Any:
        from model_management.formats import load_artifact

        return load_artifact(folder, format, **options)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A container may run as a user without a name.
        return f"uid-{os.getuid()}"
