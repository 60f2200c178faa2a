"""What a pipeline is to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from mlops.processing.v1 import pipeline_pb2

from mlmesh.errors import InvalidArgument
from mlmesh.fields import enum_value
from mlmesh.ingestion_options import ExpectationGate
from mlmesh.job_specs import JobInput, JobOutput, JobResources, JobSpec
from mlmesh.plan import Relation


@dataclass(frozen=True)
class PipelineInput:
    """Where the rows of a pipeline come from: the newest version of a dataset when it runs."""

    dataset: str
    """The dataset."""

    key_columns: Sequence[str] = ()
    """Its columns that are the pipeline's keys, in their order; empty = those of the same names. An input that has none of them is read
    whole, and where it changes, everything is computed anew."""

    expectations: Mapping[str, Any] | Path | str | None = None
    """Expectations that the rows have to meet before anything is computed: a suite as Great Expectations 1.x writes it, or the path of its
    JSON; None = none."""


@dataclass(frozen=True)
class PipelineOutput:
    """Where the rows of a pipeline go. The dataset is the pipeline's own."""

    rows: Relation | None = None
    """What is written; None = the result of the pipeline's SQL."""

    gate: ExpectationGate | None = None
    """What the rows that a run writes have to meet before they are written; None = nothing."""


@dataclass(frozen=True, kw_only=True)
class QualityRule:
    """What has to hold of a statistic after each run; where it does not, there is an alert. At least one of the bounds is needed."""

    name: str
    """Its name."""

    statistic: str
    """`row_count`, `null_fraction`, `distinct_count`, `mean`, `standard_deviation`, `minimum` or `maximum`."""

    column: str = ""
    """The column; empty with `row_count` alone."""

    dataset: str = ""
    """Dataset of the output; empty = the only one."""

    at_least: float | None = None
    """Least value."""

    at_most: float | None = None
    """Greatest value."""

    most_relative_change: float | None = None
    """Greatest change against the median of the last 10 runs, as a share of it: 0.2 = by a fifth up or down. Before there are three, it is
    met."""

    def message(self) -> pipeline_pb2.QualityRule:
        """Returns the rule as it travels.

        Raises:
            mlmesh.errors.InvalidArgument: There is no such statistic.
        """
        return pipeline_pb2.QualityRule(
            name=self.name,
            dataset=self.dataset,
            statistic=enum_value(pipeline_pb2.QualityStatistic, self.statistic),
            column=self.column,
            at_least=self.at_least,
            at_most=self.at_most,
            most_relative_change=self.most_relative_change,
        )


@dataclass(frozen=True, kw_only=True)
class PipelineSpec:
    """What a pipeline is to do."""

    inputs: Mapping[str, str | PipelineInput]
    """What is read: datasets by the name by which the plan reads them."""

    outputs: str | Mapping[str, Relation | PipelineOutput]
    """What is computed and written: rows by dataset. With SQL the name of the dataset is enough."""

    sql: str = ""
    """One SELECT over the inputs, as DuckDB reads it, instead of relations."""

    keys: Sequence[str] = ()
    """Columns of every output that say which rows of the inputs a row is made of. With them a run computes the rows of those keys anew
    whose rows have changed. Empty = each run computes everything, unless each row is made of one row and rows were only added."""

    engine: str = "local"
    """What runs it: `local`, `ray`, `dask` or `spark`."""

    resources: JobResources | None = None
    """What a run may use; None = the server's default."""

    max_attempts: int = 0
    """Attempts of a run, where one fails for a reason that may pass; 0 = 3."""

    quality_rules: Sequence[QualityRule] = ()
    """What has to hold of the outputs after each run."""

    def message(self) -> pipeline_pb2.PipelineSpec:
        """Returns the spec as it travels.

        Raises:
            mlmesh.errors.InvalidArgument: It is wrong whatever the mesh has.
        """
        inputs = {name: PipelineInput(given) if isinstance(given, str) else given for name, given in self.inputs.items()}
        job = JobSpec(
            inputs={name: JobInput(given.dataset, expectations=given.expectations) for name, given in inputs.items()},
            outputs=self.outputs if isinstance(self.outputs, str) else {key: _job_output(each) for key, each in self.outputs.items()},
            sql=self.sql,
            engine=self.engine,
            resources=self.resources,
            max_attempts=self.max_attempts,
        ).message()
        spec = pipeline_pb2.PipelineSpec(
            outputs=[
                pipeline_pb2.PipelineOutput(step=each.step, dataset=each.dataset, gate=each.gate if each.HasField("gate") else None)
                for each in job.outputs
            ],
            keys=self.keys,
            engine=job.engine,
            resources=job.resources if job.HasField("resources") else None,
            max_attempts=job.max_attempts,
            quality_rules=[rule.message() for rule in self.quality_rules],
        )
        for given in job.inputs:
            spec.inputs.add(
                name=given.name,
                dataset=given.dataset,
                key_columns=inputs[given.name].key_columns,
                expectations=given.expectations if given.HasField("expectations") else None,
            )
        if self.sql:
            spec.sql = job.sql
        else:
            spec.plan.CopyFrom(job.plan)
        return spec


def pipeline_spec_message(spec: PipelineSpec | Mapping[str, Any]) -> pipeline_pb2.PipelineSpec:
    """Returns a spec as it travels.

    Args:
        spec: The spec; or the contract's own as JSON has it.

    Raises:
        mlmesh.errors.InvalidArgument: It is wrong whatever the mesh has.
    """
    if isinstance(spec, PipelineSpec):
        return spec.message()
    if not isinstance(spec, Mapping):
        raise InvalidArgument(f"{spec!r} is no PipelineSpec, and no mapping that is one as JSON", reason="INVALID_SPEC")
    try:
        return json_format.ParseDict(dict(spec), pipeline_pb2.PipelineSpec())
    except json_format.ParseError as error:
        raise InvalidArgument(f"the spec is none: {error}", reason="INVALID_SPEC") from None


def _job_output(given: Relation | PipelineOutput) -> Relation | JobOutput:
    return JobOutput(given.rows, gate=given.gate) if isinstance(given, PipelineOutput) else given
