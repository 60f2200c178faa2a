"""Waits for an ingestion in the triggerer."""

from __future__ import annotations

from typing import Any

from mlmesh_airflow.waiting_trigger import WaitingTrigger
from mlmesh_airflow.works import INGESTION


class IngestionTrigger(WaitingTrigger):
    """Fires once an ingestion has ended, however it ended.

    Args:
        ingestion_id: The ingestion.
        arguments: Those of every `WaitingTrigger`.
    """

    work = INGESTION
    identified_by = "ingestion_id"

    def __init__(self, *, ingestion_id: str, **arguments: Any) -> None:
        super().__init__(ingestion_id, **arguments)
