"""What a processing job is to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from google.protobuf.duration_pb2 import Duration
from mlops.ingestion.v1 import ingestion_pb2
from mlops.processing.v1 import processing_job_pb2

from mlmesh.errors import InvalidArgument
from mlmesh.fields import enum_value
from mlmesh.ingestion_options import ExpectationGate, SchemaContract
from mlmesh.plan import Relation
from mlmesh.plan_messages import plan_message, sources_of
from mlmesh.suites import suite_message


@dataclass(frozen=True)
class JobInput:
    """Where rows come from: one version of a dataset."""

    dataset: str
    """The dataset."""

    version: int | None = None
    """Its version; None = the newest when the job is asked for."""

    expectations: Mapping[str, Any] | Path | str | None = None
    """Expectations that the rows have to meet before anything is computed: a suite as Great Expectations 1.x writes it, or the path of its
    JSON; None = none."""


@dataclass(frozen=True)
class JobOutput:
    """Where rows go: a dataset, which gets a version."""

    rows: Relation | None = None
    """What is written; None = the result of the job's SQL."""

    mode: str = "overwrite"
    """`overwrite`, `append` or `upsert`, which replaces rows that have the same keys."""

    keys: Sequence[str] = ()
    """Columns that tell rows apart; for `upsert`."""

    schema_contract: SchemaContract | None = None
    """What may change of the dataset; None = whatever loses nothing."""

    gate: ExpectationGate | None = None
    """What the rows have to meet before they are written; None = nothing."""


@dataclass(frozen=True, kw_only=True)
class JobResources:
    """What a job may use. Zero is the default of the server, which also has a limit for each."""

    memory_mib: int = 0
    """Memory of all its processes on the server's machine, in MiB."""

    threads: int = 0
    """Threads, or tasks at a time."""

    partitions: int = 0
    """Parts that rows are divided into by their keys, on Ray, Dask and Spark."""

    timeout_s: float = 0.0
    """Longest time that one attempt may run, in seconds."""


Inputs = Mapping[str, str | tuple[str, int] | JobInput]
"""Datasets by the name by which the plan reads them: `"flights"`, `("flights", 3)` for a version, or a `JobInput`."""

Outputs = str | Mapping[str, Relation | JobOutput]
"""Rows by the dataset that they are written to. Of a job with SQL the name of the dataset is enough."""


@dataclass(frozen=True, kw_only=True)
class JobSpec:
    """What a job is to do."""

    inputs: Inputs
    """What is read."""

    outputs: Outputs
    """What is computed and written. All rows are there before the first dataset changes; then one after the other gets its version."""

    sql: str = ""
    """One SELECT over the inputs, as DuckDB reads it, instead of relations."""

    engine: str = "local"
    """What runs it: `local`, `ray`, `dask` or `spark`."""

    resources: JobResources | None = None
    """What it may use; None = the server's default."""

    priority: int = 0
    """Which of the jobs that wait begins first: the highest, and of equal ones the oldest; from -100 to 100."""

    max_attempts: int = 0
    """Attempts, where one fails for a reason that may pass, such as a lost worker; 0 = 3."""

    def message(self) -> processing_job_pb2.JobSpec:
        """Returns the spec as it travels.

        Raises:
            mlmesh.errors.InvalidArgument: It is wrong whatever the mesh has.
        """
        if not isinstance(self.inputs, Mapping):
            raise _wrong(f"inputs are {self.inputs!r}; they have to be datasets by name: {{'flights': 'flights'}}")
        spec = processing_job_pb2.JobSpec(
            inputs=[_input_message(name, given) for name, given in self.inputs.items()],
            engine=enum_value(processing_job_pb2.Engine, self.engine or "unspecified"),
            resources=resources_message(self.resources) if self.resources is not None else None,
            priority=self.priority,
            max_attempts=self.max_attempts,
        )
        outputs = _outputs(self.outputs)
        if self.sql:
            self._add_sql(spec, outputs)
        else:
            self._add_plan(spec, outputs)
        return spec

    def _add_sql(self, spec: processing_job_pb2.JobSpec, outputs: Mapping[str, JobOutput]) -> None:
        if any(output.rows is not None for output in outputs.values()):
            raise _wrong("give either sql or relations as outputs")
        spec.sql = self.sql
        spec.outputs.extend(_output_message(dataset, "", output) for dataset, output in outputs.items())

    def _add_plan(self, spec: processing_job_pb2.JobSpec, outputs: Mapping[str, JobOutput]) -> None:
        relations = [output.rows for output in outputs.values() if output.rows is not None]
        if len(relations) < len(outputs) or not relations:
            raise _wrong("give sql, or a relation for each output: {'late': plan.scan('flights').filter(…)}")
        plan, steps = plan_message(relations)
        for source in sources_of(plan):
            if source not in self.inputs:
                named = ", ".join(map(repr, self.inputs)) or "none"
                raise InvalidArgument(f"the plan scans {source!r}, which is no input; there are {named}", reason="UNKNOWN_INPUT")
        spec.plan.CopyFrom(plan)
        spec.outputs.extend(_output_message(dataset, step, outputs[dataset]) for dataset, step in zip(outputs, steps, strict=True))


