"""Data ingestion: from files, rows and object stores into datasets."""
# Made by clients/python/make_sync.py. Change mlmesh/aio instead.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from google.protobuf.duration_pb2 import Duration
from mlops.ingestion.v1 import ingestion_pb2, ingestion_service_pb2

from mlmesh.data_sources import DataSource, source_message
from mlmesh.errors import DeadlineExceeded, IngestionFailed, IngestionUnfinished, InvalidArgument, MeshError
from mlmesh.fields import enum_value
from mlmesh.ingestion_options import ExpectationGate, ReadOptions, SchemaContract
from mlmesh.ingestions import Ingestion, ingestion_value
from mlmesh.patience import Patience
from mlmesh.suites import suite_message
from mlmesh.sync.blocking import pause, run_blocking
from mlmesh.sync.datasets import DatasetCalls
from mlmesh.sync.pages import Pager
from mlmesh.validation_reports import ValidationReport, report_value

_LONGEST_WAIT_S = 30.0
"""What the mesh waits at most before it answers."""


class IngestionClient(DatasetCalls):
    """Takes data in, checks them, and keeps datasets.

    Args:
        channel: Leads to the mesh.
        caller: Makes the calls.
    """

    def ingest_data(
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
        wait: bool = True,
        project: str = "",
        request_id: str = "",
        timeout_s: float | None = None,
    ) -> Ingestion:
        """Takes data into a dataset, which is made where there is none, and waits until they are there.

        Nothing is written before all of it is read and fits; then all of it becomes one version of the dataset. The work outlives this
        call, this program and the server: whoever stops waiting finds it again with `get_ingestion`.

        Args:
            dataset: Name of the dataset: 1 to 127 letters, digits, `_` and `-`.
            source: A URI that the mesh reads itself (`file://…` on its own machine, below a folder that it allows; `s3://bucket/key`);
                the path of a file on this machine, or its bytes, up to 15 MiB; or rows, as mappings by column: dates become ISO text, and
                a new dataset has their columns in any order. An iterator of rows is read to its end, with asyncio in another thread.
            name: Name of the bytes, which tells their format: `flights.csv.gz`.
            mode: `append`, `overwrite` or `upsert`, which replaces rows that have the same keys.
            keys: Columns that tell rows apart; for `upsert`.
            read: How the file is read; None = all of it is found out.
            schema_contract: What may change of the dataset; None = whatever loses nothing.
            gate: What the data have to meet; None = nothing.
            wait: Whether to return only once it is done.
            project: Project; empty = `default`.
            request_id: A UUID; a repeat within 24 hours returns the first answer. Empty = one is made, for retries of this call.
            timeout_s: Longest wait for it to be done, in seconds; None = as long as it takes. Without `wait` the deadline of the call;
                None = the connection's.

        Returns:
            The ingestion, succeeded; without `wait` as it is after the mesh has accepted it.

        Raises:
            mlmesh.errors.InvalidArgument: The source cannot be sent, or the mesh cannot take it.
            mlmesh.errors.IngestionFailed: It failed, or was cancelled.
            mlmesh.errors.IngestionUnfinished: It takes longer than `timeout_s`, and goes on.
            mlmesh.errors.DeadlineExceeded: Not even that it was accepted is known by then; a repeat with the same `request_id` is safe.
        """
        patience = Patience(timeout_s)
        message = run_blocking(_source_message, source, name, read)
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
            wait=_duration(min(_LONGEST_WAIT_S, deadline_s / 2)) if wait else None,
            request_id=request_id,
        )
        accepted = ingestion_value(self._caller.unary(self._stub.IngestData, request, timeout_s=timeout_s))
        return self._wait(accepted, patience, project) if wait else accepted

    def wait_for_ingestion(self, ingestion_id: str, *, project: str = "", timeout_s: float | None = None) -> Ingestion:
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
        return self._wait(self._look(ingestion_id, patience, project), patience, project)

    def get_ingestion(self, ingestion_id: str, *, project: str = "", timeout_s: float | None = None) -> Ingestion:
        """Returns an ingestion as it is now.

        Args:
            ingestion_id: Its identifier.
            project: Project; empty = `default`.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.NotFound: There is none.
        """
        request = ingestion_service_pb2.GetIngestionRequest(id=ingestion_id, project=project)
        return ingestion_value(self._caller.unary(self._stub.GetIngestion, request, timeout_s=timeout_s))

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

    def cancel_ingestion(self, ingestion_id: str, *, project: str = "", timeout_s: float | None = None) -> Ingestion:
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
        return ingestion_value(self._caller.unary(self._stub.CancelIngestion, request, timeout_s=timeout_s))

    def validate_data(
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
            timeout_s: Deadline, in seconds; None = the connection's.

        Returns:
            What the suite found; that data break expectations is no error.

        Raises:
            mlmesh.errors.InvalidArgument: The suite or the source cannot be read.
            mlmesh.errors.NotFound: There is no such dataset or version.
        """
        if bool(dataset) == (source is not None):
            raise InvalidArgument("give either a dataset or a source", reason="SOURCE_AMBIGUOUS")
        request = ingestion_service_pb2.ValidateDataRequest(
            suite=run_blocking(suite_message, suite),
            project=project,
            dataset=dataset,
            version=version,
            source=run_blocking(_source_message, source, name, read) if source is not None else None,
            read=read.message() if read is not None else None,
            max_unexpected_rows=max_unexpected_rows,
        )
        return report_value(self._caller.unary(self._stub.ValidateData, request, timeout_s=timeout_s))

    def _wait(self, ingestion: Ingestion, patience: Patience, project: str) -> Ingestion:
        while not ingestion.is_done:
            pause_s = patience.next_pause_s()
            if pause_s is None:
                raise IngestionUnfinished(ingestion)
            pause(pause_s)
            try:
                ingestion = self._look(ingestion.id, patience, project)
            except DeadlineExceeded as error:
                raise IngestionUnfinished(ingestion) from error
            except MeshError as error:
                # Whoever waits for what he has just begun has its name from nowhere else.
                error.metadata["ingestion_id"] = ingestion.id
                raise
        if not ingestion.is_successful:
            raise IngestionFailed(ingestion)
        return ingestion

    def _look(self, ingestion_id: str, patience: Patience, project: str) -> Ingestion:
        most_s = self._caller.deadline_s(ingestion_service_pb2.GetIngestionRequest, None)
        return self.get_ingestion(ingestion_id, project=project, timeout_s=patience.look_s(most_s))


def _source_message(source: DataSource, name: str, read: ReadOptions | None) -> ingestion_pb2.Source:
    return source_message(source, name=name, format=read.format if read is not None else "")


def _duration(seconds: float) -> Duration:
    return Duration(seconds=int(seconds), nanos=int(seconds % 1 * 1_000_000_000))
