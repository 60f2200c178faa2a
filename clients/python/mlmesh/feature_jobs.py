"""What training sets and materialisations are to the caller."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from google.protobuf import json_format
from mlops.common.v1 import job_pb2
from mlops.features.v1 import feature_job_service_pb2 as pb

from mlmesh.fields import enum_name, moment_of
from mlmesh.processing_jobs import JobError, error_value

_FINAL = {"succeeded", "failed", "cancelled"}


@dataclass(frozen=True)
class TrainingSetInput:
    """A version of a view that a training set reads, and the version of its dataset.

    Args:
        view: The view.
        version: Its version.
        dataset: Its dataset.
        dataset_version: The version of that.
    """

    view: str
    version: int
    dataset: str
    dataset_version: int


@dataclass(frozen=True)
class FeatureLeaks:
    """What is known of a feature in a training set.

    Args:
        feature: Its name in the training set.
        changed_rows: Rows that would have another value if write times did not count: leaks that were kept out, or let in where
            `ignore_write_times` is on.
        null_rows: Rows without a value.
    """

    feature: str
    changed_rows: int
    null_rows: int


@dataclass(frozen=True)
class WriteDelay:
    """How late rows of a view are written.

    Args:
        share: A share of the rows, such as 0.9.
        seconds: The seconds within which that share was written after its event.
    """

    share: float
    seconds: float


@dataclass(frozen=True)
class ViewLeaks:
    """What a training set would know too early of a view, and what it does not know at all.

    Args:
        view: The view.
        rows: Rows of the spine.
        not_found_rows: Those for which nothing was found.
        outside_max_age_rows: Those for which what was found is too old.
        before_first_rows: Those before anything of the view was known.
        after_newest_rows: Those after the newest event of the view: it may have ended before.
        changed_rows: Those for which another row would be found if write times did not count.
        view_rows: Rows of the view.
        late_view_rows: Those that were written after their event; 0 where the view has no write times.
        write_delays: How late; empty where the view has no write times.
        features: In the order of the selection.
    """

    view: str
    rows: int
    not_found_rows: int
    outside_max_age_rows: int
    before_first_rows: int
    after_newest_rows: int
    changed_rows: int
    view_rows: int
    late_view_rows: int
    write_delays: tuple[WriteDelay, ...]
    features: tuple[FeatureLeaks, ...]


@dataclass(frozen=True)
class OnDemandReplay:
    """Whether an on-demand feature is the same online and offline.

    Args:
        feature: The on-demand feature.
        rows: Rows of the training set that were computed again by the code that serves.
        different_rows: Those that differ in any bit.
    """

    feature: str
    rows: int
    different_rows: int


@dataclass(frozen=True)
class TrainingSet:
    """A training set, as it was when the mesh was asked.

    Args:
        id: Identifier, a UUID; empty where it was only validated.
        project: Its project.
        spec: How it is made, with defaults filled in, as the contract has it in JSON. It can be given to `create_training_set`.
        state: `queued`, `running`, `cancelling`, `succeeded`, `failed` or `cancelled`.
        error: Why it failed; None where it did not.
        inputs: What it reads.
        spine_version: Version of the spine.
        processing_job_id: The job that computes it; empty until there is one.
        dataset_version: Version of the dataset that it is; None until it has succeeded.
        row_count: Its rows.
        leak_report: What it would know too early, a view each; empty until it has succeeded, where it was left out, and in lists.
        on_demand_replay: Whether on-demand features are the same online; empty where there are none.
        creator: Who made it.
        create_time: When it was asked for.
        start_time: When it began; None until then.
        end_time: When it ended; None until then.
    """

    id: str
    project: str
    spec: dict[str, Any]
    state: str
    error: JobError | None
    inputs: tuple[TrainingSetInput, ...]
    spine_version: int
    processing_job_id: str
    dataset_version: int | None
    row_count: int
    leak_report: tuple[ViewLeaks, ...]
    on_demand_replay: tuple[OnDemandReplay, ...]
    creator: str
    create_time: datetime
    start_time: datetime | None
    end_time: datetime | None

    @property
    def is_done(self) -> bool:
        """Whether its state is final."""
        return self.state in _FINAL

    @property
    def is_successful(self) -> bool:
        """Whether it is there."""
        return self.state == "succeeded"

    @property
    def dataset(self) -> str:
        """The dataset that is written."""
        return str(self.spec.get("dataset", ""))


@dataclass(frozen=True)
class Materialization:
    """Rows of a view on their way into the online store, as they were when the mesh was asked.

    Args:
        id: Identifier, a UUID.
        project: Its project.
        view: The view.
        version: Its version.
        mode: What was asked for: `incremental` or `full`.
        effective_mode: What was done; empty until that is known.
        state: `queued`, `running`, `cancelling`, `succeeded`, `failed` or `cancelled`.
        error: Why it failed; None where it did not.
        processing_job_id: The job that computes the rows; empty where the view does not compute them.
        dataset_version: Version of the dataset that is read; None until that is known.
        read_rows: Rows that were read.
        written_rows: Those that the online store has taken.
        kept_newer_rows: Those of entities of which it had newer ones, or the same.
        creator: Who asked for it; `schedule` where nobody did.
        create_time: When it was asked for.
        start_time: When it began; None until then.
        end_time: When it ended; None until then.
    """

    id: str
    project: str
    view: str
    version: int
    mode: str
    effective_mode: str
    state: str
    error: JobError | None
    processing_job_id: str
    dataset_version: int | None
    read_rows: int
    written_rows: int
    kept_newer_rows: int
    creator: str
    create_time: datetime
    start_time: datetime | None
    end_time: datetime | None

    @property
    def is_done(self) -> bool:
        """Whether its state is final."""
        return self.state in _FINAL

    @property
    def is_successful(self) -> bool:
        """Whether the online store has its rows."""
        return self.state == "succeeded"


def training_set_value(message: pb.TrainingSet) -> TrainingSet:
    """Reads a training set."""
    return TrainingSet(
        id=message.id,
        project=message.project,
        spec=dict(json_format.MessageToDict(message.spec, preserving_proto_field_name=True)),
        state=enum_name(job_pb2.JobState, message.state),
        error=error_value(message.error) if message.HasField("error") else None,
        inputs=tuple(TrainingSetInput(one.view, one.version, one.dataset, one.dataset_version) for one in message.inputs),
        spine_version=message.spine_version,
        processing_job_id=message.processing_job_id,
        dataset_version=message.dataset_version if message.HasField("dataset_version") else None,
        row_count=message.row_count,
        leak_report=tuple(map(_leaks_value, message.leak_report)),
        on_demand_replay=tuple(OnDemandReplay(one.feature, one.rows, one.different_rows) for one in message.on_demand_replay),
        creator=message.creator,
        create_time=message.create_time.ToDatetime(UTC),
        start_time=moment_of(message, "start_time"),
        end_time=moment_of(message, "end_time"),
    )


def materialization_value(message: pb.Materialization) -> Materialization:
    """Reads a materialisation."""
    return Materialization(
        id=message.id,
        project=message.project,
        view=message.view,
        version=message.version,
        mode=_mode(message.mode),
        effective_mode=_mode(message.effective_mode),
        state=enum_name(job_pb2.JobState, message.state),
        error=error_value(message.error) if message.HasField("error") else None,
        processing_job_id=message.processing_job_id,
        dataset_version=message.dataset_version if message.HasField("dataset_version") else None,
        read_rows=message.read_rows,
        written_rows=message.written_rows,
        kept_newer_rows=message.kept_newer_rows,
        creator=message.creator,
        create_time=message.create_time.ToDatetime(UTC),
        start_time=moment_of(message, "start_time"),
        end_time=moment_of(message, "end_time"),
    )


def _leaks_value(message: pb.ViewLeaks) -> ViewLeaks:
    return ViewLeaks(
        view=message.view,
        rows=message.rows,
        not_found_rows=message.not_found_rows,
        outside_max_age_rows=message.outside_max_age_rows,
        before_first_rows=message.before_first_rows,
        after_newest_rows=message.after_newest_rows,
        changed_rows=message.changed_rows,
        view_rows=message.view_rows,
        late_view_rows=message.late_view_rows,
        write_delays=tuple(WriteDelay(one.share, one.seconds) for one in message.write_delays),
        features=tuple(FeatureLeaks(one.feature, one.changed_rows, one.null_rows) for one in message.features),
    )


def _mode(value: int) -> str:
    return enum_name(pb.MaterializeMode, value) if value else ""
