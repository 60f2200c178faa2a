"""What a feature repository of Feast defines, as definitions of the mesh: out of what `feast registry-dump` prints."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from mlops.features.v1 import feature_view_pb2

from mlmesh.errors import InvalidArgument
from mlmesh.feature_specs import spec_of
from mlmesh.feature_views import FeatureView

PUSH_SOURCE_LABEL = "feast_push_source"
"""Label of a view with the name of the push source that its rows come from; by it, Feast's clients push."""

ENTITY, VIEW, SERVICE = "entity", "feature view", "feature service"
ON_DEMAND_VIEW = "on-demand feature view"

MADE, UNCHANGED, NOT_IMPORTED = "made", "unchanged", "not imported"

_KEY_TYPES = {
    **dict.fromkeys(("INT32", "INT64"), "int64"),
    **dict.fromkeys(("STRING", "UUID", "TIME_UUID"), "string"),
    "BYTES": "bytes",
    "BOOL": "bool",
    "UNIX_TIMESTAMP": "timestamp",
}
_FEATURE_TYPES = {
    "BYTES": "bytes",
    **dict.fromkeys(("STRING", "JSON", "UUID", "TIME_UUID"), "string"),
    "INT32": "int32",
    "INT64": "int64",
    "DOUBLE": "float64",
    "FLOAT": "float32",
    "BOOL": "bool",
    "UNIX_TIMESTAMP": "timestamp",
    **dict.fromkeys(("STRING_LIST", "UUID_LIST", "TIME_UUID_LIST"), "list<string>"),
    **dict.fromkeys(("INT32_LIST", "INT64_LIST"), "list<int64>"),
    "DOUBLE_LIST": "list<float64>",
    "FLOAT_LIST": "list<float32>",
    # Its digits are those of the column.
    "DECIMAL": "",
}
_PUSHED = ("PUSH_SOURCE", "STREAM_KAFKA", "STREAM_KINESIS")
_PUSHED_WRITE_TIME = "write_time"
"""What the mesh names the write time of pushed rows that have no name for it."""
_NO_ENTITY = "__dummy"
_FULL = "__"


@dataclass(frozen=True)
class FeastItem:
    """What became of a definition of Feast's.

    Args:
        kind: `entity`, `feature view`, `feature service` or `on-demand feature view`.
        name: Its name.
        outcome: `made`, `unchanged` or `not imported`; in a dry run, what it would be.
        note: Why it was not imported, or what to know about it; empty where there is nothing to say.
    """

    kind: str
    name: str
    outcome: str
    note: str = ""


@dataclass(frozen=True)
class FeastImport:
    """What became of a feature repository of Feast's.

    Args:
        items: Its definitions: entities, views, services.
        is_dry_run: Whether nothing was made.
    """

    items: tuple[FeastItem, ...]
    is_dry_run: bool

    @property
    def made(self) -> tuple[FeastItem, ...]:
        """What was made, or would be."""
        return self._with(MADE)

    @property
    def unchanged(self) -> tuple[FeastItem, ...]:
        """What was there already, with the same definition."""
        return self._with(UNCHANGED)

    @property
    def not_imported(self) -> tuple[FeastItem, ...]:
        """What was not made, each with the reason."""
        return self._with(NOT_IMPORTED)

    def _with(self, outcome: str) -> tuple[FeastItem, ...]:
        return tuple(item for item in self.items if item.outcome == outcome)


@dataclass(frozen=True)
class FeastEntity:
    """An entity as the mesh is to have it."""

    name: str
    join_keys: dict[str, str]
    description: str
    labels: dict[str, str]


@dataclass(frozen=True)
class FeastView:
    """A view as the mesh is to have it; `note` says what to know about it."""

    name: str
    spec: feature_view_pb2.FeatureViewSpec
    description: str
    labels: dict[str, str]
    note: str = ""


@dataclass(frozen=True)
class FeastService:
    """A service as the mesh is to have it."""

    name: str
    spec: feature_view_pb2.FeatureServiceSpec
    description: str
    labels: dict[str, str]


@dataclass(frozen=True)
class FeastDefinitions:
    """What a repository defines.

    Args:
        entities: What its views are of.
        views: Its views.
        services: Its services, of these views.
        refused: What cannot be expressed, each with the reason.
    """

    entities: tuple[FeastEntity, ...]
    views: tuple[FeastView, ...]
    services: tuple[FeastService, ...]
    refused: tuple[FeastItem, ...]


class _NotExpressible(Exception):
    """The reason why a definition is not imported."""


def read_dump(file: str | Path) -> Mapping[str, Any]:
    """Reads what `feast registry-dump` printed.

    Raises:
        mlmesh.errors.InvalidArgument: It cannot be read, or is something else.
    """
    try:
        text = Path(file).read_text("utf-8")
        dump = json.loads(text[text.index("{") :])
    except (OSError, ValueError) as error:
        raise _wrong(f"{file} is not what `feast registry-dump` prints: {error}") from None
    if not isinstance(dump, dict) or "project" not in dump:
        raise _wrong(f"{file} is not what `feast registry-dump` prints: it names no project")
    return dump


