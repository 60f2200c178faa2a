"""Jobs as the server keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from mlops.ingestion.v1.validation_pb2 import ValidationReport
from mlops.processing.v1.processing_job_pb2 import JobSpec

from servers.processing.pipelines.records import PipelineRun
from servers.runtime.work.job_state import JobState


class Phase(StrEnum):
    """What a job that runs is at."""

    VALIDATING = "validating"
    COMPUTING = "computing"
    WRITING = "writing"


@dataclass(frozen=True)
class StateChange:
    """A step of a job's life.

    Args:
        state: What it became.
        time: When.
        reason: Why, where the state does not say it itself.
    """

    state: JobState
    time: datetime
    reason: str = ""


@dataclass(frozen=True)
class InputState:
    """What became of an input.

    Args:
        name: By which the plan reads it.
        dataset: The dataset.
        version: Which is read.
        validation: What its expectations found; None without any, and until then.
    """

    name: str
    dataset: str
    version: int
    validation: ValidationReport | None = None


@dataclass(frozen=True)
class OutputState:
    """How far an output is.

    Args:
        step: The step.
        dataset: The dataset.
        row_count: Rows that were computed.
        upload_id: Where they are on their way; empty until they are all there, and once an ingestion has them.
        ingestion_id: Who writes them; empty until then.
        version: What was written; None until then, and where nothing had to be.
        is_written: Whether it is done.
        round: How often an ingestion of it has failed for a reason that may pass: each round is another delivery.
        mode: How the rows are written, a `WriteMode` without its prefix; empty = as the job says.
        keys: That tell rows apart, beside `mode`.
        base_version: Of the dataset to which the rows were computed; None where they do not depend on one.
    """

    step: str
    dataset: str
    row_count: int = 0
    upload_id: str = ""
    ingestion_id: str = ""
    version: int | None = None
    is_written: bool = False
    round: int = 0
    mode: str = ""
    keys: tuple[str, ...] = ()
    base_version: int | None = None

    @property
    def is_computed(self) -> bool:
        """Whether its rows are where they outlive this server, or there are none to write."""
        return bool(self.upload_id or self.ingestion_id) or self.is_written


@dataclass(frozen=True)
class Failure:
    """Why a job failed.

    Args:
        code: Number of the gRPC code.
        reason: Reason of the error.
        message: In words.
        metadata: Facts for programs.
    """

    code: int
    reason: str
    message: str
    metadata: Mapping[str, str] = field(default_factory=dict)


_COUNTS = ("rows_computed", "outputs_written", "peak_memory_bytes")


@dataclass(frozen=True)
class Progress:
    """How far a job is.

    Args:
        phase: What it is at; None until it begins.
        rows_computed: Rows of outputs so far.
        outputs_written: Outputs that are written.
        peak_memory_bytes: Most memory that its processes had.
    """

    phase: Phase | None = None
    rows_computed: int = 0
    outputs_written: int = 0
    peak_memory_bytes: int = 0

    @classmethod
    def of(cls, reported: Any) -> Progress:
        """Reads what `to_json` wrote; nothing where there is nothing."""
        if not isinstance(reported, dict):
            return cls()
        return cls(Phase(reported["phase"]), *(int(reported[name]) for name in _COUNTS))

    def to_json(self) -> dict[str, Any]:
        """Gives it as the task's progress has it."""
        return {
            "phase": (self.phase or Phase.VALIDATING).value,
            **{name: getattr(self, name) for name in _COUNTS},
        }


@dataclass(frozen=True)
class NewJob:
    """A job that was checked.

    Args:
        id: UUID; also that of its task.
        project: Its project.
        display_name: For people.
        labels: Labels.
        spec: What it is to do, with versions and defaults filled in.
        inputs: What it reads.
        outputs: What it writes.
        creator: Who asked for it.
        create_time: When.
        retry_of: The job of which it is a repeat; empty where it is none.
    """

    id: str
    project: str
    display_name: str
    labels: Mapping[str, str]
    spec: JobSpec
    inputs: tuple[InputState, ...]
    outputs: tuple[OutputState, ...]
    creator: str
    create_time: datetime
    retry_of: str = ""


@dataclass(frozen=True)
class Job:
    """A job.

    Args:
        id: UUID; also that of its task.
        project: Its project.
        display_name: For people.
        labels: Labels.
        spec: What it is to do; in lists without plan, SQL and expectations.
        state: Where it is in its life.
        history: The states it was in, the oldest first.
        error: Why it failed; None where it did not.
        progress: How far it is.
        inputs: What became of its inputs.
        outputs: What became of its outputs.
        attempt: Number of the attempt, from 1; 0 until it begins.
        retry_of: The job of which it is a repeat; empty where it is none.
        creator: Who asked for it.
        create_time: When.
        start_time: When work began.
        end_time: When it ended.
        run: What it is for a pipeline; None where it is of none.
    """

    id: str
    project: str
    display_name: str
    labels: Mapping[str, str]
    spec: JobSpec
    state: JobState
    history: tuple[StateChange, ...]
    error: Failure | None
    progress: Progress
    inputs: tuple[InputState, ...]
    outputs: tuple[OutputState, ...]
    attempt: int
    retry_of: str
    creator: str
    create_time: datetime
    start_time: datetime | None = None
    end_time: datetime | None = None
    run: PipelineRun | None = None
