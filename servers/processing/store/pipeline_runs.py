"""Runs and checks of pipelines, from their workers' side."""

from __future__ import annotations

from mlops.processing.v1.processing_job_pb2 import CheckResult
from sqlalchemy import Connection, Engine, insert, select, update

from servers.processing.pipelines.records import Pipeline, RunOutcome, RunRequest, WorkOfRun
from servers.processing.store.jobs import Attempt, check_held
from servers.processing.store.pipeline_rows import outcome_of, outcome_to_json, request_of, request_to_json
from servers.processing.store.pipeline_tables import pipeline_runs
from sql_engine import write


class PipelineRuns:
    """What jobs are for pipelines.

    Args:
        engine: The component's database, from `open_store`.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(self, connection: Connection, pipeline: Pipeline, job_id: str, request: RunRequest) -> None:
        """Keeps what a job is to do for a pipeline, in the transaction that takes the job."""
        row = {
            "job_id": job_id,
            "project": pipeline.project,
            "pipeline_id": pipeline.id,
            "pipeline": pipeline.name,
            "pipeline_version": pipeline.version,
            "is_check": request.is_check,
            "request": request_to_json(request),
        }
        connection.execute(insert(pipeline_runs).values(row))

    def work_of(self, job_id: str) -> WorkOfRun | None:
        """Returns what the worker of a job has to know; None where it is of no pipeline."""
        with self._engine.connect() as connection:
            row = connection.execute(select(pipeline_runs).where(pipeline_runs.c.job_id == job_id)).one_or_none()
        if row is None:
            return None
        return WorkOfRun(row.pipeline_id, row.pipeline_version, request_of(row.request), outcome_of(row.outcome))

    def record_outcome(self, attempt: Attempt, outcome: RunOutcome) -> None:
        """Keeps how much is computed.

        Raises:
            LeaseLost: Another attempt has begun.
        """

        def keep(connection: Connection) -> None:
            check_held(connection, attempt)
            values = {"outcome": outcome_to_json(outcome)}
            connection.execute(update(pipeline_runs).where(pipeline_runs.c.job_id == attempt.job_id).values(values))

        write(self._engine, keep)

    def record_check(self, attempt: Attempt, found: CheckResult) -> None:
        """Keeps what a check found.

        Raises:
            LeaseLost: Another attempt has begun.
        """

        def keep(connection: Connection) -> None:
            check_held(connection, attempt)
            values = {"check_result": found.SerializeToString(deterministic=True)}
            connection.execute(update(pipeline_runs).where(pipeline_runs.c.job_id == attempt.job_id).values(values))

        write(self._engine, keep)
