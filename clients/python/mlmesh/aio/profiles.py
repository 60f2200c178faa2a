"""Profiles of datasets, and pages that show data to people."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc.aio
from mlops.ingestion.v1 import profile_service_pb2, profile_service_pb2_grpc

from mlmesh.aio.calls import Caller
from mlmesh.aio.ingestion import validation_request
from mlmesh.data_sources import DataSource
from mlmesh.ingestion_options import ReadOptions
from mlmesh.profiles import DatasetProfile, profile_value


class ProfilesClient:
    """Says what datasets have in them.

    Args:
        channel: Leads to the mesh.
        caller: Makes the calls.
    """

    def __init__(self, channel: grpc.aio.Channel, caller: Caller) -> None:
        self._stub = profile_service_pb2_grpc.DatasetProfileServiceStub(channel)
        self._caller = caller

    async def get_dataset_profile(
        self, dataset: str, *, version: int | None = None, project: str = "", timeout_s: float | None = None
    ) -> DatasetProfile:
        """Returns what a dataset has in it: counts, ranges, distributions and frequent values of its columns.

        Files that were described before are not read again, so only the first profile of much new data takes a while.

        Args:
            dataset: Name of the dataset.
            version: Its version; None = the newest. The first is 0.
            project: Project; empty = `default`.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.NotFound: There is no such dataset or version.
            mlmesh.errors.FailedPrecondition: A vacuum removed the files of the version.
        """
        request = profile_service_pb2.GetDatasetProfileRequest(dataset=dataset, project=project, version=version)
        return profile_value(await self._caller.unary(self._stub.GetDatasetProfile, request, timeout_s=timeout_s))

    async def render_dataset_profile(
        self, dataset: str, *, version: int | None = None, project: str = "", timeout_s: float | None = None
    ) -> str:
        """Returns the profile as an HTML page with plots, which needs nothing else.

        Args:
            dataset: Name of the dataset.
            version: Its version; None = the newest. The first is 0.
            project: Project; empty = `default`.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.NotFound: There is no such dataset or version.
        """
        request = profile_service_pb2.RenderDatasetProfileRequest(dataset=dataset, project=project, version=version)
        return _page(await self._caller.unary(self._stub.RenderDatasetProfile, request, timeout_s=timeout_s))

    async def render_ingestion(self, ingestion_id: str, *, project: str = "", timeout_s: float | None = None) -> str:
        """Returns an ingestion as an HTML page: counts, what was left out and why, what the gate found.

        Args:
            ingestion_id: Its identifier.
            project: Project; empty = `default`.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.NotFound: There is none.
        """
        request = profile_service_pb2.RenderIngestionRequest(id=ingestion_id, project=project)
        return _page(await self._caller.unary(self._stub.RenderIngestion, request, timeout_s=timeout_s))

    async def render_validation(
        self,
        suite: Mapping[str, Any] | Path | str,
        *,
        dataset: str = "",
        version: int | None = None,
        source: DataSource | None = None,
        name: str = "",
        read: ReadOptions | None = None,
        max_unexpected_rows: int | None = None,
        project: str = "",
        timeout_s: float | None = None,
    ) -> str:
        """Checks data as `mesh.ingestion.validate_data` does, and returns the report as an HTML page.

        Args:
            suite: A suite as Great Expectations 1.x writes it, or the path of a JSON file with it.
            dataset: The dataset to check; or else `source`.
            version: Version of the dataset; None = the newest. The first is 0.
            source: The data to check, as for `ingest_data`.
            name: Name of the bytes of the source, which tells their format.
            read: How the source is read; None = all of it is found out.
            max_unexpected_rows: Most unexpected rows that each result has, at most 1,000; None = 20.
            project: Project; empty = `default`.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.InvalidArgument: The suite or the source cannot be read.
            mlmesh.errors.NotFound: There is no such dataset or version.
        """
        validation = await validation_request(suite, dataset, version, source, name, read, max_unexpected_rows, project)
        request = profile_service_pb2.RenderValidationRequest(project=project, validation=validation)
        return _page(await self._caller.unary(self._stub.RenderValidation, request, timeout_s=timeout_s))


def _page(answer: Any) -> str:
    page: bytes = answer.data
    return page.decode()
