"""From what is wanted of a training set to the processing job that makes it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from mlops.features.v1 import feature_job_service_pb2 as pb
from mlops.ingestion.v1 import ingestion_pb2
from mlops.processing.v1 import plan_pb2
from mlops.processing.v1 import processing_job_pb2 as job_pb

from servers.features.definitions.records import Selection, Wanted
from servers.features.jobs.leak_output import OUTPUT as LEAKS
from servers.features.jobs.leak_output import leak_output
from servers.features.jobs.plan_merging import merged
from servers.features.jobs.records import Reading, ReportedView
from servers.features.offline.errors import TrainingSetColumnTwice
from servers.features.offline.leaks import leak_plan
from servers.features.offline.retrieval import ColumnKind, Retrieval, retrieval
from servers.features.offline.specification import Feature, FeatureView, Spine, TrainingSet, ViewKey
from servers.features.offline.steps import extended, project
from servers.features.on_demand_expressions import sql_type, steps_of
from servers.features.peers.ingestion_peer import PinnedDataset
from servers.runtime.sql_names import folded, quoted

SPINE = "spine"
"""Name of the job's input with the spine, unless a view reads the same version of the dataset."""

_LEAK_PREFIX = "leak_"
LEAKS_SUFFIX = "-leaks"
"""Behind the name of the training set's dataset: the dataset with its leak report."""


@dataclass(frozen=True)
class PlannedTrainingSet:
    """How a training set is made.

    Args:
        job: The processing job.
        reading: How its outputs are read.
        columns: Of the training set.
    """

    job: job_pb.JobSpec
    reading: Reading
    columns: tuple[str, ...]


def planned(
    spec: pb.TrainingSetSpec, wanted: Wanted, spine: PinnedDataset, columns: Sequence[str], datasets: Mapping[str, PinnedDataset]
) -> PlannedTrainingSet:
    """Returns the job that makes a training set.

    Args:
        spec: How it is made.
        wanted: What is looked up.
        spine: The rows.
        columns: Columns of the spine that the training set has.
        datasets: That of each view, by the id of the view's version.

    Raises:
        InvalidTrainingSet: INVALID_ARGUMENT: the parts do not go together.
    """
    inputs = _Inputs()
    offline = TrainingSet(
        Spine(inputs.name_of(spine, SPINE), spec.spine.label_time_column, tuple(columns)),
        tuple(_views(spec, wanted.selections, inputs, datasets)),
        has_event_times=spec.include_event_times,
        has_statuses=spec.include_statuses,
    )
    found = retrieval(offline)
    names = [column.name for column in found.columns]
    _check_on_demand(names, wanted)
    steps = [*found.plan.steps, *_last_steps(found, wanted)]
    outputs = [_output(steps[-1].name, spec.dataset)]
    reading = _replay(names, wanted)
    if not spec.skip_leak_report:
        steps, reported = _with_leak_report(steps, offline, [selection.view.view for selection in wanted.selections])
        outputs.append(_output(LEAKS, f"{spec.dataset}{LEAKS_SUFFIX}"))
        reading = replace(reading, leaks_dataset=outputs[-1].dataset, reported=reported)
    job = job_pb.JobSpec(
        inputs=inputs.job_inputs(),
        plan=plan_pb2.Plan(steps=steps, outputs=[output.step for output in outputs]),
        outputs=outputs,
        engine=spec.engine,
        resources=spec.resources if spec.HasField("resources") else None,
    )
    return PlannedTrainingSet(job, reading, (*names, *(feature.name for feature in wanted.on_demand)))


def _output(step: str, dataset: str) -> job_pb.JobOutput:
    return job_pb.JobOutput(step=step, dataset=dataset, mode=ingestion_pb2.WRITE_MODE_OVERWRITE)


def _last_steps(found: Retrieval, wanted: Wanted) -> list[plan_pb2.Step]:
    """Gives values the types that the online store and its callers have, and computes on-demand features of them."""
    types = dict(_feature_types(wanted))
    given = {folded(each.name): each.type for each in wanted.request_inputs}
    columns = {}
    for column in found.columns:
        kind = given.get(folded(column.name)) if column.kind is ColumnKind.SPINE else types.get(column.name)
        # A float64 of a dataset is rounded where the feature is float32, as it is online.
        columns[column.name] = f"CAST({quoted(column.name)} AS {sql_type(kind)})" if kind else quoted(column.name)
    steps = [project("typed", found.output, columns)]
    for number, expressions in enumerate(steps_of(wanted.on_demand)):
        steps.append(extended(f"on_demand_{number}", steps[-1].name, expressions))
    return steps


