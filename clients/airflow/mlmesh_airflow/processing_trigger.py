"""Waits for a processing job in the triggerer."""

from __future__ import annotations

from typing import Any

from mlmesh_airflow.waiting_trigger import WaitingTrigger
from mlmesh_airflow.works import PROCESSING_JOB


class ProcessingJobTrigger(WaitingTrigger):
    """Fires once a processing job has ended, however it ended.

    Args:
        job_id: The job.
        arguments: Those of every `WaitingTrigger`.
    """

    work = PROCESSING_JOB
    identified_by = "job_id"

    def __init__(self, *, job_id: str, **arguments: Any) -> None:
        super().__init__(job_id, **arguments)
