"""Datasets: tables with versions, which ingestions write."""
# Made by clients/python/make_sync.py. Change mlmesh/aio instead.

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import grpc
from mlops.ingestion.v1 import ingestion_service_pb2, ingestion_service_pb2_grpc

from mlmesh.datasets import Dataset, DatasetVersion, Preview, dataset_value, dataset_version_value, preview_of_json
from mlmesh.fields import timestamp
from mlmesh.json_values import plain_struct
from mlmesh.sync.calls import Caller
from mlmesh.sync.pages import Pager


class DatasetCalls:
    """Calls about datasets.

    Args:
        channel: Leads to the mesh.
        caller: Makes the calls.
    """

    def __init__(self, channel: grpc.Channel, caller: Caller) -> None:
        self._stub = ingestion_service_pb2_grpc.DataIngestionServiceStub(channel)
        self._caller = caller

    def get_dataset(
        self,
        name: str,
        *,
        version: int | None = None,
        read_time: datetime | None = None,
        project: str = "",
        timeout_s: float | None = None,
    ) -> Dataset:
        """Returns a dataset as it is, or was.

        Args:
            name: Its name.
            version: Its version; None = the newest, or that of `read_time`. The first is 0.
            read_time: The dataset as it was then, with a time zone.
            project: Project; empty = `default`.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.NotFound: There is no such dataset or version.
        """
        request = ingestion_service_pb2.GetDatasetRequest(name=name, project=project, version=version, read_time=timestamp(read_time))
        return dataset_value(self._caller.unary(self._stub.GetDataset, request, timeout_s=timeout_s))

    def list_datasets(
        self, *, filter: str = "", order_by: str = "", project: str = "", page_size: int = 0, timeout_s: float | None = None
    ) -> Pager[Dataset]:
        """Lists datasets, by name unless ordered otherwise.

        Args:
            filter: AIP-160 filter over `name`, `create_time` and `update_time`, for example `name : "flights"`.
            order_by: Of `name`, `create_time`, `update_time`, each with ` desc` if wanted.
            project: Project; empty = `default`.
            page_size: Most items a page; 0 = 50.
            timeout_s: Deadline of each page, in seconds; None = the connection's.
        """
        request = ingestion_service_pb2.ListDatasetsRequest(project=project, filter=filter, order_by=order_by, page_size=page_size)
        return Pager(self._caller, self._stub.ListDatasets, request, "datasets", timeout_s, dataset_value)

    def list_dataset_versions(
        self, name: str, *, project: str = "", page_size: int = 0, timeout_s: float | None = None
    ) -> Pager[DatasetVersion]:
        """Lists the versions of a dataset, the newest first.

        Args:
            name: Name of the dataset.
            project: Project; empty = `default`.
            page_size: Most items a page; 0 = 50.
            timeout_s: Deadline of each page, in seconds; None = the connection's.
        """
        request = ingestion_service_pb2.ListDatasetVersionsRequest(name=name, project=project, page_size=page_size)
        return Pager(self._caller, self._stub.ListDatasetVersions, request, "versions", timeout_s, dataset_version_value)

    def preview_dataset(
        self,
        name: str,
        *,
        version: int | None = None,
        limit: int = 50,
        skip_rows: int = 0,
        columns: Sequence[str] = (),
        project: str = "",
        timeout_s: float | None = None,
    ) -> Preview:
        """Returns some rows of a dataset.

        Args:
            name: Name of the dataset.
            version: Its version; None = the newest. The first is 0.
            limit: Most rows, at most 1,000; 0 = 50.
            skip_rows: Rows to leave out at the beginning.
            columns: The columns wanted; empty = all.
            project: Project; empty = `default`.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.NotFound: There is no such dataset or version.
        """
        request = ingestion_service_pb2.PreviewDatasetRequest(
            name=name, project=project, version=version, limit=limit, skip_rows=skip_rows, columns=columns
        )
        answer = self._caller.unary(self._stub.PreviewDataset, request, timeout_s=timeout_s)
        return preview_of_json(answer.data)

    def rollback_dataset(
        self, name: str, version: int, *, project: str = "", request_id: str = "", timeout_s: float | None = None
    ) -> Dataset:
        """Makes the rows of an earlier version those of a new one. Nothing is lost: the versions in between stay.

        Args:
            name: Name of the dataset.
            version: The version whose rows are wanted; the first is 0.
            project: Project; empty = `default`.
            request_id: A UUID; a repeat returns the first answer. Empty = one is made, for retries of this call.
            timeout_s: Deadline, in seconds; None = the connection's.

        Returns:
            The dataset in its new version.

        Raises:
            mlmesh.errors.NotFound: There is no such dataset or version.
        """
        request = ingestion_service_pb2.RollbackDatasetRequest(name=name, project=project, version=version, request_id=request_id)
        return dataset_value(self._caller.unary(self._stub.RollbackDataset, request, timeout_s=timeout_s))

    def compact_dataset(
        self, name: str, *, project: str = "", timeout_s: float | None = None
    ) -> ingestion_service_pb2.CompactDatasetResponse:
        """Joins small files of a dataset into large ones, which reads faster. The rows stay the same, and earlier versions readable.

        Args:
            name: Name of the dataset.
            project: Project; empty = `default`.
            timeout_s: Deadline, in seconds; None = the connection's.

        Returns:
            The version that this makes, and how many files it joined.

        Raises:
            mlmesh.errors.NotFound: There is none.
        """
        request = ingestion_service_pb2.CompactDatasetRequest(name=name, project=project)
        return self._caller.unary(self._stub.CompactDataset, request, timeout_s=timeout_s)

    def vacuum_dataset(
        self, name: str, *, retention: timedelta | None = None, project: str = "", timeout_s: float | None = None
    ) -> ingestion_service_pb2.VacuumDatasetResponse:
        """Removes files that no version younger than the retention needs.

        Args:
            name: Name of the dataset.
            retention: How long replaced versions stay readable, at least 24 hours; None = 7 days.
            project: Project; empty = `default`.
            timeout_s: Deadline, in seconds; None = the connection's.

        Returns:
            How many files it removed.

        Raises:
            mlmesh.errors.NotFound: There is none.
            mlmesh.errors.InvalidArgument: The retention is too short.
        """
        request = ingestion_service_pb2.VacuumDatasetRequest(name=name, project=project)
        if retention is not None:
            request.retention.FromTimedelta(retention)
        return self._caller.unary(self._stub.VacuumDataset, request, timeout_s=timeout_s)

    def suggest_expectations(
        self, name: str, *, version: int | None = None, project: str = "", timeout_s: float | None = None
    ) -> dict[str, Any]:
        """Suggests a suite of expectations from what a dataset has, for `validate_data` and gates.

        Args:
            name: Name of the dataset.
            version: Its version; None = the newest.
            project: Project; empty = `default`.
            timeout_s: Deadline, in seconds; None = the connection's.

        Returns:
            The suite as Great Expectations 1.x writes it.

        Raises:
            mlmesh.errors.NotFound: There is no such dataset or version.
        """
        request = ingestion_service_pb2.SuggestExpectationsRequest(name=name, project=project, version=version)
        return plain_struct((self._caller.unary(self._stub.SuggestExpectations, request, timeout_s=timeout_s)).suite)

    def delete_dataset(self, name: str, *, project: str = "", timeout_s: float | None = None) -> None:
        """Deletes a dataset with all its versions, for good.

        Args:
            name: Name of the dataset.
            project: Project; empty = `default`.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.NotFound: There is none.
        """
        request = ingestion_service_pb2.DeleteDatasetRequest(name=name, project=project)
        self._caller.unary(self._stub.DeleteDataset, request, timeout_s=timeout_s)
