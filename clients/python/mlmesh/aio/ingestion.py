"""Data ingestion: from files, rows and object stores into datasets."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc.aio
from google.protobuf.duration_pb2 import Duration
from mlops.ingestion.v1 import ingestion_pb2, ingestion_service_pb2

from mlmesh.aio.blocking import pause, run_blocking
from mlmesh.aio.calls import Caller
from mlmesh.aio.data_uploads import UploadsClient
from mlmesh.aio.datasets import DatasetCalls
from mlmesh.aio.pages import Pager
from mlmesh.data_sources import DataSource, is_too_large, source_message
from mlmesh.data_uploads import DataUpload
from mlmesh.errors import (
    Cancelled,
    DeadlineExceeded,
    IngestionFailed,
    IngestionUnfinished,
    Internal,
    InvalidArgument,
    MeshError,
    Unavailable,
    Unknown,
)
from mlmesh.fields import enum_value
from mlmesh.files import Report
from mlmesh.http_uploads import HttpUploads
from mlmesh.ingestion_options import ExpectationGate, ReadOptions, SchemaContract
from mlmesh.ingestions import Ingestion, ingestion_value
from mlmesh.patience import Patience
from mlmesh.suites import suite_message
from mlmesh.validation_reports import ValidationReport, report_value

_LONGEST_WAIT_S = 30.0
"""What the mesh waits at most before it answers."""
_DOUBTFUL = (Cancelled, DeadlineExceeded, Internal, Unavailable, Unknown)
"""Errors after which an ingestion may have begun."""


class IngestionClient(DatasetCalls):
    """Takes data in, checks them, and keeps datasets.

    Args:
        channel: Leads to the mesh.
        caller: Makes the calls.
        http: Takes the bytes of large files by HTTP; None = they go by gRPC.
    """

    def __init__(self, channel: grpc.aio.Channel, caller: Caller, http: HttpUploads | None = None) -> None:
        super().__init__(channel, caller)
        self._uploads = UploadsClient(channel, caller, http)

    async def ingest_data(
        self,
        dataset: str,
        source: DataSource,
        *,
        name: str = "",
        mode: str = "append",
        keys: Sequence[str] = (),
        read: ReadOptions | None = None,
        schema_contract: SchemaContract | None = None,
        gate: ExpectationGate | None = None,
        validate_only: bool = False,
        wait: bool = True,
        project: str = "",
        request_id: str = "",
        progress: bool | Report = False,
        timeout_s: float | None = None,
    ) -> Ingestion:
        """Takes data into a dataset, which is made where there is none, and waits until they are there.

        Nothing is written before all of it is read and fits; then all of it becomes one version of the dataset. The work outlives this
        call, this program and the server: whoever stops waiting finds it again with `get_ingestion`.

        Args:
            dataset: Name of the dataset: 1 to 127 letters, digits, `_` and `-`.
            source: A URI that the mesh reads itself (`file://…` on its own machine, below a folder that it allows; `s3://bucket/key`);
                the path of a file on this machine, or its bytes, which are uploaded in pieces where they are more than 15 MiB; an upload;
                or rows up to 15 MiB, as mappings by column: dates become ISO text. A new dataset has the columns of the first row in its
                order, then others as they appear. An iterator of rows is read to its end, with asyncio in another thread.
            name: Name of the bytes, which tells their format: `flights.csv.gz`.
            mode: `append`, `overwrite` or `upsert`, which replaces rows that have the same keys.
            keys: Columns that tell rows apart; for `upsert`.
            read: How the file is read; None = all of it is found out.
            schema_contract: What may change of the dataset; None = whatever loses nothing.
            gate: What the data have to meet; None = nothing.
            validate_only: Whether nothing is written, and the answer says what would be: `affected` has what uses the columns that would
                change.
            wait: Whether to return only once it is done.
            project: Project; empty = `default`.
            request_id: A UUID; a repeat within 24 hours returns the first answer, and goes on with an upload that broke off. Empty = one is
                made, for retries of this call.
            progress: True = a bar for what is uploaded; or a function to tell.
            timeout_s: Longest wait for it to be done, in seconds, uploading apart; None = as long as it takes. Without `wait` or with
                `validate_only` the deadline of the call; None = the connection's.

        Returns:
            The ingestion, succeeded; without `wait` as it is after the mesh has accepted it. With `validate_only` as it would end, also
            where it would fail.

        Raises:
            mlmesh.errors.InvalidArgument: The source cannot be sent, or the mesh cannot take it.
            mlmesh.errors.IngestionFailed: It failed, or was cancelled.
            mlmesh.errors.IngestionUnfinished: It takes longer than `timeout_s`, and goes on.
            mlmesh.errors.DeadlineExceeded: Not even that it was accepted is known by then; a repeat with the same `request_id` is safe.
        """
        uploaded = await self._uploaded(source, name, read, project, request_id, progress)
        patience = Patience(timeout_s)
        message = await run_blocking(_source_message, uploaded or source, name, read)
        # Half of the time for the wait, so that an answer comes before the deadline.
        deadline_s = self._caller.deadline_s(ingestion_service_pb2.IngestDataRequest, timeout_s)
        request = ingestion_service_pb2.IngestDataRequest(
            dataset=dataset,
            project=project,
            source=message,
            read=read.message() if read is not None else None,
            mode=enum_value(ingestion_pb2.WriteMode, mode),
            keys=keys,
            schema_contract=schema_contract.message() if schema_contract is not None else None,
            gate=gate.message() if gate is not None else None,
            validate_only=validate_only,
            wait=_duration(min(_LONGEST_WAIT_S, deadline_s / 2)) if wait else None,
            request_id=request_id,
        )
        try:
            accepted = ingestion_value(await self._caller.unary(self._stub.IngestData, request, timeout_s=timeout_s))
        except MeshError as error:
            if uploaded is not None and not isinstance(error, _DOUBTFUL):
                await self._forget(uploaded, project)
            raise
        if uploaded is not None and validate_only:
            await self._forget(uploaded, project)
        return await self._wait(accepted, patience, project) if wait and not validate_only else accepted

    async def wait_for_ingestion(self, ingestion_id: str, *, project: str = "", timeout_s: float | None = None) -> Ingestion:
        """Waits until an ingestion is done.

        Args:
            ingestion_id: Its identifier.
            project: Project; empty = `default`.
            timeout_s: Longest wait, in seconds; None = as long as it takes.

        Returns:
            The ingestion, succeeded.

        Raises:
            mlmesh.errors.NotFound: There is none.
            mlmesh.errors.IngestionFailed: It failed, or was cancelled.
            mlmesh.errors.IngestionUnfinished: It takes longer than `timeout_s`, and goes on.
        """
        patience = Patience(timeout_s)
        return await self._wait(await self._look(ingestion_id, patience, project), patience, project)

    async def get_ingestion(self, ingestion_id: str, *, project: str = "", timeout_s: float | None = None) -> Ingestion:
        """Returns an ingestion as it is now.

        Args:
            ingestion_id: Its identifier.
            project: Project; empty = `default`.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.NotFound: There is none.
        """
        request = ingestion_service_pb2.GetIngestionRequest(id=ingestion_id, project=project)
        return ingestion_value(await self._caller.unary(self._stub.GetIngestion, request, timeout_s=timeout_s))

    def list_ingestions(
        self, *, filter: str = "", order_by: str = "", project: str = "", page_size: int = 0, timeout_s: float | None = None
    ) -> Pager[Ingestion]:
        """Lists ingestions, the newest first unless ordered otherwise.

        Args:
            filter: AIP-160 filter over `dataset`, `state`, `mode`, `creator`, `create_time` and `end_time`, for example
                `state = "FAILED"`.
            order_by: Of `create_time`, `dataset`, each with ` desc` if wanted.
            project: Project; empty = `default`.
            page_size: Most items a page; 0 = 50.
            timeout_s: Deadline of each page, in seconds; None = the connection's.
        """
        request = ingestion_service_pb2.ListIngestionsRequest(project=project, filter=filter, order_by=order_by, page_size=page_size)
        return Pager(self._caller, self._stub.ListIngestions, request, "ingestions", timeout_s, ingestion_value)

    async def cancel_ingestion(self, ingestion_id: str, *, project: str = "", timeout_s: float | None = None) -> Ingestion:
        """Stops an ingestion that has not ended; nothing of it is written then. One that has ended stays as it is.

        Args:
            ingestion_id: Its identifier.
            project: Project; empty = `default`.
            timeout_s: Deadline, in seconds; None = the connection's.

        Returns:
            The ingestion, which may be cancelling for a while.

        Raises:
            mlmesh.errors.NotFound: There is none.
        """
        request = ingestion_service_pb2.CancelIngestionRequest(id=ingestion_id, project=project)
        return ingestion_value(await self._caller.unary(self._stub.CancelIngestion, request, timeout_s=timeout_s))

    async def validate_data(
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
        progress: bool | Report = False,
        timeout_s: float | None = None,
    ) -> ValidationReport:
        """Checks a dataset, or data that are not in one yet, against expectations. Writes nothing.

        Args:
            suite: A suite as Great Expectations 1.x writes it, `{"name": "...", "expectations": [{"type": "...", "kwargs": {}}]}`, or
                the path of a JSON file with it.
            dataset: The dataset to check; or else `source`.
            version: Version of the dataset; None = the newest. The first is 0.
            source: The data to check, as for `ingest_data`.
            name: Name of the bytes of the source, which tells their format.
            read: How the source is read; None = all of it is found out.
            max_unexpected_rows: Most unexpected rows that each result has, at most 1,000; None = 20.
            project: Project; empty = `default`.
            progress: True = a bar for what is uploaded; or a function to tell.
            timeout_s: Deadline, in seconds; None = the connection's.

        Returns:
            What the suite found; that data break expectations is no error.

        Raises:
            mlmesh.errors.InvalidArgument: The suite or the source cannot be read.
            mlmesh.errors.NotFound: There is no such dataset or version.
        """
        uploaded = None if dataset or source is None else await self._uploaded(source, name, read, project, "", progress)
        try:
            request = await validation_request(suite, dataset, version, uploaded or source, name, read, max_unexpected_rows, project)
            return report_value(await self._caller.unary(self._stub.ValidateData, request, timeout_s=timeout_s))
        finally:
            if uploaded is not None:
                await self._forget(uploaded, project)

    async def _uploaded(
        self, source: DataSource, name: str, read: ReadOptions | None, project: str, request_id: str, progress: bool | Report
    ) -> DataUpload | None:
        """Uploads what is too large for a request; None where nothing is."""
        if not is_too_large(source, name=name, format=read.format if read is not None else ""):
            return None
        # An id of its own, and the same for a repeat, which so goes on with the upload of the first one.
        upload_request_id = str(uuid.uuid5(uuid.UUID(request_id), "upload")) if request_id else ""
        return await self._uploads.upload_data(source, name=name, project=project, request_id=upload_request_id, progress=progress)

    async def _forget(self, upload: DataUpload, project: str) -> None:
        # It goes by itself in a day, and another error is what the caller should hear of.
        with suppress(MeshError):
            await self._uploads.delete_data_upload(upload.id, project=project)

    async def _wait(self, ingestion: Ingestion, patience: Patience, project: str) -> Ingestion:
        while not ingestion.is_done:
            pause_s = patience.next_pause_s()
            if pause_s is None:
                raise IngestionUnfinished(ingestion)
            await pause(pause_s)
            try:
                ingestion = await self._look(ingestion.id, patience, project)
            except DeadlineExceeded as error:
                raise IngestionUnfinished(ingestion) from error
            except MeshError as error:
                # Whoever waits for what he has just begun has its name from nowhere else.
                error.metadata["ingestion_id"] = ingestion.id
                raise
        if not ingestion.is_successful:
            raise IngestionFailed(ingestion)
        return ingestion

    async def _look(self, ingestion_id: str, patience: Patience, project: str) -> Ingestion:
        most_s = self._caller.deadline_s(ingestion_service_pb2.GetIngestionRequest, None)
        return await self.get_ingestion(ingestion_id, project=project, timeout_s=patience.look_s(most_s))


async def validation_request(
    suite: Mapping[str, Any] | Path | str,
    dataset: str,
    version: int | None,
    source: DataSource | None,
    name: str,
    read: ReadOptions | None,
    max_unexpected_rows: int | None,
    project: str,
) -> ingestion_service_pb2.ValidateDataRequest:
    """Returns the request of `IngestionClient.validate_data`.

    Raises:
        mlmesh.errors.InvalidArgument: The suite or the source cannot be sent, or there is not one thing to check.
    """
    if bool(dataset) == (source is not None):
        raise InvalidArgument("give either a dataset or a source", reason="SOURCE_AMBIGUOUS")
    return ingestion_service_pb2.ValidateDataRequest(
        suite=await run_blocking(suite_message, suite),
        project=project,
        dataset=dataset,
        version=version,
        source=await run_blocking(_source_message, source, name, read) if source is not None else None,
        read=read.message() if read is not None else None,
        max_unexpected_rows=max_unexpected_rows,
    )


def _source_message(source: DataSource, name: str, read: ReadOptions | None) -> ingestion_pb2.Source:
    return source_message(source, name=name, format=read.format if read is not None else "")


def _duration(seconds: float) -> Duration:
    return Duration(seconds=int(seconds), nanos=int(seconds % 1 * 1_000_000_000))