def feast_definitions(dump: Mapping[str, Any], *, datasets: Mapping[str, str] | None = None, write_times: bool = True) -> FeastDefinitions:
    """Reads the definitions of a repository.

    Args:
        dump: What `feast registry-dump` prints, parsed.
        datasets: Dataset by the name of the data source whose rows it has. A source that is not named is the dataset of its own name; but
            that of a push source or a stream is then taken for one that pushes make.
        write_times: Whether `created_timestamp_column` becomes the write time.
    """
    refused: list[FeastItem] = []
    entities: list[FeastEntity] = []
    views: list[FeastView] = []
    services: list[FeastService] = []
    specs = [each["spec"] for each in (*dump.get("featureViews", ()), *dump.get("streamFeatureViews", ()))]
    for spec in _specs(dump, "entities"):
        if spec["name"] != _NO_ENTITY:
            _keep(entities, refused, ENTITY, spec, lambda spec=spec: _entity(spec, specs))
    key_names = {spec["name"]: spec.get("joinKey", spec["name"]) for spec in _specs(dump, "entities")}
    for spec in specs:
        _keep(views, refused, VIEW, spec, lambda spec=spec: _view(spec, key_names, datasets or {}, write_times))
    refused += [FeastItem(ON_DEMAND_VIEW, spec["name"], NOT_IMPORTED, _WHY_NOT_ON_DEMAND) for spec in _specs(dump, "onDemandFeatureViews")]
    known = {view.name: {feature.name for feature in view.spec.features} for view in views}
    for spec in _specs(dump, "featureServices"):
        _keep(services, refused, SERVICE, spec, lambda spec=spec: _service(spec, known))
    return FeastDefinitions(tuple(entities), tuple(views), tuple(services), tuple(refused))


def is_same_view(there: FeatureView, wanted: feature_view_pb2.FeatureViewSpec) -> bool:
    """Says whether a view is what Feast defines; what Feast does not say may be anything."""
    spec = spec_of(feature_view_pb2.FeatureViewSpec, there.spec)
    return bool(_facts(spec, spec) == _facts(wanted, spec))


def is_same_service(there: Mapping[str, Any], wanted: feature_view_pb2.FeatureServiceSpec) -> bool:
    """Says whether the spec of a service is what Feast defines, whatever the versions of its views."""
    spec = spec_of(feature_view_pb2.FeatureServiceSpec, there)
    return not spec.on_demand_features and bool(_selected(spec) == _selected(wanted))


_WHY_NOT_ON_DEMAND = (
    "it is Python code; write it as expressions of the services that give it (on_demand of create_service), which are the same online "
    "and offline"
)


def _specs(dump: Mapping[str, Any], kind: str) -> Iterator[Mapping[str, Any]]:
    for each in dump.get(kind, ()):
        yield each["spec"]


def _keep(found: list[Any], refused: list[FeastItem], kind: str, spec: Mapping[str, Any], read: Any) -> None:
    try:
        found.append(read())
    except _NotExpressible as error:
        refused.append(FeastItem(kind, spec["name"], NOT_IMPORTED, str(error)))


def _entity(spec: Mapping[str, Any], views: Iterable[Mapping[str, Any]]) -> FeastEntity:
    key = spec.get("joinKey", spec["name"])
    kind = spec.get("valueType") or next(
        (column.get("valueType") for view in views for column in view.get("entityColumns", ()) if column["name"] == key), None
    )
    if kind not in _KEY_TYPES:
        raise _NotExpressible(f"its join key {key!r} is {kind or 'of no type'}; a key may be {', '.join(_KEY_TYPES)}")
    return FeastEntity(spec["name"], {key: _KEY_TYPES[kind]}, spec.get("description", ""), _labels(spec))


