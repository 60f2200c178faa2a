"""The operator that takes data into a dataset."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlmesh
from airflow.configuration import conf
from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, TaskDeferred
from mlmesh.errors import IngestionFailed, MeshError

from mlmesh_airflow.hook import DEFAULT_CONNECTION, MlmeshHook
from mlmesh_airflow.ingestion_outcome import failure_of, outcome_of
from mlmesh_airflow.ingestion_trigger import IngestionTrigger
from mlmesh_airflow.outages import PASSING
from mlmesh_airflow.request_ids import request_id

if TYPE_CHECKING:
    from airflow.sdk import Context
    from mlmesh.ingestions import Ingestion

_OUTAGE_PAUSE_S = 5.0
# Airflow kills a task that does not end soon after it was told to.
_LONGEST_CANCEL_S = 10.0


class IngestDataOperator(BaseOperator):
    """Takes data into a dataset and waits until they are there.

    A retry goes on with the ingestion of the try before it; it begins a new one only where that one has failed or was cancelled, which
    writes nothing. So a worker that is lost does not have the data taken in twice, within the 24 hours that the mesh remembers requests.
    Clearing the task has the work done anew.

    Args:
        dataset: Name of the dataset, which is made where there is none.
        source: A URI that the mesh reads itself (`s3://…`, `file://…`), the path of a file on the worker, up to 15 MiB, or rows, as
            mappings by column.
        name: Another name for the file, which tells its format.
        mode: `append`, `overwrite` or `upsert`.
        keys: Columns that tell rows apart; for `upsert`.
        read: How the file is read, as `mlmesh.ReadOptions` has it: `{"delimiter": ";"}`.
        schema_contract: What may change of the dataset, as `mlmesh.SchemaContract` has it: `{"columns": "freeze"}`.
        gate: What the data have to meet, as `mlmesh.ExpectationGate` has it: `{"suite": …, "mode": "discard_row"}`, with the suite as
            Great Expectations 1.x writes it, or the path of its JSON on the worker.
        project: Project; empty = `default`.
        mlmesh_conn_id: Identifier of the connection to the mesh.
        wait_for_completion: Whether the task ends with the ingestion; else once the mesh has accepted it, for an `IngestionSensor`.
        deferrable: Whether the triggerer waits instead of the worker; by default what `[operators] default_deferrable` says.
        longest_pause_s: Longest pause between two looks of the triggerer, in seconds.
        arguments: Those of every operator.

    Returns:
        As XCom: `ingestion_id`, `state`, `version` (of the dataset), `rows_read`, `rows_added`, `rows_updated`, `rows_rejected`, and more.

    Raises:
        AirflowException: The mesh refuses it, or the ingestion fails or is cancelled; the message has the reason.
    """

    template_fields: Sequence[str] = (
        *("dataset", "source", "name", "mode", "keys", "read", "schema_contract", "gate", "project", "mlmesh_conn_id"),
    )
    ui_color = "#d5e8f5"

    def __init__(
        self,
        *,
        dataset: str,
        source: str | Path | Sequence[Mapping[str, Any]],
        name: str = "",
        mode: str = "append",
        keys: Sequence[str] = (),
        read: Mapping[str, Any] | None = None,
        schema_contract: Mapping[str, Any] | None = None,
        gate: Mapping[str, Any] | None = None,
        project: str = "",
        mlmesh_conn_id: str = DEFAULT_CONNECTION,
        wait_for_completion: bool = True,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        longest_pause_s: float = 30.0,
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        self.dataset = dataset
        self.source = source
        self.name = name
        self.mode = mode
        self.keys = keys
        self.read = read
        self.schema_contract = schema_contract
        self.gate = gate
        self.project = project
        self.mlmesh_conn_id = mlmesh_conn_id
        self.wait_for_completion = wait_for_completion
        self.deferrable = deferrable
        self.longest_pause_s = longest_pause_s
        self._hook: MlmeshHook | None = None
        self._ingestion_id = ""

    def execute(self, context: Context) -> dict[str, Any]:
        """Begins the ingestion, or finds that of the try before, and waits for it."""
        self._hook = MlmeshHook(self.mlmesh_conn_id)
        try:
            with self._hook.get_conn() as mesh:
                ingestion = self._begun(mesh, context)
                self.log.info("Ingestion %s into %s is %s", ingestion.id, ingestion.dataset, ingestion.state)
                if not self.wait_for_completion:
                    return outcome_of(ingestion)
                if not self.deferrable:
                    ingestion = self._ended(mesh, ingestion)
        except MeshError as error:
            raise AirflowException(str(error)) from error
        if ingestion.is_done:
            return self._finished(outcome_of(ingestion))
        trigger = IngestionTrigger(
            ingestion_id=ingestion.id,
            mlmesh_conn_id=self.mlmesh_conn_id,
            project=self.project,
            longest_pause_s=self.longest_pause_s,
            is_owner=True,
        )
        raise TaskDeferred(trigger=trigger, method_name=self.execute_complete.__name__, timeout=self.execution_timeout)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002 - Airflow's signature
        """Goes on once the triggerer has seen the end."""
        if refusal := event.get("refusal"):
            raise AirflowException(refusal)
        return self._finished(event["outcome"])

    def on_kill(self) -> None:
        """Cancels the ingestion, of which nothing is written then."""
        # It runs in a signal handler, in the midst of whatever the task was doing: a connection and a thread of its own do not wait for
        # locks that the task may hold.
        if self._hook is not None and self._ingestion_id:
            thread = threading.Thread(target=self._cancel, args=(self._hook, self._ingestion_id), daemon=True)
            thread.start()
            thread.join(_LONGEST_CANCEL_S)

    def _begun(self, mesh: mlmesh.Mesh, context: Context) -> Ingestion:
        task = context["ti"]
        # A try can have made no more ingestions than there were tries.
        for attempt in range(task.try_number - 1):
            ingestion = self._accepted(mesh, request_id(task, attempt))
            # The answer to a repeated request is the first one: long ago.
            ingestion = mesh.ingestion.get_ingestion(ingestion.id, project=self.project)
            if ingestion.state == "cancelling":
                ingestion = self._ended(mesh, ingestion)
            if not ingestion.is_done or ingestion.is_successful:
                return ingestion
            self.log.info("Ingestion %s of an earlier try wrote nothing: %s", ingestion.id, failure_of(outcome_of(ingestion)))
        return self._accepted(mesh, request_id(task, task.try_number - 1))

    def _accepted(self, mesh: mlmesh.Mesh, identifier: str) -> Ingestion:
        ingestion = mesh.ingestion.ingest_data(
            self.dataset,
            self.source,
            name=self.name,
            mode=self.mode,
            keys=self.keys,
            read=mlmesh.ReadOptions(**self.read) if self.read else None,
            schema_contract=mlmesh.SchemaContract(**self.schema_contract) if self.schema_contract else None,
            gate=mlmesh.ExpectationGate(**self.gate) if self.gate else None,
            project=self.project,
            request_id=identifier,
            wait=False,
        )
        self._ingestion_id = ingestion.id
        return ingestion

    def _ended(self, mesh: mlmesh.Mesh, ingestion: Ingestion) -> Ingestion:
        while True:
            try:
                return mesh.ingestion.wait_for_ingestion(ingestion.id, project=self.project)
            except IngestionFailed as error:
                return error.ingestion
            except PASSING as error:
                self.log.warning("The mesh does not tell of ingestion %s at the moment: %s", ingestion.id, error)
                time.sleep(_OUTAGE_PAUSE_S)

    def _finished(self, outcome: dict[str, Any]) -> dict[str, Any]:
        if failure := failure_of(outcome):
            raise AirflowException(failure)
        self.log.info("%s has version %s: %s rows added", outcome["dataset"], outcome["version"], outcome["rows_added"])
        return outcome

    def _cancel(self, hook: MlmeshHook, ingestion_id: str) -> None:
        try:
            with hook.get_conn() as mesh:
                ingestion = mesh.ingestion.cancel_ingestion(ingestion_id, project=self.project, timeout_s=_LONGEST_CANCEL_S)
            self.log.info("Ingestion %s is %s", ingestion_id, ingestion.state)
        except MeshError:
            self.log.exception("Ingestion %s may go on", ingestion_id)
