"""What the mesh does for a task and goes on with when the task is gone: ingestions and processing jobs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mlmesh.errors import IngestionFailed, ProcessingFailed

from mlmesh_airflow import ingestion_outcome, processing_outcome


@dataclass(frozen=True)
class Work:
    """A kind of work.

    Each of the calls takes a connection, an identifier and a project. With a connection for asyncio what it returns is to be awaited.

    Args:
        name: What it is called.
        get: Returns it as it is.
        wait: Returns it once it has succeeded.
        cancel: Ends it.
        failed: What `wait` raises where it has not succeeded.
        ended: Returns it as it ended, of that error.
        outcome_of: Returns it as plain JSON.
        failure_of: Returns why it has not succeeded, of that JSON; empty where it has.
    """

    name: str
    get: Callable[[Any, str, str], Any]
    wait: Callable[[Any, str, str], Any]
    cancel: Callable[[Any, str, str], Any]
    failed: type[Exception]
    ended: Callable[[Any], Any]
    outcome_of: Callable[[Any], dict[str, Any]]
    failure_of: Callable[[dict[str, Any]], str]


INGESTION = Work(
    name="ingestion",
    get=lambda mesh, identifier, project: mesh.ingestion.get_ingestion(identifier, project=project),
    wait=lambda mesh, identifier, project: mesh.ingestion.wait_for_ingestion(identifier, project=project),
    cancel=lambda mesh, identifier, project: mesh.ingestion.cancel_ingestion(identifier, project=project),
    failed=IngestionFailed,
    ended=lambda error: error.ingestion,
    outcome_of=ingestion_outcome.outcome_of,
    failure_of=ingestion_outcome.failure_of,
)
PROCESSING_JOB = Work(
    name="processing job",
    get=lambda mesh, identifier, project: mesh.processing.get_processing_job(identifier, project=project),
    wait=lambda mesh, identifier, project: mesh.processing.wait_for_processing_job(identifier, project=project),
    cancel=lambda mesh, identifier, project: mesh.processing.cancel_processing_job(identifier, project=project),
    failed=ProcessingFailed,
    ended=lambda error: error.job,
    outcome_of=processing_outcome.outcome_of,
    failure_of=processing_outcome.failure_of,
)
