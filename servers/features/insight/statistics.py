"""How fresh a feature view is, and what is in it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from google.protobuf.duration_pb2 import Duration
from grpc import StatusCode
from mlops.features.v1 import feature_store_service_pb2 as pb
from mlops.ingestion.v1.profile_service_pb2 import ColumnProfile, DatasetProfile

from servers.features.definitions.converters import online_state_to_proto
from servers.features.definitions.records import ViewVersion
from servers.features.insight.drift import mean_shift, population_stability_index
from servers.features.jobs.errors import ViewHasNoRows
from servers.features.peers.ingestion_peer import DATASET_NOT_FOUND, IngestionPeer
from servers.features.rights import READ_DATA, check_right
from servers.features.store.definitions import Definitions
from servers.features.store.online_states import OnlineStates
from servers.runtime.auth import Principal, current_principal
from servers.runtime.errors import DomainError

_Found = TypeVar("_Found")
_GONE = frozenset({StatusCode.NOT_FOUND, StatusCode.FAILED_PRECONDITION})


class Statistics:
    """Knows the statistics of views, from the profiles of their datasets.

    Args:
        definitions: Versions of views.
        online_states: How the online store stands.
        ingestion: Describes datasets.
        clock: The time now.
        caller: Who asks.
    """

    def __init__(
        self,
        definitions: Definitions,
        online_states: OnlineStates,
        ingestion: IngestionPeer,
        clock: Callable[[], datetime],
        caller: Callable[[], Principal] = current_principal,
    ) -> None:
        self._definitions = definitions
        self._online_states = online_states
        self._ingestion = ingestion
        self._clock = clock
        self._caller = caller

    def __call__(
        self, project: str, name: str, version: int | None = None, baseline_version: int | None = None
    ) -> pb.FeatureViewStatistics:
        """Returns the statistics of a view.

        Args:
            project: Its project.
            name: Its name.
            version: Its version; None = the newest.
            baseline_version: Version of the dataset that drift is measured against; None = the first with rows that is still there.

        Raises:
            NotAllowed: The caller may not read data.
            ViewNotFound: The project has none of this name.
            ViewVersionNotFound: It has no such version.
            ViewHasNoRows: FAILED_PRECONDITION: its dataset does not exist yet.
            OperationFailed: There is no such version of the dataset (NOT_FOUND), or its files were removed (FAILED_PRECONDITION).
            IngestionUnavailable: The ingestion server does not answer.
        """
        check_right(self._caller(), READ_DATA, project, "the statistics of a view's dataset")
        view = self._definitions.view_version(project, name, version or 0)
        now = self._newest(view)
        if baseline_version is None:
            baseline = self._first(view, now)
        else:
            baseline = now if baseline_version == now.version else self._ingestion.profile(project, view.dataset, baseline_version)
        columns, before = ({column.name: column for column in profile.columns} for profile in (now, baseline))
        found = pb.FeatureViewStatistics(
            version=view.version,
            dataset=view.dataset,
            dataset_version=now.version,
            baseline_version=baseline.version,
            row_count=now.row_count,
            features=[
                _feature(feature.name, columns.get(feature.column), now.row_count, before.get(feature.column), baseline.row_count)
                for feature in view.spec.features
            ],
        )
        self._add_freshness(found, view, columns.get(view.spec.event_time_column))
        return found

    def _newest(self, view: ViewVersion) -> DatasetProfile:
        try:
            return self._ingestion.profile(view.project, view.dataset)
        except DomainError as error:
            if error.reason != DATASET_NOT_FOUND:
                raise
            raise ViewHasNoRows(view.view, view.dataset) from error

    def _first(self, view: ViewVersion, newest: DatasetProfile) -> DatasetProfile:
        """The first version that has rows and files; the newest one where no older one has."""
        versions = [each for each in self._ingestion.versions(view.project, view.dataset) if each < newest.version]
        return first_there(len(versions), lambda place: self._there(view, versions[place])) or newest

    def _there(self, view: ViewVersion, version: int) -> DatasetProfile | None:
        try:
            profile = self._ingestion.profile(view.project, view.dataset, version)
        except DomainError as error:
            if error.code not in _GONE:
                raise
            return None
        return profile if profile.row_count else None

    def _add_freshness(self, found: pb.FeatureViewStatistics, view: ViewVersion, events: ColumnProfile | None) -> None:
        newest = None if events is None else moment_of(events)
        if newest is not None:
            found.newest_event_time.FromDatetime(newest)
            found.event_age.CopyFrom(_duration(self._clock() - newest))
        if view.spec.offline_only:
            return
        state = self._online_states.get(view.id)
        found.online.CopyFrom(online_state_to_proto(state))
        if newest is not None and state.newest_event_time is not None:
            found.online_lag.CopyFrom(_duration(max(newest - state.newest_event_time, timedelta())))


def moment_of(events: ColumnProfile) -> datetime | None:
    """Returns the newest time of a column; None where it has none, or none that Python's calendar reaches.

    Dates are their midnight, and times without a zone are of UTC.
    """
    text = events.maximum.string_value
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def first_there(count: int, look: Callable[[int], _Found | None]) -> _Found | None:
    """Returns the first thing that is there of those that go from the first one on; None where none is.

    It is looked for in steps that double, and then between the last two: mostly the first or second one is there already.

    Args:
        count: How many things there were.
        look: Returns the one at a place, or None where it is gone.
    """
    found: _Found | None = None
    low, high, place, step = 0, count, 0, 1
    while low < high:
        there = look(place)
        if there is not None:
            found, high = there, place
            place = (low + high) // 2
            continue
        low = place + 1
        place = min(place + step, high - 1) if found is None else (low + high) // 2
        step *= 2
    return found


def _feature(name: str, now: ColumnProfile | None, rows: int, baseline: ColumnProfile | None, baseline_rows: int) -> pb.FeatureStatistics:
    found = pb.FeatureStatistics(feature=name)
    if now is None:
        return found
    found.null_fraction = now.null_count / rows if rows else 0.0
    found.distinct_count = now.distinct_count
    found.quantiles.extend(now.quantiles)
    for field in ("mean", "standard_deviation"):
        if now.HasField(field):
            setattr(found, field, getattr(now, field))
    if baseline is None:
        return found
    found.baseline_null_fraction = baseline.null_count / baseline_rows if baseline_rows else 0.0
    index, shift = population_stability_index(baseline, now), mean_shift(baseline, now)
    if index is not None:
        found.population_stability_index = index
    if shift is not None:
        found.mean_shift = shift
    return found


def _duration(length: timedelta) -> Duration:
    found = Duration()
    found.FromTimedelta(length)
    return found
