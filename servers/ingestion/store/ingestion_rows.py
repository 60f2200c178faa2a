"""The rows of ingestions: what of one stands in its own row, and what in that of its task."""

from __future__ import annotations

from typing import Any

from sqlalchemy import RowMapping, func

from aip_filter import Field, Schema
from servers.ingestion.records import Ingestion, NewIngestion
from servers.ingestion.store.tables import ingestions
from servers.runtime.pages import Collection
from servers.runtime.work import Task
from servers.runtime.work.job_state import NOT_ENDED, JobState, is_lost, is_running, state_of
from servers.runtime.work.task_rows import tasks

TASK_LOST = "TASK_LOST"
"""Reason of an ingestion that has not ended and that nobody works on any more."""

_LOST = "nobody works on this ingestion any more, and nothing says how far it came; look at the dataset's versions, then ingest again"

_MODES = ("APPEND", "OVERWRITE", "UPSERT")

SOURCE = ingestions.outerjoin(tasks, tasks.c.task_id == ingestions.c.id)
IS_RUNNING = is_running(ingestions.c.state)
IS_LOST = is_lost(ingestions.c.state)
_STATE = state_of(ingestions.c.state)
_AS_THEY_STAND = ("id", "project", "dataset", "source", "mode", "creator", "create_time", "end_time")

# Without the request, which may be long and is the worker's.
COLUMNS = (
    *(ingestions.c[name] for name in (*_AS_THEY_STAND, "rows_read", "outcome", "error_reason", "error_message")),
    func.coalesce(ingestions.c.start_time, tasks.c.start_time).label("start_time"),
    _STATE.label("state"),
    IS_LOST.label("is_lost"),
    tasks.c.progress,
)


def new_row(new: NewIngestion) -> dict[str, Any]:
    """Returns the row of an ingestion that nobody has begun."""
    return {
        "id": new.id,
        "project": new.project,
        "dataset": new.dataset,
        "source": new.source,
        "mode": new.mode,
        "request": dict(new.request),
        "creator": new.creator,
        "create_time": new.create_time,
        "state": NOT_ENDED,
        "rows_read": 0,
        "error_reason": "",
        "error_message": "",
    }


def ended_values(task: Task) -> dict[str, Any]:
    """Returns what the row has from the end of its task on."""
    return {
        "state": task.state.value,
        "start_time": task.start_time,
        "end_time": task.end_time,
        "rows_read": _rows_read(task.progress, 0),
        "error_reason": task.error.reason if task.error else "",
        "error_message": task.error.message if task.error else "",
    }


def ingestion_of(row: RowMapping) -> Ingestion:
    """Returns the ingestion of a row of `COLUMNS`."""
    outcome = row["outcome"]
    return Ingestion(
        **{name: row[name] for name in _AS_THEY_STAND},
        state=JobState(row["state"]),
        start_time=row["start_time"],
        rows_read=_rows_read(row["progress"] if outcome is None else outcome, row["rows_read"]),
        outcome=outcome,
        error_reason=TASK_LOST if row["is_lost"] else row["error_reason"],
        error_message=_LOST if row["is_lost"] else row["error_message"],
    )


def _rows_read(reported: Any, otherwise: int) -> int:
    return int(reported.get("rows_read", otherwise)) if isinstance(reported, dict) else otherwise


LIST = Collection(
    name="ingestions",
    source=SOURCE,
    columns=COLUMNS,
    schema=Schema(
        {
            "dataset": Field("string", ingestions.c.dataset),
            "state": Field("enum", _STATE, values={state.value: state.value for state in JobState}),
            "mode": Field("enum", ingestions.c.mode, values={mode: mode for mode in _MODES}),
            "creator": Field("string", ingestions.c.creator),
            "create_time": Field("timestamp", ingestions.c.create_time),
            "end_time": Field("timestamp", ingestions.c.end_time),
        }
    ),
    order_fields={"create_time": ingestions.c.create_time, "dataset": ingestions.c.dataset},
    default_order="create_time desc",
    tie_breaker=ingestions.c.id,
    read=ingestion_of,
)
