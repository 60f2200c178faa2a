"""Pipelines, their runs and what is known of their outputs, as the server keeps them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from mlops.processing.v1.pipeline_pb2 import PipelineSpec
from mlops.processing.v1.processing_job_pb2 import CheckResult


class RunMode(StrEnum):
    """How much a run computes."""

    INCREMENTAL = "INCREMENTAL"
    FULL = "FULL"


class AlertState(StrEnum):
    """Whether an alert still holds."""

    OPEN = "OPEN"
    RESOLVED = "RESOLVED"


@dataclass(frozen=True)
class InputOrigin:
    """A version of a dataset of which outputs were made.

    Args:
        dataset: The dataset.
        version: The version.
        made_at: When the dataset was first written: another time means that it was deleted and made anew.
    """

    dataset: str
    version: int
    made_at: str


@dataclass(frozen=True)
class OutputOrigin:
    """An output as a run left it.

    Args:
        version: Which has the rows; None where it is not known that they are these alone, since somebody else wrote at the same time.
        made_at: When the dataset was first written.
    """

    version: int | None
    made_at: str


@dataclass(frozen=True)
class Checkpoint:
    """What the outputs of a pipeline are made of.

    Args:
        pipeline_version: The version of the pipeline that made them.
        computation: Says whether another version computes the same; see `specs.computation_of`.
        inputs: By the input's name.
        outputs: By dataset.
    """

    pipeline_version: int
    computation: str
    inputs: Mapping[str, InputOrigin]
    outputs: Mapping[str, OutputOrigin]


@dataclass(frozen=True)
class NewPipeline:
    """A pipeline that was checked.

    Args:
        id: UUID, of this pipeline alone: another one may get its name once it is deleted.
        project: Its project.
        name: Its name.
        display_name: For people.
        description: What it is for.
        labels: Labels.
        spec: What it does.
        full_only_reason: Why no run of it can compute less than everything; empty where one can.
        creator: Who made it.
        create_time: When.
    """

    id: str
    project: str
    name: str
    display_name: str
    description: str
    labels: Mapping[str, str]
    spec: PipelineSpec
    full_only_reason: str
    creator: str
    create_time: datetime


@dataclass(frozen=True)
class Pipeline(NewPipeline):
    """A pipeline as it is, or as one of its versions was.

    Args:
        version: The version that is described.
        newest_version: The newest one.
        revision: Counts what people changed.
        checkpoint: What its outputs are made of; None until it has run.
        running_job_id: The job that runs it; empty where none does.
        update_time: When it was last changed.
    """

    version: int
    newest_version: int
    revision: int
    checkpoint: Checkpoint | None
    running_job_id: str
    update_time: datetime


@dataclass(frozen=True)
class PipelineVersion:
    """A version of a pipeline.

    Args:
        version: Its number.
        spec: What it does.
        creator: Who made it.
        create_time: When.
    """

    version: int
    spec: PipelineSpec
    creator: str
    create_time: datetime


@dataclass(frozen=True)
class RunRequest:
    """What a job is to do for a pipeline, beside its specification.

    Args:
        is_check: Whether it compares, and writes nothing.
        mode: Wanted of a run.
        computation: Of the version; see `specs.computation_of`.
        key_columns: Of the outputs.
        input_keys: Columns of inputs with the keys, where they are said.
        full_only_reason: Why it cannot compute less than everything; empty where it can.
        base: What the outputs are made of before a run; of a check, what is compared.
        relative_tolerance: Of a check.
    """

    is_check: bool
    mode: RunMode
    computation: str
    key_columns: Sequence[str]
    input_keys: Mapping[str, Sequence[str]]
    full_only_reason: str
    base: Checkpoint | None
    relative_tolerance: float = 0.0


@dataclass(frozen=True)
class RunOutcome:
    """What is known of a run so far.

    Args:
        mode: How much it computed; None until that is known, and of a check.
        full_reason: Why everything.
        changed_rows: Rows of inputs that came or went.
        touched_keys: Keys whose rows were computed anew.
        made_at: Of each input's dataset when its rows were read.
    """

    mode: RunMode | None = None
    full_reason: str = ""
    changed_rows: int = 0
    touched_keys: int = 0
    made_at: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PipelineRun:
    """What a job is for a pipeline.

    Args:
        pipeline: Its name.
        version: Of the pipeline.
        outcome: What is known so far.
        check: What a check found; None until then.
    """

    pipeline: str
    version: int
    outcome: RunOutcome
    check: CheckResult | None


@dataclass(frozen=True)
class WorkOfRun:
    """What the worker of a job has to know.

    Args:
        pipeline_id: Of the pipeline.
        version: Of the pipeline.
        request: What is wanted.
        outcome: What an attempt before found out.
    """

    pipeline_id: str
    version: int
    request: RunRequest
    outcome: RunOutcome


@dataclass(frozen=True)
class ColumnQuality:
    """Statistics of a column; None where it has none.

    Args:
        column: Its name.
        null_fraction: Share of nulls.
        distinct_count: Different values, estimated.
        mean: Mean of numbers.
        standard_deviation: Of numbers.
        minimum: Least number.
        maximum: Greatest number.
    """

    column: str
    null_fraction: float
    distinct_count: float
    mean: float | None = None
    standard_deviation: float | None = None
    minimum: float | None = None
    maximum: float | None = None


@dataclass(frozen=True)
class OutputQuality:
    """Statistics of an output after a run.

    Args:
        job_id: The run.
        dataset: The dataset.
        version: The version that was written.
        row_count: Its rows.
        columns: Its columns.
        create_time: When they were made.
    """

    job_id: str
    dataset: str
    version: int
    row_count: int
    columns: Sequence[ColumnQuality]
    create_time: datetime


@dataclass(frozen=True)
class QualityAlert:
    """A rule that did not hold.

    Args:
        id: UUID.
        pipeline: Name of the pipeline.
        rule: Name of the rule.
        job_id: After which it did not hold first.
        dataset: The dataset.
        version: Its version.
        value: Of the statistic; None where the column has none.
        message: What was found and what is allowed.
        state: Whether it still holds.
        create_time: When it was raised.
        resolve_time: When it was resolved.
    """

    id: str
    pipeline: str
    rule: str
    job_id: str
    dataset: str
    version: int
    value: float | None
    message: str
    state: AlertState
    create_time: datetime
    resolve_time: datetime | None = None
