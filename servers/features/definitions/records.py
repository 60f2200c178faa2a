"""What the feature store knows of entities, views and services."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from mlops.features.v1 import feature_view_pb2 as pb

from servers.features.online import JoinKey, VectorSchema


@dataclass(frozen=True)
class Entity:
    """What features are of.

    Args:
        id: UUID.
        project: Its project.
        name: Unique in the project.
        join_keys: Its key; it never changes.
        display_name: For people.
        description: What it is.
        labels: Labels.
        revision: Counts its changes, from 1.
        creator: Who made it.
        create_time: When.
        update_time: When it was last changed.
    """

    id: str
    project: str
    name: str
    join_keys: tuple[JoinKey, ...]
    display_name: str
    description: str
    labels: Mapping[str, str]
    revision: int
    creator: str
    create_time: datetime
    update_time: datetime


@dataclass(frozen=True)
class KeyColumn:
    """A join key of a view, and the column of the view's dataset that has it."""

    join_key: JoinKey
    column: str


@dataclass(frozen=True)
class ViewVersion:
    """A version of a feature view. Nothing of it ever changes.

    Args:
        id: UUID of the version.
        view_id: UUID of the view.
        project: Of the view.
        view: Its name.
        version: Its number, from 1.
        spec: What it is: every feature has its type and column.
        keys: The join keys of its entities, in the order of the spec.
        dataset: With its rows.
        pipeline: That computes them; empty where none does.
        creator: Who made the version.
        create_time: When.
    """

    id: str
    view_id: str
    project: str
    view: str
    version: int
    spec: pb.FeatureViewSpec
    keys: tuple[KeyColumn, ...]
    dataset: str
    pipeline: str
    creator: str
    create_time: datetime

    @cached_property
    def schema(self) -> VectorSchema:
        """What its vectors hold, by the names of features."""
        return VectorSchema.of((feature.name, feature.type) for feature in self.spec.features)

    @property
    def max_age_us(self) -> int | None:
        """Age from which on values are not given, in microseconds."""
        return self.spec.max_age.ToMicroseconds() if self.spec.HasField("max_age") else None

    def online_name(self, generation: int) -> str:
        """Name of its vectors in the online store; a full materialisation makes a new generation of them.

        It has the identifier: a view that is made anew must not find what somebody still wrote for the one of its name before.
        """
        return f"{self.view}@{self.version}/{self.id}.{generation}"


@dataclass(frozen=True)
class View:
    """A feature view with one of its versions.

    Args:
        id: UUID.
        project: Its project.
        name: Unique in the project.
        display_name: For people.
        description: What it is for.
        labels: Labels.
        newest_version: Number of its newest version.
        revision: Counts its changes, from 1.
        creator: Who made it.
        create_time: When.
        update_time: When it was last changed.
        shown: The version that is described.
    """

    id: str
    project: str
    name: str
    display_name: str
    description: str
    labels: Mapping[str, str]
    newest_version: int
    revision: int
    creator: str
    create_time: datetime
    update_time: datetime
    shown: ViewVersion


@dataclass(frozen=True)
class ServiceVersion:
    """A version of a feature service. Nothing of it ever changes.

    Args:
        id: UUID of the version.
        service_id: UUID of the service.
        project: Of the service.
        service: Its name.
        version: Its number, from 1.
        spec: What it gives: every selection names the version of its view, and its features.
        creator: Who made the version.
        create_time: When.
    """

    id: str
    service_id: str
    project: str
    service: str
    version: int
    spec: pb.FeatureServiceSpec
    creator: str
    create_time: datetime


@dataclass(frozen=True)
class Service:
    """A feature service with one of its versions; otherwise as `View`."""

    id: str
    project: str
    name: str
    display_name: str
    description: str
    labels: Mapping[str, str]
    newest_version: int
    revision: int
    creator: str
    create_time: datetime
    update_time: datetime
    shown: ServiceVersion


@dataclass(frozen=True)
class OnlineState:
    """How the online store stands against the dataset of a version of a view.

    Args:
        generation: Of the vectors that are read; 0 until a full materialisation has made another one.
        building: Generation that a full materialisation is making now; pushes go there, too.
        dataset_version: That was last materialised; None where none was.
        table_id: Of the dataset's table then (`Dataset.table_id`).
        has_skipped_rows: Whether rows with event times in the future were left out, so that everything has to be read next time.
        materialize_time: When it was last materialised.
        newest_event_time: Of what was written.
        written_rows: Since the version was made.
        next_materialize_time: When the schedule materialises it next.
    """

    generation: int = 0
    building: int | None = None
    dataset_version: int | None = None
    table_id: str = ""
    has_skipped_rows: bool = False
    materialize_time: datetime | None = None
    newest_event_time: datetime | None = None
    written_rows: int = 0
    next_materialize_time: datetime | None = None


@dataclass(frozen=True)
class Selection:
    """Features of a version of a view, under the names that a caller knows.

    Args:
        view: The version.
        features: Names of features of the view, at least one.
        prefix: Before their names.
        join_key_names: The caller's name of each join key that has another one for her.
    """

    view: ViewVersion
    features: tuple[str, ...]
    prefix: str = ""
    join_key_names: Mapping[str, str] = field(default_factory=dict)

    def given_name(self, join_key: str) -> str:
        """The caller's name of a join key."""
        return self.join_key_names.get(join_key, join_key)


@dataclass(frozen=True)
class Wanted:
    """Features that are wanted together, with everything resolved.

    Args:
        selections: At least one.
        request_inputs: What on-demand features need.
        on_demand: On-demand features, in order.
        service: Version of the service that says so; None where the caller does.
    """

    selections: tuple[Selection, ...]
    request_inputs: tuple[pb.RequestInput, ...] = ()
    on_demand: tuple[pb.OnDemandFeature, ...] = ()
    service: ServiceVersion | None = None
