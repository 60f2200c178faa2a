"""Asks the store what a client of Feast asks, whichever way it came."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from mlops.features.v1 import feature_serving_service_pb2 as pb

from servers.features.feast.errors import InvalidFeastRequest
from servers.features.feast.references import names_of, selections_of
from servers.features.serving.plans import ServingPlans
from servers.features.serving.serving import Serving

__all__ = ["Asked", "OnlineFeatures", "Served"]

Given = TypeVar("Given")


@dataclass(frozen=True)
class Asked:
    """What a client of Feast asks for.

    Args:
        feature_service: Name of a service; empty where `references` say what is wanted.
        references: Features of views.
        has_full_names: Whether names are `view__feature`.
        has_versions: Whether versions of views are told.
    """

    feature_service: str
    references: Sequence[str]
    has_full_names: bool = False
    has_versions: bool = False


@dataclass(frozen=True)
class Served:
    """Answer to a client of Feast.

    Args:
        join_keys: Names of those that were given and are join keys, in the order in which they came.
        names: Of the features.
        features: Their values.
        versions: Of views, by name; the last one where several of a view are served. Empty where they were not asked for.
    """

    join_keys: list[str]
    names: list[str]
    features: Sequence[pb.ServedFeature]
    versions: Mapping[str, int]


class OnlineFeatures:
    """Serves features by the names of Feast.

    Args:
        plans: Say which join keys are needed, and their types.
        serving: Serves.
    """

    def __init__(self, plans: ServingPlans, serving: Serving) -> None:
        self._plans = plans
        self._serving = serving

    def serve(self, project: str, asked: Asked, given: Mapping[str, Given], read: Callable[[str, str, Given], pb.Values]) -> Served:
        """Returns what is asked for.

        Args:
            project: Of the views.
            asked: What is wanted.
            given: Columns by name; those that nothing needs are passed over, as Feast does.
            read: Reads the values of a column: its name, its type, and the column.

        Raises:
            InvalidFeastRequest: INVALID_ARGUMENT: it is no request of Feast's.
            FeatureNameCollision: INVALID_ARGUMENT: several features would have one name.
            InvalidEntities: INVALID_ARGUMENT: join keys are missing, or of another type.
            DomainError: As in `Serving.serve`.
        """
        if asked.feature_service and asked.references:
            raise InvalidFeastRequest("feature_service", "name a feature_service or features, not both")
        selections = [] if asked.feature_service else selections_of(asked.references)
        plan = self._plans.plan(project, asked.feature_service, 0, selections)
        names = names_of(plan, has_full_names=asked.has_full_names)
        request = pb.ServeFeaturesRequest(
            feature_service=asked.feature_service,
            # The names are those of this version; there may be a newer one meanwhile.
            feature_service_version=plan.answer.feature_service_version,
            selections=selections,
            include_event_times=True,
        )
        join_keys = [name for name in given if name in plan.join_keys]
        for name in join_keys:
            request.entities[name].CopyFrom(read(name, plan.join_keys[name], given[name]))
        for needed in plan.request_inputs:
            if needed.name in given:
                request.request_inputs[needed.name].CopyFrom(read(needed.name, needed.type, given[needed.name]))
        features = self._serving.serve(project, request).features
        return Served(join_keys, names, features, _versions(features) if asked.has_versions else {})


def _versions(features: Sequence[pb.ServedFeature]) -> Mapping[str, int]:
    return {feature.view: feature.version for feature in features if feature.view}
