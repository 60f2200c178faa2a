"""Where the rows of views come from: datasets, and the pipelines that views make for themselves."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from mlops.features.v1 import feature_view_pb2 as pb
from mlops.processing.v1 import pipeline_pb2
from mlops.processing.v1 import processing_job_pb2 as job_pb

from servers.features.definitions.view_specs import SourceColumns, own_name
from servers.features.errors import InvalidFeatureView, ViewRuns
from servers.features.rights import READ_DATA, WRITE_DATA, check_right
from servers.runtime.auth import Principal
from servers.runtime.errors import DomainError

WRITE_PIPELINES = "processing.pipelines.write"
RUN_JOBS = "processing.jobs.run"
RUN_FUNCTIONS = "processing.functions.run"

_LOGGER = logging.getLogger(__name__)
_ATTEMPTS = 3


class Dataset(Protocol):
    """A version of a dataset."""

    @property
    def columns(self) -> tuple[tuple[str, str], ...]:
        """Names and types of its columns, as Arrow writes them."""


class HasDatasets(Protocol):
    """What is asked for datasets; `peers.ingestion_peer.IngestionPeer` is one."""

    def dataset(self, project: str, name: str) -> Dataset:
        """Returns the newest version of a dataset."""

    def dataset_or_none(self, project: str, name: str) -> Dataset | None:
        """The same; None where there is none of the name."""


class HasPipelines(Protocol):
    """What is asked for pipelines; `peers.processing_peer.ProcessingPeer` is one."""

    def explain(self, project: str, spec: job_pb.JobSpec) -> job_pb.JobExplanation:
        """Says how a job would run."""

    def create_pipeline(
        self,
        project: str,
        name: str,
        spec: pipeline_pb2.PipelineSpec,
        *,
        description: str = "",
        labels: Mapping[str, str] | None = None,
        validate_only: bool = False,
    ) -> Any:
        """Makes a pipeline, or checks it alone."""

    def delete_pipeline(self, project: str, name: str) -> None:
        """Deletes a pipeline."""


@dataclass(frozen=True)
class FoundSource:
    """Where the rows of a version of a view come from.

    Args:
        columns: What they have.
        dataset: Where they are.
        pipeline: That computes them, and does not exist yet; None where none does.
    """

    columns: SourceColumns
    dataset: str
    pipeline: pipeline_pb2.PipelineSpec | None = None


class ViewSources:
    """Looks at the sources of views, and makes their pipelines: as the mesh's own account, so it looks at the caller's rights before.

    Args:
        datasets: Has the datasets.
        pipelines: Has the pipelines.
    """

    def __init__(self, datasets: HasDatasets, pipelines: HasPipelines) -> None:
        self._datasets = datasets
        self._pipelines = pipelines

    def find(self, project: str, view: str, version: int, spec: pb.FeatureViewSpec, caller: Principal) -> FoundSource:
        """Looks at the source of a version of a view.

        Raises:
            NotAllowed: The caller may not do by herself what the view would do for her.
            InvalidFeatureView: INVALID_ARGUMENT: a plan has not one output.
            DomainError: There is no such dataset, or the computation is wrong.
        """
        kind, own = spec.WhichOneof("source"), own_name(view, version)
        check_right(caller, READ_DATA, project, "reading the source")
        if kind == "dataset":
            there = self._datasets.dataset(project, spec.dataset.dataset)
            return FoundSource(SourceColumns(f"dataset {spec.dataset.dataset!r}", dict(there.columns)), spec.dataset.dataset)
        check_right(caller, WRITE_DATA, project, f"writing the dataset {own!r}")
        if kind == "push":
            # A view of this name may have been deleted, and its dataset stayed.
            left = self._datasets.dataset_or_none(project, own)
            types = {} if left is None else dict(left.columns)
            return FoundSource(SourceColumns(f"dataset {own!r}", types, may_grow=True), own)
        return self._computed(project, own, spec.computed, caller)

    def check_pipeline(self, project: str, name: str, source: FoundSource) -> None:
        """Finds out whether the pipeline of a source could be made.

        Raises:
            DomainError: What is wrong with it.
        """
        if source.pipeline is not None:
            self._pipelines.create_pipeline(project, name, source.pipeline, validate_only=True)

    def make_pipeline(self, project: str, name: str, view: str, spec: pipeline_pb2.PipelineSpec) -> None:
        """Makes the pipeline of a version of a view.

        Raises:
            DomainError: What is wrong with it.
        """
        description = f"Computes the feature view {view!r}, which makes and deletes this pipeline."
        self._pipelines.create_pipeline(project, name, spec, description=description, labels={"mlmesh.feature-view": view})

    def undo_pipeline(self, project: str, pipeline: str) -> None:
        """Deletes a pipeline that was made for nothing, as well as can be."""
        try:
            self.delete_pipeline(project, pipeline, "")
        except DomainError as error:
            _LOGGER.warning("the pipeline %r in project %r is needed by nobody, and stays: %s", pipeline, project, error.message)

    def delete_pipeline(self, project: str, pipeline: str, view: str) -> None:
        """Deletes the pipeline of a view, if there is one.

        Raises:
            ViewRuns: It runs.
            Unavailable: Nobody can say.
        """
        try:
            self._pipelines.delete_pipeline(project, pipeline)
        except DomainError as error:
            if error.reason == "PIPELINE_IN_USE":
                raise ViewRuns(view, pipeline, error.metadata.get("job_id", "")) from error
            if error.reason != "PIPELINE_NOT_FOUND":
                raise

    def _computed(self, project: str, own: str, computed: pb.ComputedSource, caller: Principal) -> FoundSource:
        check_right(caller, WRITE_PIPELINES, project, f"making the pipeline {own!r}")
        check_right(caller, RUN_JOBS, project, f"running the pipeline {own!r}")
        function = next((step.name for step in computed.plan.steps if step.HasField("python_function")), None)
        if function is not None:
            check_right(caller, RUN_FUNCTIONS, project, f"the Python function of step {function!r}")
        if computed.WhichOneof("computation") == "plan" and len(computed.plan.outputs) != 1:
            raise InvalidFeatureView("spec.computed.plan.outputs", f"has {len(computed.plan.outputs)} steps; a view has the rows of one")
        explanation = self._pipelines.explain(project, _job_of(computed, own))
        output = explanation.plan.outputs[0]
        step = next(step for step in explanation.steps if step.step == output)
        columns = SourceColumns("the computation", {column.name: column.type for column in step.columns})
        return FoundSource(columns, own, _pipeline_of(computed, own, output))


def _job_of(computed: pb.ComputedSource, dataset: str) -> job_pb.JobSpec:
    job = job_pb.JobSpec(engine=computed.engine, outputs=[job_pb.JobOutput(dataset=dataset)])
    for given in computed.inputs:
        job.inputs.add(name=given.name, dataset=given.dataset)
    if computed.WhichOneof("computation") == "plan":
        job.plan.CopyFrom(computed.plan)
    else:
        job.sql = computed.sql
    return job


def _pipeline_of(computed: pb.ComputedSource, dataset: str, output: str) -> pipeline_pb2.PipelineSpec:
    """The pipeline of a view as data processing keeps it, with its defaults, so that equal ones are equal."""
    pipeline = pipeline_pb2.PipelineSpec(
        inputs=computed.inputs,
        outputs=[pipeline_pb2.PipelineOutput(step=output, dataset=dataset)],
        keys=computed.keys,
        engine=computed.engine or job_pb.ENGINE_LOCAL,
        max_attempts=_ATTEMPTS,
    )
    if computed.HasField("resources"):
        pipeline.resources.CopyFrom(computed.resources)
    if computed.WhichOneof("computation") == "plan":
        pipeline.plan.CopyFrom(computed.plan)
    else:
        pipeline.sql = computed.sql
    return pipeline
