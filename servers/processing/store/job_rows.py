"""The rows of jobs: what of one stands in its own row, and what in that of its task."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from mlops.ingestion.v1.validation_pb2 import ValidationReport
from mlops.processing.v1.processing_job_pb2 import JobSpec
from sqlalchemy import RowMapping, func

from aip_filter import Field, Schema, side_table
from servers.processing.engines.kinds import EngineKind
from servers.processing.records import Failure, InputState, Job, NewJob, OutputState, Progress, StateChange
from servers.processing.store.pipeline_rows import RUN_COLUMNS, run_of
from servers.processing.store.pipeline_tables import pipeline_runs
from servers.processing.store.tables import job_labels, jobs
from servers.runtime.pages import Collection
from servers.runtime.work import Task
from servers.runtime.work.job_state import NOT_ENDED, JobState, is_lost, is_queued, is_running, state_of
from servers.runtime.work.task_rows import tasks

JOB_LOST = "JOB_LOST"
"""Reason of a job that has not ended and that nobody works on any more."""

_LOST = "nobody works on this job any more, and nothing says how far it came; retry it"

SOURCE = jobs.outerjoin(tasks, tasks.c.task_id == jobs.c.id).outerjoin(pipeline_runs, pipeline_runs.c.job_id == jobs.c.id)
IS_RUNNING = is_running(jobs.c.state)
IS_QUEUED = is_queued(jobs.c.state)
IN_TURN = (tasks.c.priority.desc(), tasks.c.not_before, jobs.c.id)
"""The order in which jobs that wait begin."""

_IS_LOST = is_lost(jobs.c.state)
STATE = state_of(jobs.c.state)
_AS_THEY_STAND = ("id", "project", "display_name", "retry_of", "creator", "create_time", "end_time")

COLUMNS = (
    *(jobs.c[name] for name in (*_AS_THEY_STAND, "history", "inputs", "outputs", "attempt", "error")),
    func.coalesce(jobs.c.start_time, tasks.c.start_time).label("start_time"),
    func.coalesce(jobs.c.progress, tasks.c.progress).label("progress"),
    STATE.label("state"),
    _IS_LOST.label("is_lost"),
    *RUN_COLUMNS,
)
SHORT = (*COLUMNS, jobs.c.short_spec.label("spec"))
"""Without what may be long."""
WHOLE = (*COLUMNS, jobs.c.spec, jobs.c.validations)


def new_row(new: NewJob) -> dict[str, Any]:
    """Returns the row of a job that nobody has begun."""
    return {
        "id": new.id,
        "project": new.project,
        "display_name": new.display_name,
        "engine": engine_name(new.spec),
        "priority": new.spec.priority,
        "spec": new.spec.SerializeToString(deterministic=True),
        "short_spec": _shortened(new.spec).SerializeToString(deterministic=True),
        "retry_of": new.retry_of,
        "creator": new.creator,
        "create_time": new.create_time,
        "history": [change_to_json(StateChange(JobState.QUEUED, new.create_time))],
        "inputs": [{"name": each.name, "dataset": each.dataset, "version": each.version} for each in new.inputs],
        "validations": {},
        "outputs": outputs_to_json(new.outputs),
        "attempt": 0,
        "failures": 0,
        "attempt_token": "",
        "log_lines": 0,
        "state": NOT_ENDED,
    }


def engine_name(spec: JobSpec) -> str:
    """The name of a job's engine, as `EngineKind` has it."""
    return list(EngineKind)[max(0, spec.engine - 1)].value


def ended_values(task: Task) -> dict[str, Any]:
    """Returns what the row has from the end of its task on; error and history aside."""
    return {"state": task.state.value, "start_time": task.start_time, "end_time": task.end_time, "progress": task.progress}


def outputs_to_json(outputs: Sequence[OutputState]) -> list[dict[str, Any]]:
    """Gives outputs as the row has them."""
    return [asdict(each) for each in outputs]


def outputs_of(rows: Sequence[Mapping[str, Any]]) -> tuple[OutputState, ...]:
    """Reads outputs of a row."""
    return tuple(OutputState(**{**each, "keys": tuple(each.get("keys", ()))}) for each in rows)


def change_to_json(change: StateChange) -> dict[str, str]:
    """Gives a change of state as the row has it."""
    return {"state": change.state.value, "time": change.time.isoformat(), "reason": change.reason}


def failure_to_json(failure: Failure) -> dict[str, Any]:
    """Gives a failure as the row has it."""
    return {"code": failure.code, "reason": failure.reason, "message": failure.message, "metadata": dict(failure.metadata)}


def report_to_text(report: ValidationReport) -> str:
    """Gives a report as the row has it."""
    return base64.b64encode(report.SerializeToString(deterministic=True)).decode()


def job_of(row: RowMapping, labels: Mapping[str, str]) -> Job:
    """Returns the job of a row of `SHORT` or `WHOLE`."""
    validations: Mapping[str, str] = row.get("validations") or {}
    error = Failure(13, JOB_LOST, _LOST) if row["is_lost"] else None if row["error"] is None else Failure(**row["error"])
    state = JobState(row["state"])
    return Job(
        **{name: row[name] for name in _AS_THEY_STAND},
        labels=labels,
        spec=JobSpec.FromString(row["spec"]),
        state=state,
        history=tuple(
            StateChange(JobState(each["state"]), datetime.fromisoformat(each["time"]), each["reason"]) for each in row["history"]
        ),
        error=error,
        progress=Progress.of(row["progress"]),
        inputs=tuple(InputState(**each, validation=_report(validations.get(each["name"]))) for each in row["inputs"]),
        outputs=outputs_of(row["outputs"]),
        attempt=row["attempt"],
        start_time=row["start_time"],
        run=run_of(row),
    )


def _report(text: str | None) -> ValidationReport | None:
    return None if text is None else ValidationReport.FromString(base64.b64decode(text))


def _shortened(spec: JobSpec) -> JobSpec:
    short = JobSpec()
    short.CopyFrom(spec)
    short.ClearField("plan")
    short.ClearField("sql")
    for each in short.inputs:
        each.ClearField("expectations")
    for output in short.outputs:
        output.ClearField("gate")
    return short


LIST: Collection[RowMapping] = Collection(
    name="processing jobs",
    source=SOURCE,
    columns=SHORT,
    schema=Schema(
        {
            "state": Field("enum", STATE, values={state.value: state.value for state in JobState}),
            "engine": Field("enum", jobs.c.engine, values={kind.value: kind.value for kind in EngineKind}),
            "display_name": Field("string", jobs.c.display_name),
            "labels": Field("map", entries=side_table(job_labels, job_labels.c.job_id == jobs.c.id)),
            "pipeline": Field("string", RUN_COLUMNS[0].element),
            "creator": Field("string", jobs.c.creator),
            "create_time": Field("timestamp", jobs.c.create_time),
            "end_time": Field("timestamp", jobs.c.end_time),
        }
    ),
    order_fields={"create_time": jobs.c.create_time, "display_name": jobs.c.display_name},
    default_order="create_time desc",
    tie_breaker=jobs.c.id,
    read=lambda row: row,
)
