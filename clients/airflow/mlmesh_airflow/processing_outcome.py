"""What Airflow keeps of a processing job: plain JSON, for XComs and the events of triggers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlmesh.processing_jobs import ProcessingJob


def outcome_of(job: ProcessingJob) -> dict[str, Any]:
    """Returns a job as plain JSON. Its plan is left out: `mlmesh processing show ID` has it."""
    error = job.error
    return {
        "job_id": job.id,
        "project": job.project,
        "display_name": job.display_name,
        "engine": job.engine,
        "state": job.state,
        "inputs": [{"name": one.name, "dataset": one.dataset, "version": one.version} for one in job.inputs],
        "outputs": [
            {"dataset": one.dataset, "version": one.version, "row_count": one.row_count, "ingestion_id": one.ingestion_id}
            for one in job.outputs
        ],
        "error": {"code": error.code, "reason": error.reason, "message": error.message} if error is not None else None,
    }


def failure_of(outcome: dict[str, Any]) -> str:
    """Returns why a job that ended has not succeeded; empty where it has."""
    if outcome["state"] == "succeeded":
        return ""
    what = f"processing job {outcome['job_id']}"
    error = outcome["error"]
    return f"{what} failed: {error['message']} [{error['reason']}]" if error else f"{what} was {outcome['state']}"
