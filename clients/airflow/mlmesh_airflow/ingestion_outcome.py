"""What Airflow keeps of an ingestion: plain JSON, for XComs and the events of triggers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlmesh.ingestions import Ingestion


def outcome_of(ingestion: Ingestion) -> dict[str, Any]:
    """Returns an ingestion as plain JSON. Rejected rows are counted only: Airflow's database is no place for people's data."""
    error = ingestion.error
    return {
        "ingestion_id": ingestion.id,
        "project": ingestion.project,
        "dataset": ingestion.dataset,
        "mode": ingestion.mode,
        "state": ingestion.state,
        "version": ingestion.version,
        "rows_read": ingestion.rows_read,
        "rows_added": ingestion.rows_added,
        "rows_updated": ingestion.rows_updated,
        "rows_rejected": ingestion.rows_rejected,
        "schema_changes": list(ingestion.schema_changes),
        "warnings": list(ingestion.warnings),
        "error": {"code": error.code, "reason": error.reason, "message": error.message} if error is not None else None,
    }


def failure_of(outcome: dict[str, Any]) -> str:
    """Returns why an ingestion that ended wrote nothing; empty where it succeeded."""
    if outcome["state"] == "succeeded":
        return ""
    what = f"ingestion {outcome['ingestion_id']} into {outcome['dataset']}"
    error = outcome["error"]
    return f"{what} failed: {error['message']} [{error['reason']}]" if error else f"{what} was {outcome['state']}"