def _view(spec: Mapping[str, Any], key_names: Mapping[str, str], datasets: Mapping[str, str], write_times: bool) -> FeastView:
    entities = [name for name in spec.get("entities", ()) if name != _NO_ENTITY]
    if not entities:
        raise _NotExpressible("it has no entity; its rows are of nothing that a key could name")
    batch, stream = spec.get("batchSource", {}), spec.get("streamSource", {})
    is_stream = stream.get("type") in _PUSHED
    if "sourceViews" in spec or ("featureTransformation" in spec and not is_stream):
        raise _NotExpressible("its rows are computed by code of Feast's engines; make a view that is computed by SQL or a plan")
    columns = {feast: column for column, feast in (batch.get("fieldMapping") or {}).items()}
    event_time = spec.get("timestampField") or batch.get("timestampField") or stream.get("timestampField")
    if not event_time:
        raise _NotExpressible("its source has no timestamp_field, so nobody knows when its values are true")
    wanted = feature_view_pb2.FeatureViewSpec(
        entities=entities, event_time_column=columns.get(event_time, event_time), offline_only=not spec.get("online", False)
    )
    notes = []
    dataset = datasets.get(batch.get("name", ""))
    if is_stream and dataset is None:
        wanted.push.SetInParent()
    else:
        wanted.dataset.dataset = dataset or batch.get("name", "")
    if "featureTransformation" in spec:
        notes.append("its transformation is Python code, which stays where it is: push the rows that it makes")
    elif is_stream and stream["type"] != "PUSH_SOURCE":
        notes.append(f"nothing reads the stream {stream.get('name', '')!r} any more: push its rows")
    created = batch.get("createdTimestampColumn")
    if created and write_times:
        wanted.write_time_column = columns.get(created, created)
    for name in entities:
        key = key_names.get(name, name)
        if key in columns:
            wanted.key_columns[key] = columns[key]
    if spec.get("ttl", "0s") != "0s":
        json_format.ParseDict(spec["ttl"], wanted.max_age)
    notes += _add_features(wanted, spec, columns, {*(key_names.get(name, name) for name in entities), event_time, created})
    labels = _labels(spec)
    if is_stream:
        labels[PUSH_SOURCE_LABEL] = stream.get("name", "")
    return FeastView(spec["name"], wanted, spec.get("description", ""), labels, "; ".join(notes))


def _add_features(
    wanted: feature_view_pb2.FeatureViewSpec, spec: Mapping[str, Any], columns: Mapping[str, str], others: set[str | None]
) -> list[str]:
    """Adds the features that can be, and returns what is to be known of the others. A stream's schema has the keys among them."""
    left_out = []
    for feature in spec.get("features", ()):
        name, kind = feature["name"], feature.get("valueType", "")
        if name in others:
            continue
        its_type = _FEATURE_TYPES.get(kind)
        if its_type is None or (not its_type and wanted.HasField("push")):
            left_out.append(f"{name} ({kind or 'of no type'})")
            continue
        # A dataset has types of its own, and Feast's are often narrower than its columns.
        wanted.features.add(
            name=name,
            type=its_type if wanted.HasField("push") else "",
            column=columns.get(name, ""),
            description=feature.get("description", ""),
        )
    if not wanted.features:
        raise _NotExpressible(f"it has no feature of a type that there is here: {', '.join(left_out) or 'none at all'}")
    return [f"without {', '.join(left_out)}, since no feature has that type"] if left_out else []


def _service(spec: Mapping[str, Any], known: Mapping[str, set[str]]) -> FeastService:
    projections = spec.get("features", ())
    wanted = feature_view_pb2.FeatureServiceSpec()
    missing = []
    counted = Counter(column["name"] for each in projections for column in each.get("featureColumns", ()))
    for each in projections:
        view, alias, features = each["featureViewName"], each.get("featureViewNameAlias"), [one["name"] for one in each["featureColumns"]]
        if "versionTag" in each:
            raise _NotExpressible(f"it has version {each['versionTag']} of {view!r}, and the versions of Feast are not imported")
        missing += [f"{view}:{name}" for name in features if name not in known.get(view, ())]
        needs_prefix = alias or any(counted[name] > 1 for name in features)
        wanted.selections.add(
            view=view,
            features=features,
            prefix=f"{alias or view}{_FULL}" if needs_prefix else "",
            join_key_names=each.get("joinKeyMap", {}),
        )
    if missing:
        raise _NotExpressible(
            f"a service without some of its features would be another one, and these were not imported: {', '.join(missing)}"
        )
    if not projections:
        raise _NotExpressible("it has no features")
    return FeastService(spec["name"], wanted, spec.get("description", ""), _labels(spec))


def _labels(spec: Mapping[str, Any]) -> dict[str, str]:
    labels = dict(spec.get("tags", {}))
    if spec.get("owner"):
        labels.setdefault("owner", spec["owner"])
    return labels


def _facts(spec: feature_view_pb2.FeatureViewSpec, there: feature_view_pb2.FeatureViewSpec) -> Any:
    """What Feast says of a view. A type that is left open is that of the view that is there; the case of columns does not count."""
    types = {feature.name: feature.type for feature in there.features}
    return (
        list(spec.entities),
        spec.WhichOneof("source"),
        spec.dataset.dataset,
        spec.event_time_column.casefold(),
        (spec.write_time_column or (_PUSHED_WRITE_TIME if spec.HasField("push") else "")).casefold(),
        {key: column.casefold() for key, column in spec.key_columns.items() if key.casefold() != column.casefold()},
        [
            (feature.name, feature.type or types.get(feature.name), (feature.column or feature.name).casefold(), feature.description)
            for feature in spec.features
        ],
        spec.max_age.ToNanoseconds() if spec.HasField("max_age") else None,
        spec.offline_only,
    )


def _selected(spec: feature_view_pb2.FeatureServiceSpec) -> Any:
    return [(each.view, list(each.features), each.prefix, dict(each.join_key_names)) for each in spec.selections]


def _wrong(message: str) -> InvalidArgument:
    return InvalidArgument(message, reason="INVALID_FEAST_DUMP")
