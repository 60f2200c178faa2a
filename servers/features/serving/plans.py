"""What a request for features means: which vectors are read under which keys, and what becomes of them. Worked out once, and kept."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mlops.features.v1 import feature_serving_service_pb2 as pb
from mlops.features.v1 import feature_view_pb2 as view_pb

from servers.features.definitions.records import OnlineState, Selection, Wanted
from servers.features.online import FeatureType, JoinKey, JoinKeyType, VectorSchema, feature_type
from servers.features.serving.errors import ViewIsOfflineOnly
from servers.features.serving.served_values import Fill, fill_of
from servers.features.store.online_states import OnlineStates
from servers.features.store.revision import Revision

__all__ = ["KeyColumns", "PlannedRead", "ServedColumn", "ServingPlan", "ServingPlans", "planned"]

Resolve = Callable[[str, str, int, Sequence[view_pb.FeatureSelection]], Wanted]
"""Resolves a project's service and its version, or selections: `definitions.resolving.resolved` with the definitions bound."""


@dataclass(frozen=True)
class KeyColumns:
    """How an entity's key is made of what the caller gives.

    Args:
        join_keys: The parts of the key.
        names: The caller's name of each.
    """

    join_keys: tuple[JoinKey, ...]
    names: tuple[str, ...]


@dataclass(frozen=True)
class ServedColumn:
    """A feature that is served.

    Args:
        name: Of the feature in its view.
        served_name: For the caller.
        place: In the schema of the view.
        type: Its type.
        fill: Puts values of it into the answer.
    """

    name: str
    served_name: str
    place: int
    type: FeatureType
    fill: Fill


@dataclass(frozen=True)
class PlannedRead:
    """Features of a version of a view.

    Args:
        view: Name of its vectors in the online store.
        schema: What they hold.
        max_age_us: Age from which on they are not given, in microseconds.
        keys: Which keys of the plan are read.
        columns: Which of the features, in the order of the answer.
    """

    view: str
    schema: VectorSchema
    max_age_us: int | None
    keys: int
    columns: tuple[ServedColumn, ...]


@dataclass(frozen=True)
class ServingPlan:
    """What a request for features means.

    Args:
        keys: Keys of entities that are made of what the caller gives; each once.
        reads: What is read.
        join_keys: What the caller has to give, by her name of it.
        request_inputs: What else, likewise.
        on_demand: What is computed of it.
        on_demand_types: Types of that.
        answer: The answer without values.
    """

    keys: tuple[KeyColumns, ...]
    reads: tuple[PlannedRead, ...]
    join_keys: Mapping[str, JoinKeyType]
    request_inputs: tuple[view_pb.RequestInput, ...]
    on_demand: tuple[view_pb.OnDemandFeature, ...]
    on_demand_types: tuple[FeatureType, ...]
    answer: pb.ServeFeaturesResponse


class ServingPlans:
    """The plans of requests that came before, as long as nothing has changed since. May be used by several threads.

    Args:
        resolve: Finds what is wanted.
        states: Says which generation of vectors is read.
        revision: Changes when a plan may no longer be right.
        max_age_s: How old the revision may be, in seconds.
        most_plans: How many plans are kept; those that were not used for longest go first.
    """

    def __init__(
        self, resolve: Resolve, states: OnlineStates, revision: Revision, *, max_age_s: float = 1.0, most_plans: int = 1000
    ) -> None:
        self._resolve = resolve
        self._states = states
        self._revision = revision
        self._max_age_s = max_age_s
        self._most_plans = most_plans
        self._lock = threading.Lock()
        self._plans: OrderedDict[tuple[object, ...], tuple[int, ServingPlan]] = OrderedDict()

    def plan(self, project: str, feature_service: str, version: int, selections: Sequence[view_pb.FeatureSelection]) -> ServingPlan:
        """Returns the plan of a request.

        Args:
            project: Its project.
            feature_service: Whose features are wanted; empty where `selections` say which.
            version: Of the service; 0 = the newest.
            selections: Features of views.

        Raises:
            DomainError: What is wanted is not there, cannot be served, or is not clear.
        """
        key = (project, feature_service, version, *(each.SerializeToString(deterministic=True) for each in selections))
        # Asked before anything is read: what changes while the plan is made is noticed by the next call.
        revision = self._revision.current(self._max_age_s)
        with self._lock:
            known = self._plans.get(key)
            if known is not None and known[0] == revision:
                self._plans.move_to_end(key)
                return known[1]
        wanted = self._resolve(project, feature_service, version, selections)
        plan = planned(wanted, self._states.of({each.view.id for each in wanted.selections}))
        with self._lock:
            self._plans[key] = (revision, plan)
            self._plans.move_to_end(key)
            if len(self._plans) > self._most_plans:
                self._plans.popitem(last=False)
        return plan


def planned(wanted: Wanted, states: Mapping[str, OnlineState]) -> ServingPlan:
    """Works out what a request means.

    Args:
        wanted: What is wanted.
        states: Of the versions of views, by their id.

    Raises:
        ViewIsOfflineOnly: FAILED_PRECONDITION: a view is kept offline alone.
        InvalidOnDemandFeature: INVALID_ARGUMENT: an on-demand feature is no scalar expression.
    """
    keys: dict[KeyColumns, int] = {}
    reads: list[PlannedRead] = []
    join_keys: dict[str, JoinKeyType] = {}
    answer = pb.ServeFeaturesResponse(feature_service_version=wanted.service.version if wanted.service else 0)
    for selection in wanted.selections:
        view = selection.view
        if view.spec.offline_only:
            raise ViewIsOfflineOnly(view.view, view.version)
        own = _key_columns(selection, join_keys)
        state = states.get(view.id, OnlineState())
        columns = _columns(selection)
        place = keys.setdefault(own, len(keys))
        reads.append(PlannedRead(view.online_name(state.generation), view.schema, view.max_age_us, place, columns))
        for column in columns:
            answer.features.add(name=column.served_name, type=column.type.name, view=view.view, version=view.version)
    types = tuple(feature_type(each.type) for each in wanted.on_demand)
    for feature, its_type in zip(wanted.on_demand, types, strict=True):
        answer.features.add(name=feature.name, type=its_type.name)
    if wanted.on_demand:
        # DuckDB, which takes time and memory to load, is for services that need it.
        from servers.features.serving.on_demand import check_on_demand

        check_on_demand(wanted)
    return ServingPlan(tuple(keys), tuple(reads), join_keys, wanted.request_inputs, wanted.on_demand, types, answer)


def _key_columns(selection: Selection, join_keys: dict[str, JoinKeyType]) -> KeyColumns:
    own = tuple(each.join_key for each in selection.view.keys)
    names = tuple(selection.given_name(each.name) for each in own)
    for join_key, name in zip(own, names, strict=True):
        # One name never has two types: that was checked when they were resolved.
        join_keys[name] = join_key.type
    return KeyColumns(own, names)


def _columns(selection: Selection) -> tuple[ServedColumn, ...]:
    places = {feature.name: place for place, feature in enumerate(selection.view.schema.features)}
    features = selection.view.schema.features
    return tuple(
        ServedColumn(name, selection.prefix + name, places[name], its_type := features[places[name]].type, fill_of(its_type))
        for name in selection.features
    )