def spec_message(spec: JobSpec | Mapping[str, Any]) -> processing_job_pb2.JobSpec:
    """Returns a spec as it travels.

    Args:
        spec: The spec; or the contract's own as JSON has it.

    Raises:
        mlmesh.errors.InvalidArgument: It is wrong whatever the mesh has.
    """
    if isinstance(spec, JobSpec):
        return spec.message()
    if not isinstance(spec, Mapping):
        raise _wrong(f"{spec!r} is no JobSpec, and no mapping that is one as JSON")
    try:
        return json_format.ParseDict(dict(spec), processing_job_pb2.JobSpec())
    except json_format.ParseError as error:
        raise _wrong(f"the spec is none: {error}") from None


def _input_message(name: str, given: str | tuple[str, int] | JobInput) -> processing_job_pb2.JobInput:
    if isinstance(given, str):
        given = JobInput(given)
    elif isinstance(given, tuple) and len(given) == 2:
        given = JobInput(*given)
    if not isinstance(given, JobInput) or not isinstance(given.version, int | None):
        raise _wrong(f"the input {name!r} is {given!r}; it has to be a dataset, such as 'flights', ('flights', 3) or a JobInput")
    return processing_job_pb2.JobInput(
        name=name,
        dataset=given.dataset,
        version=given.version,
        expectations=suite_message(given.expectations) if given.expectations is not None else None,
    )


def _outputs(given: Outputs) -> dict[str, JobOutput]:
    if isinstance(given, str):
        return {given: JobOutput()}
    if not isinstance(given, Mapping):
        raise _wrong(f"outputs are {given!r}; they have to be relations by the dataset that they are written to")
    outputs = {dataset: JobOutput(rows) if isinstance(rows, Relation) else rows for dataset, rows in given.items()}
    for dataset, output in outputs.items():
        if not isinstance(output, JobOutput) or not isinstance(output.rows, Relation | None):
            raise _wrong(f"the output {dataset!r} is {output!r}; it has to be a relation, as mlmesh.plan makes them, or a JobOutput")
    return outputs


def _wrong(message: str) -> InvalidArgument:
    return InvalidArgument(message, reason="INVALID_SPEC")


def _output_message(dataset: str, step: str, output: JobOutput) -> processing_job_pb2.JobOutput:
    return processing_job_pb2.JobOutput(
        step=step,
        dataset=dataset,
        mode=enum_value(ingestion_pb2.WriteMode, output.mode),
        keys=output.keys,
        schema_contract=output.schema_contract.message() if output.schema_contract is not None else None,
        gate=output.gate.message() if output.gate is not None else None,
    )


def resources_message(resources: JobResources) -> processing_job_pb2.JobResources:
    """Returns what a job may use, as it travels."""
    timeout_s = resources.timeout_s
    return processing_job_pb2.JobResources(
        memory_mib=resources.memory_mib,
        threads=resources.threads,
        partitions=resources.partitions,
        timeout=Duration(seconds=int(timeout_s), nanos=int(timeout_s % 1 * 1_000_000_000)) if timeout_s else None,
    )
