"""What a feature view, a feature service or a training set is to be, as it travels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, TypeVar

from google.protobuf import json_format
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from mlops.features.v1 import feature_job_service_pb2, feature_view_pb2
from mlops.processing.v1 import processing_job_pb2

from mlmesh.errors import InvalidArgument
from mlmesh.features import Feature, Features, OnDemand, OnDemandFeatures, Selection, Selections, ViewInputs
from mlmesh.fields import enum_value
from mlmesh.job_specs import JobResources, resources_message
from mlmesh.pipeline_specs import PipelineSpec
from mlmesh.plan import Relation

_Spec = TypeVar("_Spec", bound=Message)

# A computation has an output, whose name the mesh chooses.
_OUTPUT = "rows"


def spec_of(kind: type[_Spec], spec: _Spec | Mapping[str, Any]) -> _Spec:
    """Returns a spec as it travels.

    Args:
        kind: Its type.
        spec: The spec; or the contract's own as JSON has it.

    Raises:
        mlmesh.errors.InvalidArgument: It is none.
    """
    if isinstance(spec, kind):
        return spec
    if not isinstance(spec, Mapping):
        raise _wrong(f"{spec!r} is no mapping that is a {kind.DESCRIPTOR.name} as JSON")
    try:
        return json_format.ParseDict(dict(spec), kind())
    except json_format.ParseError as error:
        raise _wrong(f"the spec is none: {error}") from None


def change_view_spec(
    spec: feature_view_pb2.FeatureViewSpec,
    *,
    entities: str | Sequence[str] | None = None,
    features: Features | None = None,
    event_time: str | None = None,
    dataset: str | None = None,
    sql: str | None = None,
    plan: Relation | None = None,
    inputs: ViewInputs | None = None,
    keys: Sequence[str] | None = None,
    push: bool | None = None,
    write_time: str | None = None,
    key_columns: Mapping[str, str] | None = None,
    max_age: timedelta | None = None,
    offline_only: bool | None = None,
    materialize_every: timedelta | None = None,
    engine: str | None = None,
    resources: JobResources | None = None,
) -> None:
    """Changes what a view is. What is None stays.

    Args:
        spec: The spec; an empty one is filled.
        entities: Names of its entities.
        features: Its features.
        event_time: Column with the moment from which on values are true.
        dataset: The dataset with its rows.
        sql: A SELECT that computes them.
        plan: A relation that they are.
        inputs: What is read to compute them. This and what else there is of a computation goes with `sql` or `plan`.
        keys: Columns that say which rows of the inputs a row is made of.
        push: Whether its rows are pushed alone.
        write_time: Column with the moment at which a row was written; empty = none.
        key_columns: Column of each join key that has another name.
        max_age: Age from which on values are not used; 0 = any age.
        offline_only: Whether it is kept offline alone.
        materialize_every: How often the online store is brought up to date by itself; 0 = never.
        engine: What computes it.
        resources: What a computation may use.

    Raises:
        mlmesh.errors.InvalidArgument: They contradict each other.
    """
    _change_source(spec, dataset, push, _computation(sql, plan, inputs, keys, engine, resources))
    if entities is not None:
        spec.entities[:] = _names(entities)
    if features is not None:
        del spec.features[:]
        spec.features.extend(_features(features))
    if event_time is not None:
        spec.event_time_column = event_time
    if write_time is not None:
        spec.write_time_column = write_time
    if key_columns is not None:
        spec.key_columns.clear()
        spec.key_columns.update(key_columns)
    if offline_only is not None:
        spec.offline_only = offline_only
    for name, length in (("max_age", max_age), ("materialize_interval", materialize_every)):
        if length is not None:
            spec.ClearField(name)  # type: ignore[arg-type]
            if length:
                getattr(spec, name).CopyFrom(_duration(length))


def change_service_spec(
    spec: feature_view_pb2.FeatureServiceSpec,
    *,
    selections: Selections | None = None,
    inputs: Mapping[str, str] | None = None,
    on_demand: OnDemandFeatures | None = None,
) -> None:
    """Changes what a service gives. What is None stays.

    Args:
        spec: The spec; an empty one is filled.
        selections: Features of views.
        inputs: Types of what on-demand features need beside them, by name.
        on_demand: Features that are computed when they are asked for.

    Raises:
        mlmesh.errors.InvalidArgument: They are none.
    """
    if selections is not None:
        del spec.selections[:]
        spec.selections.extend(selection_messages(selections))
    if inputs is not None:
        del spec.request_inputs[:]
        spec.request_inputs.extend(feature_view_pb2.RequestInput(name=name, type=kind) for name, kind in inputs.items())
    if on_demand is not None:
        del spec.on_demand_features[:]
        spec.on_demand_features.extend(_on_demand(name, given) for name, given in on_demand.items())


def selection_messages(selections: Selections) -> list[feature_view_pb2.FeatureSelection]:
    """Returns features of views as they travel.

    Raises:
        mlmesh.errors.InvalidArgument: They are none.
    """
    some = [selections] if isinstance(selections, str | Selection) else selections
    return [_selection(one) for one in some]


def training_set_spec(
    features: Selections,
    *,
    spine: str | tuple[str, int],
    label_time: str,
    dataset: str,
    columns: Sequence[str] = (),
    version: int = 0,
    strictly_before: bool = False,
    ignore_write_times: bool = False,
    include_event_times: bool = False,
    include_statuses: bool = False,
    skip_leak_report: bool = False,
    engine: str = "",
    resources: JobResources | None = None,
) -> feature_job_service_pb2.TrainingSetSpec:
    """Returns how a training set is made, as it travels.

    Args:
        features: Name of a feature service, or features of views.
        spine: The dataset with the rows; `("labels", 3)` for a version.
        label_time: Its column with the moment as of which features are wanted.
        dataset: The dataset that is written.
        columns: Columns of the spine that the training set has.
        version: Version of the service.
        strictly_before: Whether the event has to be before the label time.
        ignore_write_times: Whether values count from their event time on also where they were written later.
        include_event_times: Whether each view has a column with event times.
        include_statuses: Whether each view has a column with statuses.
        skip_leak_report: Whether the leak report is left out.
        engine: What runs it.
        resources: What it may use.

    Raises:
        mlmesh.errors.InvalidArgument: It is wrong whatever the mesh has.
    """
    spine_dataset, spine_version = _spine(spine)
    service, selections = service_or_selections(features)
    return feature_job_service_pb2.TrainingSetSpec(
        spine=feature_job_service_pb2.Spine(dataset=spine_dataset, version=spine_version, label_time_column=label_time, columns=columns),
        feature_service=service,
        feature_service_version=version,
        selections=selections,
        dataset=dataset,
        strictly_before=strictly_before,
        ignore_write_times=ignore_write_times,
        include_event_times=include_event_times,
        include_statuses=include_statuses,
        skip_leak_report=skip_leak_report,
        engine=enum_value(processing_job_pb2.Engine, engine or "unspecified"),
        resources=resources_message(resources) if resources is not None else None,
    )


def service_or_selections(features: Selections) -> tuple[str, list[feature_view_pb2.FeatureSelection]]:
    """Returns what is wanted: a text is the name of a service, anything else features of views.

    Raises:
        mlmesh.errors.InvalidArgument: It is neither.
    """
    return (features, []) if isinstance(features, str) else ("", selection_messages(features))


def _change_source(
    spec: feature_view_pb2.FeatureViewSpec,
    dataset: str | None,
    push: bool | None,
    computed: feature_view_pb2.ComputedSource | None,
) -> None:
    if sum(map(bool, (dataset, push, computed is not None))) > 1:
        raise _wrong("a view has one source: dataset, sql, plan or push")
    if dataset:
        spec.dataset.dataset = dataset
    elif push:
        spec.push.SetInParent()
    elif computed is not None:
        spec.computed.CopyFrom(computed)


def _computation(
    sql: str | None,
    plan: Relation | None,
    inputs: ViewInputs | None,
    keys: Sequence[str] | None,
    engine: str | None,
    resources: JobResources | None,
) -> feature_view_pb2.ComputedSource | None:
    if not sql and plan is None:
        if inputs or keys or engine or resources is not None:
            raise _wrong("inputs, keys, engine and resources are those of a computation: give sql or plan with them")
        return None
    pipeline = PipelineSpec(
        inputs=inputs or {},
        outputs={_OUTPUT: plan} if plan is not None else _OUTPUT,
        sql=sql or "",
        keys=keys or (),
        engine=engine or "",
        resources=resources,
    ).message()
    computed = feature_view_pb2.ComputedSource(
        inputs=pipeline.inputs,
        keys=pipeline.keys,
        engine=pipeline.engine,
        resources=pipeline.resources if resources is not None else None,
    )
    if plan is None:
        computed.sql = pipeline.sql
    else:
        computed.plan.CopyFrom(pipeline.plan)
    return computed


def _names(given: str | Sequence[str]) -> list[str]:
    return [given] if isinstance(given, str) else list(given)


def _features(given: Features) -> Iterator[feature_view_pb2.Feature]:
    if isinstance(given, str):
        raise _wrong(f"features are {given!r}; they have to be a list of names, or types by name")
    if not isinstance(given, Mapping):
        yield from (feature_view_pb2.Feature(name=name) for name in given)
        return
    for name, said in given.items():
        feature = said if isinstance(said, Feature) else Feature(said)
        yield feature_view_pb2.Feature(name=name, type=feature.type, column=feature.column, description=feature.description)


def _selection(given: str | Selection) -> feature_view_pb2.FeatureSelection:
    selection = Selection(given) if isinstance(given, str) else given
    if not isinstance(selection, Selection):
        raise _wrong(f"{given!r} are no features of a view: give its name, or select(view, features)")
    return feature_view_pb2.FeatureSelection(
        view=selection.view,
        version=selection.version,
        features=_names(selection.features),
        prefix=selection.prefix,
        join_key_names=selection.keys,
    )


def _on_demand(name: str, given: tuple[str, str] | OnDemand) -> feature_view_pb2.OnDemandFeature:
    feature = OnDemand(*given) if isinstance(given, tuple) and len(given) == 2 else given
    if not isinstance(feature, OnDemand):
        raise _wrong(f"the on-demand feature {name!r} is {given!r}; it has to be an expression and its type: ('amount / spend', 'float64')")
    return feature_view_pb2.OnDemandFeature(name=name, expression=feature.expression, type=feature.type, description=feature.description)


def _spine(given: str | tuple[str, int]) -> tuple[str, int | None]:
    if isinstance(given, str):
        return given, None
    if isinstance(given, tuple) and len(given) == 2 and isinstance(given[1], int):
        return given
    raise _wrong(f"the spine is {given!r}; it has to be a dataset, such as 'labels' or ('labels', 3)")


def _duration(length: timedelta) -> Duration:
    duration = Duration()
    duration.FromTimedelta(length)
    return duration


def _wrong(message: str) -> InvalidArgument:
    return InvalidArgument(message, reason="INVALID_SPEC")
