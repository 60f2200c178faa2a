"""The sensor that waits for an ingestion that something else began."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlmesh_airflow.ingestion_trigger import IngestionTrigger
from mlmesh_airflow.waiting_sensor import WaitingSensor
from mlmesh_airflow.works import INGESTION


class IngestionSensor(WaitingSensor):
    """Waits until an ingestion has succeeded.

    Args:
        ingestion_id: The ingestion.
        arguments: Those of every `WaitingSensor`: `project`, `mlmesh_conn_id`, `deferrable`; and of every sensor.

    Returns:
        As XCom what `IngestDataOperator` returns.

    Raises:
        AirflowFailException: The ingestion failed or was cancelled, which no retry of the sensor would change.
        AirflowException: The mesh refuses to tell.
    """

    work = INGESTION
    trigger = IngestionTrigger

    template_fields: Sequence[str] = ("ingestion_id", "project", "mlmesh_conn_id")

    def __init__(self, *, ingestion_id: str, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.ingestion_id = ingestion_id
