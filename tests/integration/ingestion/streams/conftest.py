"""A real ingestion server in two shapes, as for ingestions."""

from __future__ import annotations

from tests.integration.ingestion.server.conftest import folder_place, mesh, s3_access, server

__all__ = ["folder_place", "mesh", "s3_access", "server"]
