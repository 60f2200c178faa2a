"""The operator that takes data into a dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlmesh

from mlmesh_airflow.ingestion_trigger import IngestionTrigger
from mlmesh_airflow.waiting_operator import WaitingOperator
from mlmesh_airflow.works import INGESTION

if TYPE_CHECKING:
    from airflow.sdk import Context
    from mlmesh.ingestions import Ingestion


class IngestDataOperator(WaitingOperator):
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
        arguments: Those of every `WaitingOperator`: `project`, `mlmesh_conn_id`, `wait_for_completion`, `deferrable`, `longest_pause_s`;
            and of every operator.

    Returns:
        As XCom: `ingestion_id`, `state`, `version` (of the dataset), `rows_read`, `rows_added`, `rows_updated`, `rows_rejected`, and more.

    Raises:
        AirflowException: The mesh refuses it, or the ingestion fails or is cancelled; the message has the reason.
    """

    work = INGESTION
    trigger = IngestionTrigger

    template_fields: Sequence[str] = (
        *("dataset", "source", "name", "mode", "keys", "read", "schema_contract", "gate", "project", "mlmesh_conn_id"),
    )

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

    def begin(self, mesh: mlmesh.Mesh, context: Context, identifier: str) -> Ingestion:  # noqa: ARG002 - all that is rendered is rendered
        """Has the mesh take the data."""
        return mesh.ingestion.ingest_data(
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
