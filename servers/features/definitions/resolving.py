"""Which versions and features are meant where somebody names a service, or features of views."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from mlops.features.v1 import feature_view_pb2 as pb

from servers.features.definitions.records import Selection, ServiceVersion, ViewVersion, Wanted
from servers.features.errors import InvalidFeatureSelection

_SHOWN = 20
_LONGEST_NAME = 255


class KnowsVersions(Protocol):
    """What is asked for versions; `store.definitions.Definitions` is one."""

    def view_versions(self, project: str, wanted: Sequence[tuple[str, int]]) -> Mapping[tuple[str, int], ViewVersion]:
        """Returns versions of views by name and number; 0 = the newest."""

    def service_version(self, project: str, name: str, version: int = 0) -> ServiceVersion:
        """Returns a version of a service; 0 = the newest."""


def resolved(
    definitions: KnowsVersions, project: str, feature_service: str, version: int, selections: Sequence[pb.FeatureSelection]
) -> Wanted:
    """Returns what is wanted, with everything resolved.

    Args:
        definitions: Knows the versions.
        project: Where.
        feature_service: Name of a service; empty where `selections` say what is wanted.
        version: Of the service; 0 = the newest.
        selections: Features of views.

    Raises:
        InvalidFeatureSelection: INVALID_ARGUMENT: not exactly one of both is there, a view does not have what is selected of it, or two
            features would have one name.
        NotFound: There is no such service, view or version.
    """
    if feature_service and selections:
        raise InvalidFeatureSelection("selections", f"the service {feature_service!r} says what is wanted; name it or selections, not both")
    if feature_service:
        service = definitions.service_version(project, feature_service, version)
        spec = service.spec
        return wanted_of(definitions, project, spec.selections, spec.request_inputs, spec.on_demand_features, service)
    if not selections:
        raise InvalidFeatureSelection("feature_service", "name a feature service, or features of views in selections")
    if version:
        raise InvalidFeatureSelection("feature_service_version", f"is {version}, and no service is named; name it in feature_service")
    return wanted_of(definitions, project, selections)


def wanted_of(
    definitions: KnowsVersions,
    project: str,
    selections: Sequence[pb.FeatureSelection],
    request_inputs: Sequence[pb.RequestInput] = (),
    on_demand: Sequence[pb.OnDemandFeature] = (),
    service: ServiceVersion | None = None,
    *,
    field: str = "selections",
) -> Wanted:
    """Returns selections with their versions and features, which have to fit together.

    Args:
        definitions: Knows the versions.
        project: Where.
        selections: Features of views.
        request_inputs: What on-demand features need.
        on_demand: On-demand features.
        service: Version of the service that says so; what a service has was checked when it was made.
        field: Path of the selections, for errors.

    Raises:
        InvalidFeatureSelection: INVALID_ARGUMENT: they do not.
        NotFound: There is no such view or version.
    """
    versions = definitions.view_versions(project, [(each.view, each.version) for each in selections])
    found = []
    for place, each in enumerate(selections):
        view = versions[each.view, each.version]
        features = tuple(each.features) or tuple(feature.name for feature in view.spec.features)
        found.append(Selection(view, features, each.prefix, dict(each.join_key_names)))
        if service is None:
            _check_selection(found[-1], f"{field}[{place}]")
    if service is None:
        _check_join_keys(found, field)
        _check_names(found, field)
    return Wanted(tuple(found), tuple(request_inputs), tuple(on_demand), service)


def result_names(wanted: Wanted) -> Iterator[str]:
    """Returns the names of the features of views, as the caller knows them, in order."""
    for selection in wanted.selections:
        yield from (f"{selection.prefix}{feature}" for feature in selection.features)


def _check_selection(selection: Selection, field: str) -> None:
    view, there = selection.view, {feature.name for feature in selection.view.spec.features}
    for place, feature in enumerate(selection.features):
        if feature not in there:
            names = _shown([each.name for each in view.spec.features])
            raise InvalidFeatureSelection(
                f"{field}.features[{place}]", f"version {view.version} of {view.view!r} has no feature {feature!r}; it has {names}"
            )
    keys = [key.join_key.name for key in view.keys]
    for key, given in sorted(selection.join_key_names.items()):
        where = f'{field}.join_key_names["{key}"]'
        if key not in keys:
            raise InvalidFeatureSelection(where, f"{view.view!r} has no join key {key!r}; it has {_shown(keys)}")
        if not 0 < len(given) <= _LONGEST_NAME or {"\0", "\x1f"} & set(given):
            raise InvalidFeatureSelection(
                where, f"{given[:50]!r} is no name; it has 1 to {_LONGEST_NAME} characters without U+0000 and U+001F"
            )


def _check_join_keys(selections: Sequence[Selection], field: str) -> None:
    """One name has one value in a row, which cannot be of two types."""
    known: dict[str, tuple[str, str]] = {}
    for place, selection in enumerate(selections):
        for key in selection.view.keys:
            given, wanted = selection.given_name(key.join_key.name), key.join_key.type.value
            kind, view = known.setdefault(given.casefold(), (wanted, selection.view.view))
            if kind != wanted:
                raise InvalidFeatureSelection(
                    f"{field}[{place}]",
                    f"{given!r} is a join key of {view!r}, {kind}, and of {selection.view.view!r}, {wanted}; "
                    "give one of them another name with join_key_names",
                )


def _check_names(selections: Sequence[Selection], field: str) -> None:
    known: dict[str, str] = {}
    for place, selection in enumerate(selections):
        for feature in selection.features:
            name = f"{selection.prefix}{feature}"
            if name.casefold() in known:
                raise InvalidFeatureSelection(
                    f"{field}[{place}]",
                    f"{name!r} of {selection.view.view!r} is also a feature of {known[name.casefold()]!r}; case does not count. "
                    "Give one of them a prefix",
                )
            known[name.casefold()] = selection.view.view


def _shown(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return f"{', '.join(names[:_SHOWN])}{f' and {more} more' if more > 0 else ''}"
