"""Puts the registry server together."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from mlops.registry.v1.registry_service_pb2_grpc import add_ModelRegistryServiceServicer_to_server

from blob_store import open_store
from model_management.catalog import ModelCatalog
from model_management.garbage import Retention
from model_management.metadata.operations import LocalBackend
from model_management.metadata.sql import SqlStore
from model_management.signing import SigningFailed, TrustedKey, trusted_key
from servers.registry.artifacts import Artifacts
from servers.registry.errors import from_library
from servers.registry.servicer import RegistryServicer
from servers.registry.settings import RegistrySettings
from servers.registry.transfers import Transfers
from servers.runtime.component import Dependency, database_dependency
from servers.runtime.database import open_database
from servers.runtime.server import Registration, Server, build_server


def build(settings: RegistrySettings) -> Server:
    """Builds the server; it does not listen yet.

    Raises:
        ValueError: The URL of the database or of the blob store cannot be read, or a trusted key cannot be used.
    """
    engine = open_database(settings)
    catalog = ModelCatalog(
        LocalBackend(SqlStore(engine)),
        open_store(settings.blob_url),
        retention=Retention(
            deleted=timedelta(seconds=settings.retention_s),
            pending=timedelta(seconds=settings.upload_expiry_s),
            grace=timedelta(seconds=settings.upload_expiry_s),
        ),
        trusted_keys=_trusted_keys(settings.trusted_keys),
    )
    servicer = RegistryServicer(catalog, Artifacts(catalog, settings.max_file_bytes), Transfers(catalog, settings.max_file_bytes))
    return build_server(
        settings,
        [Registration(add_ModelRegistryServiceServicer_to_server, servicer)],
        component=settings.component,
        dependencies=[database_dependency(engine), Dependency("blobs", catalog.blobs.check)],
        database=engine,
        translate=from_library,
    )


def _trusted_keys(paths: Sequence[Path]) -> list[TrustedKey]:
    try:
        return [trusted_key(path) for path in paths]
    except SigningFailed as error:
        raise ValueError(f"MLMESH_REGISTRY_TRUSTED_KEYS: {error}") from error
