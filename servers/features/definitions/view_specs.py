"""What a view is, checked, and with everything filled in: so equal views are equal, and nobody has to look twice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mlops.features.v1 import feature_view_pb2 as pb
from mlops.processing.v1 import processing_job_pb2 as job_pb

from servers.features.definitions.column_types import (
    UNKNOWN,
    can_be,
    can_be_key,
    holds,
    is_moment,
    is_wall_time,
    stored_type,
    type_of_column,
)
from servers.features.definitions.records import Entity, KeyColumn
from servers.features.errors import InvalidFeatureView
from servers.features.online import JoinKey, feature_type
from servers.features.online.errors import InvalidFeatureSchema
from servers.runtime.sql_names import is_column_name

RESERVED_NAMES = ("entities", "services", "serve", "historical", "materializations")
"""Names under which other things are found at `/api/v1/features`."""

WRITE_TIME = "write_time"
"""Column with the write times of pushed rows, where the view names none."""

_SHOWN = 50
_ZONE_ADVICE = "has no time zone, so it is no moment; have a computed view say which it is, for example timezone('UTC', …)"


@dataclass(frozen=True)
class SourceColumns:
    """The columns of a source.

    Args:
        of: What has them, for errors.
        types: Their types as Arrow writes them, by their names.
        may_grow: Whether there will be others.
    """

    of: str
    types: dict[str, str]
    may_grow: bool = False

    def find(self, name: str) -> str | None:
        """Returns the name of a column as the source writes it; case does not count."""
        if name in self.types:
            return name
        return next((each for each in self.types if each.casefold() == name.casefold()), None)


def check_view_name(name: str) -> None:
    """Refuses names that other things are found under.

    Raises:
        InvalidFeatureView: INVALID_ARGUMENT: it is one.
    """
    if name in RESERVED_NAMES:
        raise InvalidFeatureView("name", f"{name!r} is the name of a route; others than {', '.join(RESERVED_NAMES)} are free")


def own_name(view: str, version: int) -> str:
    """The name of the dataset, and of the pipeline, that a version of a view has for itself."""
    return f"features-{view}-v{version}"


def with_write_time(spec: pb.FeatureViewSpec) -> pb.FeatureViewSpec:
    """Returns a specification whose pushed rows have a write time: of two with one event time, the later one corrects the other."""
    if spec.WhichOneof("source") != "push" or spec.write_time_column:
        return spec
    found = pb.FeatureViewSpec()
    found.CopyFrom(spec)
    found.write_time_column = WRITE_TIME
    return found


def check_parts(spec: pb.FeatureViewSpec, entities: Sequence[Entity]) -> None:
    """Finds what contradicts itself, whatever the source is.

    Raises:
        InvalidFeatureView: INVALID_ARGUMENT: what it is.
    """
    if spec.offline_only and spec.HasField("materialize_interval"):
        raise InvalidFeatureView("spec.materialize_interval", "a view that is offline_only is never materialised; leave one of both out")
    keys = _join_keys(entities)
    for name in spec.key_columns:
        if name not in {key.name for key in keys}:
            known = ", ".join(key.name for key in keys)
            raise InvalidFeatureView(f'spec.key_columns["{name}"]', f"{name!r} is no join key of the view's entities; these are {known}")
    taken = {name.casefold(): "a join key" for name in (key.name for key in keys)}
    taken |= {name.casefold(): "the column of a join key" for name in spec.key_columns.values() if name.casefold() not in taken}
    taken |= {spec.write_time_column.casefold(): "the write time", spec.event_time_column.casefold(): "the event time"}
    for place, feature in enumerate(spec.features):
        if (other := taken.get(feature.name.casefold())) is not None:
            raise InvalidFeatureView(
                f"spec.features[{place}].name",
                f"{feature.name!r} is the name of {other}, too; case does not count. Give the feature another name, and say its column",
            )
        taken[feature.name.casefold()] = "another feature"


def filled(spec: pb.FeatureViewSpec, entities: Sequence[Entity], source: SourceColumns) -> tuple[pb.FeatureViewSpec, tuple[KeyColumn, ...]]:
    """Returns a specification with its defaults and types, and the columns of its join keys.

    Args:
        spec: Without contradictions.
        entities: Its entities, in its order.
        source: What its rows have.

    Raises:
        InvalidFeatureView: INVALID_ARGUMENT: the source does not fit.
    """
    found = pb.FeatureViewSpec()
    found.CopyFrom(spec)
    if spec.WhichOneof("source") == "computed":
        found.computed.engine = spec.computed.engine or job_pb.ENGINE_LOCAL
    found.event_time_column = _moment(spec.event_time_column, "spec.event_time_column", source)
    if spec.write_time_column:
        found.write_time_column = _moment(spec.write_time_column, "spec.write_time_column", source)
    keys = tuple(_key_column(key, spec, source) for key in _join_keys(entities))
    for key in keys:
        found.key_columns[key.join_key.name] = key.column
    for place, feature in enumerate(found.features):
        _fill_feature(feature, f"spec.features[{place}]", source)
    if spec.WhichOneof("source") == "push":
        _check_pushed(found, keys)
    return found, keys


def _join_keys(entities: Iterable[Entity]) -> list[JoinKey]:
    keys: dict[str, tuple[JoinKey, str]] = {}
    for entity in entities:
        for key in entity.join_keys:
            other = keys.setdefault(key.name.casefold(), (key, entity.name))
            if other[1] != entity.name:
                raise InvalidFeatureView(
                    "spec.entities",
                    f"{other[1]!r} and {entity.name!r} both have a join key {key.name!r}, and a row has one value of it; name one of them",
                )
    return [key for key, _ in keys.values()]


def _moment(name: str, field: str, source: SourceColumns) -> str:
    column = _column(name, field, source)
    kind = source.types.get(column)
    if kind is not None and not is_moment(kind):
        raise InvalidFeatureView(field, f"{column!r} of {source.of} is {kind}; a time has to be a date or a timestamp")
    return column


def _key_column(key: JoinKey, spec: pb.FeatureViewSpec, source: SourceColumns) -> KeyColumn:
    field = f'spec.key_columns["{key.name}"]'
    column = _column(spec.key_columns.get(key.name) or key.name, field, source)
    kind = source.types.get(column)
    if kind is not None and not can_be_key(kind, key.type):
        why = _ZONE_ADVICE if is_wall_time(kind) else f"and the join key {key.name!r} is {key.type}; have a computed view cast it"
        raise InvalidFeatureView(field, f"{column!r} of {source.of} is {kind}, {why}")
    return KeyColumn(key, column)


def _fill_feature(feature: pb.Feature, field: str, source: SourceColumns) -> None:
    feature.column = _column(feature.column or feature.name, f"{field}.column", source)
    kind = source.types.get(feature.column)
    if feature.type:
        feature.type = _checked_type(feature.type, f"{field}.type")
    if kind is None:
        if not feature.type:
            raise InvalidFeatureView(f"{field}.type", f"name the type of {feature.name!r}: rows that are pushed are to have it")
        return
    what = f"{feature.column!r} of {source.of} is {kind}"
    if source.may_grow:
        # The dataset is there from before, and rows that are pushed are added to it.
        if not feature.type or (kind != UNKNOWN and not holds(type_of_column(kind) or "", stored_type(feature.type))):
            raise InvalidFeatureView(
                f"{field}.type", f"{what}, which does not hold {feature.type or 'a type that is not named'}; name one that it holds"
            )
        return
    if not feature.type:
        feature.type = type_of_column(kind) or ""
        if not feature.type:
            why = _ZONE_ADVICE if is_wall_time(kind) else "which no feature can be; have a computed view cast it"
            why = "as it has no values yet; name the type" if kind == UNKNOWN else why
            raise InvalidFeatureView(f"{field}.type", f"{what}, {why}")
    elif not can_be(kind, feature.type):
        raise InvalidFeatureView(
            f"{field}.type", f"{what}, and not every value of it is a {feature.type}; leave the type out, or have a computed view cast it"
        )


def _checked_type(name: str, field: str) -> str:
    try:
        return feature_type(name).name
    except InvalidFeatureSchema as error:
        raise InvalidFeatureView(field, error.message) from None


def _column(name: str, field: str, source: SourceColumns) -> str:
    column = source.find(name)
    if column is not None:
        return column
    if not source.may_grow:
        there = ", ".join(list(source.types)[:_SHOWN])
        raise InvalidFeatureView(field, f"{source.of} has no column {name!r}; it has {there}")
    if not is_column_name(name):
        raise InvalidFeatureView(field, f"{name[:50]!r} is no name of a column; it has 1 to 255 characters without U+0000 and U+001F")
    return name


def _check_pushed(spec: pb.FeatureViewSpec, keys: Sequence[KeyColumn]) -> None:
    """Finds columns of pushed rows that would be two things: nobody else says what they are."""
    taken = {spec.event_time_column.casefold(): "the event time"}
    if spec.write_time_column:
        taken.setdefault(spec.write_time_column.casefold(), "the write time")
    for key in keys:
        if (other := taken.get(key.column.casefold())) is not None:
            raise InvalidFeatureView(f'spec.key_columns["{key.join_key.name}"]', f"{key.column!r} is {other}, too; name another column")
        taken[key.column.casefold()] = f"the join key {key.join_key.name!r}"
    for place, feature in enumerate(spec.features):
        if (other := taken.get(feature.column.casefold())) is not None:
            raise InvalidFeatureView(f"spec.features[{place}].column", f"{feature.column!r} is {other}, too; name another column")
        taken[feature.column.casefold()] = f"the feature {feature.name!r}"
