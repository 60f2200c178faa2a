"""What a service gives, checked, and with everything filled in: versions and features of its views never change again."""

from __future__ import annotations

from mlops.features.v1 import feature_view_pb2 as pb

from servers.features.definitions.records import Wanted
from servers.features.definitions.resolving import KnowsVersions, result_names, wanted_of
from servers.features.errors import InvalidFeatureService
from servers.features.online import feature_type
from servers.features.online.errors import InvalidFeatureSchema


def filled_service(definitions: KnowsVersions, project: str, spec: pb.FeatureServiceSpec) -> tuple[pb.FeatureServiceSpec, Wanted]:
    """Returns a specification with its versions, features and types, and what it gives.

    Args:
        definitions: Knows the versions of views.
        project: Where.
        spec: As it was given; a version 0 becomes the newest.

    Raises:
        InvalidFeatureService: INVALID_ARGUMENT: names are there twice, or a type is none.
        InvalidFeatureSelection: INVALID_ARGUMENT: the selections do not fit together, or their views.
        NotFound: There is no such view or version.
    """
    found = pb.FeatureServiceSpec()
    found.CopyFrom(spec)
    wanted = wanted_of(definitions, project, spec.selections, field="spec.selections")
    for selection, resolved in zip(found.selections, wanted.selections, strict=True):
        selection.version = resolved.view.version
        del selection.features[:]
        selection.features.extend(resolved.features)
    _check_names(found, wanted)
    for place, feature in enumerate(found.on_demand_features):
        try:
            feature.type = feature_type(feature.type).name
        except InvalidFeatureSchema as error:
            raise InvalidFeatureService(f"spec.on_demand_features[{place}].type", error.message) from None
    return found, Wanted(wanted.selections, tuple(found.request_inputs), tuple(found.on_demand_features))


def _check_names(spec: pb.FeatureServiceSpec, wanted: Wanted) -> None:
    """Finds names that an expression could not tell apart."""
    taken = {name.casefold(): "a feature" for name in result_names(wanted)}
    named = [(f"request_inputs[{place}]", "a request input", each.name) for place, each in enumerate(spec.request_inputs)]
    named += [(f"on_demand_features[{place}]", "an on-demand feature", each.name) for place, each in enumerate(spec.on_demand_features)]
    for field, what, name in named:
        if (other := taken.get(name.casefold())) is not None:
            raise InvalidFeatureService(
                f"spec.{field}.name", f"{name!r} is the name of {other}, too; case does not count. Take another name"
            )
        taken[name.casefold()] = what
