"""Training sets and materialisations as the server keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from mlops.features.v1 import feature_job_service_pb2 as pb
from mlops.processing.v1.processing_job_pb2 import JobSpec

from servers.runtime.work.job_state import JobState


@dataclass(frozen=True)
class Failure:
    """Why a job failed.

    Args:
        code: Number of the gRPC code.
        reason: Reason of the error.
        message: What happened.
        metadata: Facts for programs.
    """

    code: int
    reason: str
    message: str
    metadata: Mapping[str, str] = field(default_factory=dict)


class MaterializeMode(StrEnum):
    """How much is brought into the online store: the names of the contract."""

    INCREMENTAL = "INCREMENTAL"
    FULL = "FULL"


@dataclass(frozen=True)
class MaterializationProgress:
    """Rows of a materialisation so far.

    Args:
        read: That were read.
        written: That the online store has taken.
        kept_newer: Of entities of which it had newer ones, or the same.
        incomplete: Without a key or a time.
        future: With an event time that is too far in the future.
    """

    read: int = 0
    written: int = 0
    kept_newer: int = 0
    incomplete: int = 0
    future: int = 0

    @classmethod
    def of(cls, counts: Mapping[str, Any] | None) -> MaterializationProgress:
        """Reads what a data process tells, or a row has."""
        known = counts or {}
        return cls(**{name: int(known.get(name, 0)) for name in cls.__dataclass_fields__})


@dataclass(frozen=True)
class NewMaterialization:
    """A materialisation that nobody has begun.

    Args:
        id: UUID.
        project: Of the view.
        view: Its name.
        version: Its version.
        view_version_id: UUID of the version.
        mode: What was asked for.
        creator: Who asked; `schedule` where nobody did.
        create_time: When.
    """

    id: str
    project: str
    view: str
    version: int
    view_version_id: str
    mode: MaterializeMode
    creator: str
    create_time: datetime


@dataclass(frozen=True)
class Materialization(NewMaterialization):
    """A materialisation as it stands.

    Args:
        state: Where it is in its life.
        effective_mode: What was done; None until that is known.
        error: Why it failed.
        processing_job_id: The job that computes the rows; empty where the view does not, or nobody has begun.
        dataset_version: That is read; None until that is known, and where there is no dataset yet.
        dataset_time: When that version was written.
        progress: Rows so far.
        start_time: When work began.
        end_time: When it ended.
    """

    state: JobState
    effective_mode: MaterializeMode | None
    error: Failure | None
    processing_job_id: str
    dataset_version: int | None
    dataset_time: datetime | None
    progress: MaterializationProgress
    start_time: datetime | None
    end_time: datetime | None


@dataclass(frozen=True)
class TrainingSetInput:
    """A version of a view that a training set reads, and the version of its dataset.

    Args:
        view: Name of the view.
        version: Its version.
        view_version_id: UUID of that.
        view_id: UUID of the view.
        dataset: With its rows.
        dataset_version: Which is read.
    """

    view: str
    version: int
    view_version_id: str
    view_id: str
    dataset: str
    dataset_version: int


@dataclass(frozen=True)
class ReportedView:
    """A view in a leak report: its name, and those of its features in the training set."""

    view: str
    features: tuple[str, ...]


@dataclass(frozen=True)
class Reading:
    """How the outputs of a training set's job are read.

    Args:
        leaks_dataset: With the leak report; empty where it is left out.
        reported: Views of the report, in its order.
        replayed: Columns that on-demand features are computed from, with their types, in order; empty where there are none.
        request_inputs: Those of them that come from the caller.
        on_demand: On-demand features: name, expression and type.
    """

    leaks_dataset: str = ""
    reported: tuple[ReportedView, ...] = ()
    replayed: tuple[tuple[str, str], ...] = ()
    request_inputs: tuple[str, ...] = ()
    on_demand: tuple[tuple[str, str, str], ...] = ()


@dataclass(frozen=True)
class NewTrainingSet:
    """A training set that nobody has begun.

    Args:
        id: UUID.
        project: Its project.
        spec: How it is made, with everything filled in.
        inputs: What it reads of views, each version once.
        spine_version: Version of the spine.
        job: What makes it.
        reading: How the outputs of that are read.
        creator: Who asked for it.
        create_time: When.
    """

    id: str
    project: str
    spec: pb.TrainingSetSpec
    inputs: tuple[TrainingSetInput, ...]
    spine_version: int
    job: JobSpec
    reading: Reading
    creator: str
    create_time: datetime


@dataclass(frozen=True)
class TrainingSet:
    """A training set as it stands.

    Args:
        id: UUID.
        project: Its project.
        spec: How it is made.
        inputs: What it reads of views.
        spine_version: Version of the spine.
        state: Where it is in its life.
        error: Why it failed.
        processing_job_id: The job that computes it; empty until there is one.
        dataset_version: That it is; None until it has succeeded.
        row_count: Its rows.
        leak_report: Empty until it has succeeded, where it was left out, and in lists.
        on_demand_replay: Likewise.
        creator: Who asked for it.
        create_time: When.
        start_time: When work began.
        end_time: When it ended.
    """

    id: str
    project: str
    spec: pb.TrainingSetSpec
    inputs: tuple[TrainingSetInput, ...]
    spine_version: int
    state: JobState
    error: Failure | None
    processing_job_id: str
    dataset_version: int | None
    row_count: int
    leak_report: tuple[pb.ViewLeaks, ...]
    on_demand_replay: tuple[pb.OnDemandReplay, ...]
    creator: str
    create_time: datetime
    start_time: datetime | None
    end_time: datetime | None


@dataclass(frozen=True)
class TrainingSetResult:
    """What came of a training set.

    Args:
        dataset_version: That it is.
        row_count: Its rows.
        leak_report: What would have leaked.
        on_demand_replay: Whether on-demand features are the same online.
    """

    dataset_version: int
    row_count: int
    leak_report: tuple[pb.ViewLeaks, ...] = ()
    on_demand_replay: tuple[pb.OnDemandReplay, ...] = ()
