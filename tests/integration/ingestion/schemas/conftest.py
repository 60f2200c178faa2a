"""Tables in a folder and in a real S3, and a real ingestion server in two shapes."""

from __future__ import annotations

from tests.integration.ingestion.server.conftest import folder_place, mesh, s3_access, server
from tests.integration.ingestion.tables.conftest import table, tables

__all__ = ["folder_place", "mesh", "s3_access", "server", "table", "tables"]
