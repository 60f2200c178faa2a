"""Puts the registry server together."""

from __future__ import annotations

from datetime import timedelta

from mlops.registry.v1.registry_service_pb2_grpc import add_ModelRegistryServiceServicer_to_server

from blob_store import open_store
from model_management.catalog import ModelCatalog
from model_management.garbage import Retention
from model_management.metadata.operations import LocalBackend
from model_management.metadata.sql import SqlStore
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
        ValueError: The URL of the database or of the blob store cannot be read.
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
