"""What a pipeline does, with defaults filled in, and as jobs have it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from mlops.ingestion.v1 import ingestion_pb2
from mlops.processing.v1 import pipeline_pb2 as pb
from mlops.processing.v1 import processing_job_pb2 as job_pb

from servers.processing.pipelines.errors import InvalidPipeline
from servers.processing.pipelines.records import Checkpoint

_ROW_COUNT = pb.QUALITY_STATISTIC_ROW_COUNT
_OF_ANY_COLUMN = (pb.QUALITY_STATISTIC_NULL_FRACTION, pb.QUALITY_STATISTIC_DISTINCT_COUNT)


def check_parts(spec: pb.PipelineSpec) -> None:
    """Finds what contradicts itself, whatever the datasets are.

    Raises:
        InvalidPipeline: INVALID_ARGUMENT: what it is.
    """
    written = {output.dataset for output in spec.outputs}
    for place, given in enumerate(spec.inputs):
        if given.dataset in written:
            raise InvalidPipeline(
                f"spec.inputs[{place}].dataset",
                f"{given.dataset!r} is also an output, so each run would change what it reads; write another",
            )
        if given.key_columns and len(given.key_columns) != len(spec.keys):
            raise InvalidPipeline(
                f"spec.inputs[{place}].key_columns",
                f"has {len(given.key_columns)} columns for {len(spec.keys)} keys of the pipeline (spec.keys); name one for each, or none",
            )
    names = [rule.name for rule in spec.quality_rules]
    for place, rule in enumerate(spec.quality_rules):
        field = f"spec.quality_rules[{place}]"
        if rule.name in names[:place]:
            raise InvalidPipeline(f"{field}.name", f"{rule.name!r} is there twice; alerts are known by the names of their rules")
        if rule.dataset and rule.dataset not in written:
            raise InvalidPipeline(f"{field}.dataset", f"{rule.dataset!r} is no output; outputs are {', '.join(sorted(written))}")
        if not rule.dataset and len(written) > 1:
            raise InvalidPipeline(f"{field}.dataset", f"name the output that is meant: {', '.join(sorted(written))}")
        if bool(rule.column) == (rule.statistic == _ROW_COUNT):
            raise InvalidPipeline(f"{field}.column", "ROW_COUNT is of no column, and every other statistic of one")
        if rule.HasField("at_least") and rule.HasField("at_most") and rule.at_least > rule.at_most:
            raise InvalidPipeline(f"{field}.at_least", f"{rule.at_least:g} is more than at_most, {rule.at_most:g}; no value meets that")


def check_rules(spec: pb.PipelineSpec, columns: Mapping[str, Mapping[str, bool]]) -> None:
    """Finds rules about columns that outputs do not have.

    Args:
        spec: With defaults filled in.
        columns: Of each step that is written, and whether they are numbers.

    Raises:
        InvalidPipeline: INVALID_ARGUMENT: which.
    """
    steps = {output.dataset: output.step for output in spec.outputs}
    for place, rule in enumerate(spec.quality_rules):
        if rule.statistic == _ROW_COUNT:
            continue
        there, field = columns[steps[rule.dataset]], f"spec.quality_rules[{place}].column"
        if rule.column not in there:
            raise InvalidPipeline(
                field, f"step {steps[rule.dataset]!r} has no column {rule.column!r}; it has {', '.join(list(there)[:50])}"
            )
        if rule.statistic not in _OF_ANY_COLUMN and not there[rule.column]:
            raise InvalidPipeline(field, f"{rule.column!r} is no column of numbers; of others there are NULL_FRACTION and DISTINCT_COUNT")


def filled(spec: pb.PipelineSpec, checked: job_pb.JobSpec) -> pb.PipelineSpec:
    """Returns a specification with its defaults, so that equal ones are equal.

    Args:
        spec: As it was given.
        checked: The job that it would be.
    """
    found = pb.PipelineSpec()
    found.CopyFrom(spec)
    found.engine = checked.engine
    found.max_attempts = checked.max_attempts
    for output, written in zip(found.outputs, checked.outputs, strict=True):
        output.step = written.step
    for rule in found.quality_rules:
        rule.dataset = rule.dataset or found.outputs[0].dataset
    return found


def job_of(spec: pb.PipelineSpec) -> job_pb.JobSpec:
    """Returns the job that computes everything from the newest versions of the inputs."""
    job = job_pb.JobSpec(engine=spec.engine, max_attempts=spec.max_attempts)
    if spec.HasField("resources"):
        job.resources.CopyFrom(spec.resources)
    if spec.WhichOneof("computation") == "plan":
        job.plan.CopyFrom(spec.plan)
    else:
        job.sql = spec.sql
    for given in spec.inputs:
        read = job.inputs.add(name=given.name, dataset=given.dataset)
        if given.HasField("expectations"):
            read.expectations.CopyFrom(given.expectations)
    for output in spec.outputs:
        written = job.outputs.add(step=output.step, dataset=output.dataset, mode=ingestion_pb2.WRITE_MODE_OVERWRITE)
        if output.HasField("gate"):
            written.gate.CopyFrom(output.gate)
    return job


def check_job_of(spec: pb.PipelineSpec, checkpoint: Checkpoint) -> job_pb.JobSpec:
    """Returns the job that computes everything from the versions that the outputs are made of, to compare."""
    job = job_of(spec)
    for read in job.inputs:
        read.version = checkpoint.inputs[read.name].version
        # The run that read it has looked at that.
        read.ClearField("expectations")
    for written in job.outputs:
        written.ClearField("gate")
    return job


def computation_of(spec: pb.PipelineSpec) -> str:
    """Returns a text that is the same for specifications which give the same rows: one changes its rules or its engine, and goes on."""
    same = pb.PipelineSpec()
    same.CopyFrom(spec)
    for field in ("engine", "resources", "max_attempts", "quality_rules"):
        same.ClearField(field)
    for given in same.inputs:
        given.ClearField("expectations")
    for output in same.outputs:
        output.ClearField("gate")
    return hashlib.sha256(same.SerializeToString(deterministic=True)).hexdigest()


def discarding_reason(spec: pb.PipelineSpec) -> str:
    """Returns why a gate keeps runs from replacing the rows of touched keys alone; empty where none does."""
    for output in spec.outputs if spec.keys else ():
        if output.gate.mode == ingestion_pb2.CONTRACT_MODE_DISCARD_ROW:
            return (
                f"the gate of output {output.dataset!r} leaves rows out, and the ones that they replace would stay; "
                "have it fail the run (FREEZE), or filter in the plan"
            )
    return ""


def input_keys(spec: pb.PipelineSpec) -> dict[str, Sequence[str]]:
    """Returns the columns of inputs that have the keys, of those inputs where it is said."""
    return {given.name: list(given.key_columns) for given in spec.inputs if given.key_columns}


def keys_of(columns: Sequence[str], inputs: Mapping[str, Sequence[str]]) -> dict[str, Any] | None:
    """Returns keys as `job_process.incrementing` takes them; None without any."""
    return {"columns": list(columns), "inputs": {name: list(each) for name, each in inputs.items()}} if columns else None
