"""The sensor that waits for a processing job that something else began."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlmesh_airflow.processing_trigger import ProcessingJobTrigger
from mlmesh_airflow.waiting_sensor import WaitingSensor
from mlmesh_airflow.works import PROCESSING_JOB


class ProcessingJobSensor(WaitingSensor):
    """Waits until a processing job has succeeded.

    Args:
        job_id: The job.
        arguments: Those of every `WaitingSensor`: `project`, `mlmesh_conn_id`, `deferrable`; and of every sensor.

    Returns:
        As XCom what `ProcessingJobOperator` returns.

    Raises:
        AirflowFailException: The job failed or was cancelled, which no retry of the sensor would change.
        AirflowException: The mesh refuses to tell.
    """

    work = PROCESSING_JOB
    trigger = ProcessingJobTrigger

    template_fields: Sequence[str] = ("job_id", "project", "mlmesh_conn_id")

    def __init__(self, *, job_id: str, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.job_id = job_id
