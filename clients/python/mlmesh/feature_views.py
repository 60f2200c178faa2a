"""What entities, feature views and feature services are to the caller."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message
from mlops.features.v1 import feature_store_service_pb2, feature_view_pb2

from mlmesh.fields import moment_of


@dataclass(frozen=True)
class Entity:
    """What features are of, as it was when the mesh was asked.

    Args:
        name: Its name.
        project: Its project.
        join_keys: Types of its join keys by their names, in order. They never change.
        display_name: Its name, for people.
        description: What it is.
        labels: Labels.
        creator: Who made it.
        create_time: When it was made.
        update_time: When it was last changed.
        etag: Changes with every change of the entity.
    """

    name: str
    project: str
    join_keys: dict[str, str]
    display_name: str
    description: str
    labels: dict[str, str]
    creator: str
    create_time: datetime
    update_time: datetime
    etag: str


@dataclass(frozen=True)
class OnlineState:
    """How the online store stands against the source of a version of a view.

    Args:
        dataset_version: Version of the dataset that was last brought into the online store; None where none was.
        materialize_time: When that was; None likewise.
        newest_event_time: Newest event time that was written there, by materialisation or push; None where nothing was.
        written_rows: Rows that were written there since the version was made.
        next_materialize_time: When it is materialised next by itself; None where nobody asked for that.
    """

    dataset_version: int | None
    materialize_time: datetime | None
    newest_event_time: datetime | None
    written_rows: int
    next_materialize_time: datetime | None


@dataclass(frozen=True)
class FeatureView:
    """A feature view with one of its versions, as it was when the mesh was asked.

    Args:
        name: Its name.
        project: Its project.
        display_name: Its name, for people.
        description: What it is for.
        labels: Labels.
        spec: What it is, as the contract has it in JSON. It can be given to `create_feature_view` and `update_feature_view`.
        version: The version that is described; the first is 1.
        dataset: The dataset with its rows.
        pipeline: The pipeline that computes them; empty where none does.
        online: How the online store stands; None where it is kept offline alone.
        creator: Who made it.
        create_time: When it was made.
        update_time: When it was last changed.
        etag: Changes with every change of the view by somebody.
    """

    name: str
    project: str
    display_name: str
    description: str
    labels: dict[str, str]
    spec: dict[str, Any]
    version: int
    dataset: str
    pipeline: str
    online: OnlineState | None
    creator: str
    create_time: datetime
    update_time: datetime
    etag: str

    @property
    def features(self) -> dict[str, str]:
        """Types of its features by name, in order."""
        return {feature["name"]: feature.get("type", "") for feature in self.spec.get("features", ())}


@dataclass(frozen=True)
class FeatureViewVersion:
    """A version of a feature view.

    Args:
        version: Its number; the first is 1.
        spec: What it is, as the contract has it in JSON.
        dataset: The dataset with its rows.
        pipeline: The pipeline that computes them; empty where none does.
        online: How the online store stands; None where it is kept offline alone.
        creator: Who made it.
        create_time: When it was made.
    """

    version: int
    spec: dict[str, Any]
    dataset: str
    pipeline: str
    online: OnlineState | None
    creator: str
    create_time: datetime


@dataclass(frozen=True)
class FeatureService:
    """A feature service with one of its versions, as it was when the mesh was asked.

    Args:
        name: Its name.
        project: Its project.
        display_name: Its name, for people.
        description: What it is for.
        labels: Labels.
        spec: What it gives, as the contract has it in JSON. It can be given to `create_feature_service` and `update_feature_service`.
        version: The version that is described; the first is 1.
        creator: Who made it.
        create_time: When it was made.
        update_time: When it was last changed.
        etag: Changes with every change of the service by somebody.
    """

    name: str
    project: str
    display_name: str
    description: str
    labels: dict[str, str]
    spec: dict[str, Any]
    version: int
    creator: str
    create_time: datetime
    update_time: datetime
    etag: str


@dataclass(frozen=True)
class FeatureServiceVersion:
    """A version of a feature service.

    Args:
        version: Its number; the first is 1.
        spec: What it gives, as the contract has it in JSON.
        creator: Who made it.
        create_time: When it was made.
    """

    version: int
    spec: dict[str, Any]
    creator: str
    create_time: datetime


@dataclass(frozen=True)
class DatasetLineage:
    """A dataset that a view reads, or is made of.

    Args:
        dataset: The dataset.
        version: Its newest version; None where it does not exist yet.
        pipeline: The pipeline that computes it for the view; empty where none does.
        input_datasets: The datasets that the pipeline reads.
    """

    dataset: str
    version: int | None
    pipeline: str
    input_datasets: tuple[str, ...]


@dataclass(frozen=True)
class ServiceLineage:
    """A version of a feature service that has features of a view.

    Args:
        service: The service.
        version: Its version.
        view_version: The version of the view.
    """

    service: str
    version: int
    view_version: int


@dataclass(frozen=True)
class TrainingSetLineage:
    """A training set that has features of a view.

    Args:
        id: The training set.
        dataset: The dataset that it wrote.
        dataset_version: The version of that dataset.
        view_version: The version of the view.
    """

    id: str
    dataset: str
    dataset_version: int
    view_version: int


@dataclass(frozen=True)
class ModelLineage:
    """A version of a model that was trained on a training set.

    Args:
        model: The model.
        version: Its version.
        training_set_id: The training set.
    """

    model: str
    version: int
    training_set_id: str


@dataclass(frozen=True)
class FeatureViewLineage:
    """What a feature view is made of, and what is made of it.

    Args:
        datasets: The datasets of its newest version, with what they are computed from.
        services: Services with its features; the newest 1,000.
        training_sets: Training sets with its features; the newest 1,000.
        models: Versions of models that name such a training set in their lineage; the newest 1,000.
    """

    datasets: tuple[DatasetLineage, ...]
    services: tuple[ServiceLineage, ...]
    training_sets: tuple[TrainingSetLineage, ...]
    models: tuple[ModelLineage, ...]


@dataclass(frozen=True)
class FeatureStatistics:
    """What is known of the values of a feature.

    Args:
        feature: The feature.
        null_fraction: Share of nulls, from 0 to 1.
        distinct_count: Distinct values, estimated.
        mean: Mean; None where it is no number.
        standard_deviation: Standard deviation; None where it is no number.
        quantiles: Estimated quantiles at 0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99 and 1, of numbers and times (seconds since 1970).
        baseline_null_fraction: Share of nulls in the baseline; None where it does not have the column.
        population_stability_index: Drift of the distribution against the baseline: below 0.1 little, above 0.25 much. None where it is no
            number, or the baseline does not have it.
        mean_shift: Difference of the means, in standard deviations of the baseline; None likewise.
    """

    feature: str
    null_fraction: float
    distinct_count: float
    mean: float | None
    standard_deviation: float | None
    quantiles: tuple[float, ...]
    baseline_null_fraction: float | None
    population_stability_index: float | None
    mean_shift: float | None


@dataclass(frozen=True)
class FeatureViewStatistics:
    """How fresh a feature view is, and what is in it.

    Args:
        version: Version of the view.
        dataset: The dataset with its rows.
        dataset_version: Its newest version, which the statistics are of.
        baseline_version: Its version that drift is measured against.
        row_count: Its rows.
        newest_event_time: Newest event time in the dataset; None where there is none.
        event_age: How long ago that is; None likewise.
        online: How the online store stands; None where the view is kept offline alone.
        online_lag: By how much the newest event online is older than that of the dataset; None where nothing is online.
        features: In the order of the view.
    """

    version: int
    dataset: str
    dataset_version: int
    baseline_version: int
    row_count: int
    newest_event_time: datetime | None
    event_age: timedelta | None
    online: OnlineState | None
    online_lag: timedelta | None
    features: tuple[FeatureStatistics, ...]


def entity_value(message: feature_view_pb2.Entity) -> Entity:
    """Reads an entity."""
    return Entity(
        name=message.name,
        project=message.project,
        join_keys={key.name: key.type for key in message.join_keys},
        display_name=message.display_name,
        description=message.description,
        labels=dict(message.labels),
        creator=message.creator,
        create_time=message.create_time.ToDatetime(UTC),
        update_time=message.update_time.ToDatetime(UTC),
        etag=message.etag,
    )


def view_value(message: feature_view_pb2.FeatureView) -> FeatureView:
    """Reads a feature view."""
    return FeatureView(
        name=message.name,
        project=message.project,
        display_name=message.display_name,
        description=message.description,
        labels=dict(message.labels),
        spec=_as_json(message.spec),
        version=message.version,
        dataset=message.dataset,
        pipeline=message.pipeline,
        online=_online_value(message),
        creator=message.creator,
        create_time=message.create_time.ToDatetime(UTC),
        update_time=message.update_time.ToDatetime(UTC),
        etag=message.etag,
    )


def view_version_value(message: feature_view_pb2.FeatureViewVersion) -> FeatureViewVersion:
    """Reads a version of a feature view."""
    return FeatureViewVersion(
        version=message.version,
        spec=_as_json(message.spec),
        dataset=message.dataset,
        pipeline=message.pipeline,
        online=_online_value(message),
        creator=message.creator,
        create_time=message.create_time.ToDatetime(UTC),
    )


def service_value(message: feature_view_pb2.FeatureService) -> FeatureService:
    """Reads a feature service."""
    return FeatureService(
        name=message.name,
        project=message.project,
        display_name=message.display_name,
        description=message.description,
        labels=dict(message.labels),
        spec=_as_json(message.spec),
        version=message.version,
        creator=message.creator,
        create_time=message.create_time.ToDatetime(UTC),
        update_time=message.update_time.ToDatetime(UTC),
        etag=message.etag,
    )


def service_version_value(message: feature_view_pb2.FeatureServiceVersion) -> FeatureServiceVersion:
    """Reads a version of a feature service."""
    return FeatureServiceVersion(message.version, _as_json(message.spec), message.creator, message.create_time.ToDatetime(UTC))


def lineage_value(message: feature_store_service_pb2.FeatureViewLineage) -> FeatureViewLineage:
    """Reads what a view is made of, and what is made of it."""
    return FeatureViewLineage(
        datasets=tuple(
            DatasetLineage(one.dataset, one.version if one.HasField("version") else None, one.pipeline, tuple(one.input_datasets))
            for one in message.datasets
        ),
        services=tuple(ServiceLineage(one.service, one.version, one.view_version) for one in message.services),
        training_sets=tuple(
            TrainingSetLineage(one.id, one.dataset, one.dataset_version, one.view_version) for one in message.training_sets
        ),
        models=tuple(ModelLineage(one.model, one.version, one.training_set_id) for one in message.models),
    )


def statistics_value(message: feature_store_service_pb2.FeatureViewStatistics) -> FeatureViewStatistics:
    """Reads how fresh a view is, and what is in it."""
    return FeatureViewStatistics(
        version=message.version,
        dataset=message.dataset,
        dataset_version=message.dataset_version,
        baseline_version=message.baseline_version,
        row_count=message.row_count,
        newest_event_time=moment_of(message, "newest_event_time"),
        event_age=message.event_age.ToTimedelta() if message.HasField("event_age") else None,
        online=_online_value(message),
        online_lag=message.online_lag.ToTimedelta() if message.HasField("online_lag") else None,
        features=tuple(map(_feature_value, message.features)),
    )


def _feature_value(message: feature_store_service_pb2.FeatureStatistics) -> FeatureStatistics:
    optional = ("mean", "standard_deviation", "baseline_null_fraction", "population_stability_index", "mean_shift")
    return FeatureStatistics(
        feature=message.feature,
        null_fraction=message.null_fraction,
        distinct_count=message.distinct_count,
        quantiles=tuple(message.quantiles),
        **{name: getattr(message, name) if message.HasField(name) else None for name in optional},  # type: ignore[arg-type]
    )


def _online_value(
    message: feature_view_pb2.FeatureView | feature_view_pb2.FeatureViewVersion | feature_store_service_pb2.FeatureViewStatistics,
) -> OnlineState | None:
    if not message.HasField("online"):
        return None
    state = message.online
    return OnlineState(
        dataset_version=state.dataset_version if state.HasField("dataset_version") else None,
        materialize_time=moment_of(state, "materialize_time"),
        newest_event_time=moment_of(state, "newest_event_time"),
        written_rows=state.written_rows,
        next_materialize_time=moment_of(state, "next_materialize_time"),
    )


def _as_json(message: Message) -> dict[str, Any]:
    return dict(json_format.MessageToDict(message, preserving_proto_field_name=True))