def _with_leak_report(
    steps: Sequence[plan_pb2.Step], offline: TrainingSet, shown: Sequence[str]
) -> tuple[list[plan_pb2.Step], tuple[ReportedView, ...]]:
    leaks = leak_plan(offline)
    together, names = merged(steps, leaks.plan.steps, _LEAK_PREFIX)
    reported = (
        ReportedView(name, tuple(view.feature_name(feature) for feature in view.features))
        for name, view in zip(shown, offline.views, strict=True)
    )
    return [*together, *leak_output(leaks, names, shown)], tuple(reported)


def _replay(names: Sequence[str], wanted: Wanted) -> Reading:
    if not wanted.on_demand:
        return Reading()
    there = {folded(name): name for name in names}
    given = tuple((there[folded(each.name)], each.type) for each in wanted.request_inputs)
    return Reading(
        replayed=(*_feature_types(wanted), *given),
        request_inputs=tuple(name for name, _ in given),
        on_demand=tuple((each.name, each.expression, each.type) for each in wanted.on_demand),
    )


class _Inputs:
    """Inputs of a job; a version of a dataset is one input, whoever reads it."""

    def __init__(self) -> None:
        self._names: dict[tuple[str, int], str] = {}

    def name_of(self, dataset: PinnedDataset, name: str) -> str:
        return self._names.setdefault((dataset.name, dataset.version), name)

    def job_inputs(self) -> list[job_pb.JobInput]:
        return [job_pb.JobInput(name=name, dataset=dataset, version=version) for (dataset, version), name in self._names.items()]


def _views(
    spec: pb.TrainingSetSpec, selections: Sequence[Selection], inputs: _Inputs, datasets: Mapping[str, PinnedDataset]
) -> Iterable[FeatureView]:
    names = _unique_names(selections)
    for number, (selection, name) in enumerate(zip(selections, names, strict=True)):
        view = selection.view
        columns = {feature.name: feature.column for feature in view.spec.features}
        yield FeatureView(
            name,
            inputs.name_of(datasets[view.id], f"view_{number}"),
            tuple(ViewKey(selection.given_name(key.join_key.name), key.column) for key in view.keys),
            view.spec.event_time_column,
            tuple(Feature(columns[feature], f"{selection.prefix}{feature}") for feature in selection.features),
            write_time=view.spec.write_time_column,
            counts_writes=not spec.ignore_write_times,
            max_age=view.spec.max_age.ToTimedelta() if view.spec.HasField("max_age") else None,
            is_strict=spec.strictly_before,
        )


def _unique_names(selections: Sequence[Selection]) -> list[str]:
    """The name of each view, with the prefix of its features or a number where it is there more than once."""
    views = Counter(folded(selection.view.view) for selection in selections)
    wanted = [
        selection.view.view if views[folded(selection.view.view)] == 1 else f"{selection.prefix}{selection.view.view}"
        for selection in selections
    ]
    taken: set[str] = set()
    names = []
    for name in wanted:
        free, number = name, 1
        while folded(free) in taken:
            number += 1
            free = f"{name}_{number}"
        taken.add(folded(free))
        names.append(free)
    return names


def _feature_types(wanted: Wanted) -> Iterable[tuple[str, str]]:
    for selection in wanted.selections:
        types = {feature.name: feature.type for feature in selection.view.spec.features}
        yield from ((f"{selection.prefix}{feature}", types[feature]) for feature in selection.features)


def _check_on_demand(names: Sequence[str], wanted: Wanted) -> None:
    there = {folded(name) for name in names}
    for feature in wanted.on_demand:
        if folded(feature.name) in there:
            raise TrainingSetColumnTwice(
                f"the on-demand feature {feature.name!r} is also a column of the training set; case does not count. "
                "Leave the column of the spine out (spine.columns), or give the feature another name"
            )
        there.add(folded(feature.name))
