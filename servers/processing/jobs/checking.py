"""Everything that can be wrong with a job, before it is taken."""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from google.protobuf.struct_pb2 import Struct
from mlops.ingestion.v1 import ingestion_pb2
from mlops.processing.v1 import processing_job_pb2 as job_pb

from servers.processing.engines.capabilities import availability
from servers.processing.engines.errors import EngineNotInstalled
from servers.processing.engines.kinds import EngineKind, EngineSettings
from servers.processing.errors import CheckTookTooLong, DataNotAllowed, FunctionsNotAllowed, InvalidJob
from servers.processing.ingestion_peer import IngestionPeer, PinnedDataset
from servers.processing.job_process.processes import CheckProcesses
from servers.processing.jobs.resources import addresses, filled
from servers.processing.plan.plan_json import plan_to_json
from servers.processing.plan_messages import plan_from_proto
from servers.processing.settings import ProcessingSettings
from servers.runtime.auth import Principal
from servers.runtime.data_process.errors import OperationFailed
from servers.runtime.errors import DomainError

READ = "ingestion.data.read"
WRITE = "ingestion.data.write"
RUN_FUNCTIONS = "processing.functions.run"

_PEER_CALLS = 4
_DEFAULT_ATTEMPTS = 3


@dataclass(frozen=True)
class CheckedJob:
    """A job that can be taken.

    Args:
        spec: With versions and defaults filled in.
        datasets: Inputs by their names.
    """

    spec: job_pb.JobSpec
    datasets: Mapping[str, PinnedDataset]


class Checking:
    """Checks jobs.

    Args:
        peer: Has the datasets.
        processes: Look at plans.
        settings: What jobs may ask for.
    """

    def __init__(self, peer: IngestionPeer, processes: CheckProcesses, settings: ProcessingSettings) -> None:
        self._peer = peer
        self._processes = processes
        self._settings = settings

    def checked(self, spec: job_pb.JobSpec, project: str, caller: Principal, check: Callable[[], None]) -> CheckedJob:
        """Returns a job as it would be taken.

        Args:
            spec: What is asked for.
            project: Where.
            caller: Who asks.
            check: Called now and then.

        Raises:
            DomainError: What is wrong with it.
        """
        self._check_rights(spec, project, caller)
        _check_names(spec)
        found = job_pb.JobSpec()
        found.CopyFrom(spec)
        found.engine = spec.engine or job_pb.ENGINE_LOCAL
        found.max_attempts = spec.max_attempts or _DEFAULT_ATTEMPTS
        found.resources.CopyFrom(filled(spec.resources, self._settings))
        self._check_engine(found)
        datasets = self._pinned(found, project)
        looked_at = self.look("check", found, datasets, check, suites=[each.name for each in found.inputs if each.HasField("expectations")])
        _take_over_outputs(found, looked_at["outputs"])
        self._check_data(found, project, looked_at)
        return CheckedJob(found, datasets)

    def explained(self, spec: job_pb.JobSpec, project: str, caller: Principal, check: Callable[[], None]) -> dict[str, Any]:
        """Says how a job would run, as `job_process.explaining` has it.

        Raises:
            DomainError: What is wrong with it.
        """
        _check_right(caller, READ, project, "reading the inputs")
        _check_names(spec)
        found = job_pb.JobSpec()
        found.CopyFrom(spec)
        return self.look("explain", found, self._pinned(found, project), check)

    def look(
        self, operation: str, spec: job_pb.JobSpec, datasets: Mapping[str, PinnedDataset], check: Callable[[], None], **more: Any
    ) -> dict[str, Any]:
        """Has a process look at a plan.

        Args:
            operation: `check` or `explain`.
            spec: Of the job.
            datasets: Inputs by their names.
            check: Called now and then.
            more: Further arguments.
        """
        end = time.monotonic() + self._settings.check_timeout_s

        def is_wanted() -> None:
            check()
            if time.monotonic() >= end:
                raise CheckTookTooLong(self._settings.check_timeout_s)

        arguments = {**plan_arguments(spec, datasets, self._settings), **more}
        answer: dict[str, Any] = self._processes.run(operation, arguments, check=is_wanted)
        return answer

    def _check_rights(self, spec: job_pb.JobSpec, project: str, caller: Principal) -> None:
        _check_right(caller, READ, project, "reading the inputs")
        _check_right(caller, WRITE, project, "writing the outputs")
        function = next((step.name for step in spec.plan.steps if step.HasField("python_function")), None)
        if function is None:
            return
        if not self._settings.allows_python_functions:
            raise FunctionsNotAllowed(function)
        _check_right(caller, RUN_FUNCTIONS, project, f"the Python function of step {function!r}")

    def _check_engine(self, spec: job_pb.JobSpec) -> None:
        kind = kind_of(spec)
        found = availability(kind, EngineSettings(address=addresses(self._settings)[kind]))
        if not found.is_available:
            raise EngineNotInstalled(f"the engine {kind.value} cannot be used: {found.reason}", metadata={"engine": kind.value})

    def _pinned(self, spec: job_pb.JobSpec, project: str) -> dict[str, PinnedDataset]:
        # Two inputs without a version that are one dataset are the same version, too.
        found: dict[tuple[str, int | None], PinnedDataset] = {}
        pinned = {}
        for each in spec.inputs:
            key = each.dataset, each.version if each.HasField("version") else None
            if key not in found:
                found[key] = self._peer.dataset(project, *key)
            each.version = found[key].version
            pinned[each.name] = found[key]
        return pinned

    def _check_data(self, spec: job_pb.JobSpec, project: str, looked_at: Mapping[str, Any]) -> None:
        def write(output: job_pb.JobOutput, file: str) -> DomainError | None:
            return self._peer.foresee(project, output, base64.b64decode(file))

        def expect(suite: Struct, file: str) -> DomainError | None:
            try:
                self._peer.check_suite(project, suite, base64.b64decode(file))
            except OperationFailed as error:
                return error
            return None

        calls: list[tuple[str, Callable[..., DomainError | None], tuple[Any, str]]] = [
            (f"spec.outputs[{place}]", write, (output, looked["file"]))
            for place, (output, looked) in enumerate(zip(spec.outputs, looked_at["outputs"], strict=True))
        ]
        calls += [
            (f"spec.inputs[{place}].expectations", expect, (each.expectations, looked_at["inputs"][each.name]))
            for place, each in enumerate(spec.inputs)
            if each.HasField("expectations")
        ]
        with ThreadPoolExecutor(min(_PEER_CALLS, len(calls))) as threads:
            answers = [threads.submit(function, *arguments) for _, function, arguments in calls]
            for (field, _, _), answer in zip(calls, answers, strict=True):
                error = answer.result()
                if error is not None:
                    raise _of_field(error, field)


def kind_of(spec: job_pb.JobSpec) -> EngineKind:
    """The engine of a job."""
    return list(EngineKind)[max(0, spec.engine - 1)]


def plan_arguments(spec: job_pb.JobSpec, datasets: Mapping[str, PinnedDataset], settings: ProcessingSettings) -> dict[str, Any]:
    """Returns what a process needs to know of inputs and plan, as `job_process.reading.read_plan` takes it."""
    return {
        "inputs": {name: {"uri": dataset.uri, "version": dataset.version} for name, dataset in datasets.items()},
        "storage": {"endpoint": settings.s3_endpoint, "region": _region()},
        "plan": "" if spec.sql else plan_to_json(plan_from_proto(spec.plan)),
        "sql": spec.sql,
        "outputs": [output.step for output in spec.outputs],
        "limits": {"steps": settings.max_plan_steps, "columns": settings.max_plan_columns},
    }


def _region() -> str:
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or ""


def _check_right(caller: Principal, permission: str, project: str, what: str) -> None:
    if not caller.may(permission, project):
        raise DataNotAllowed(caller.display_name, permission, project, what)


def _check_names(spec: job_pb.JobSpec) -> None:
    _check_unique("spec.inputs", "name", [each.name.lower() for each in spec.inputs], "case does not tell names apart")
    _check_unique("spec.outputs", "dataset", [each.dataset for each in spec.outputs], "unite the rows in the plan, or run two jobs")
    for place, output in enumerate(spec.outputs):
        if output.mode == ingestion_pb2.WRITE_MODE_UPSERT and not output.keys:
            raise InvalidJob(f"spec.outputs[{place}].keys", "UPSERT needs the columns that tell rows apart")


def _check_unique(field: str, what: str, names: Sequence[str], advice: str) -> None:
    for place, name in enumerate(names):
        if name in names[:place]:
            raise InvalidJob(f"{field}[{place}].{what}", f"{name!r} is there twice; {advice}")


def _take_over_outputs(spec: job_pb.JobSpec, looked_at: Sequence[Mapping[str, Any]]) -> None:
    for place, (output, looked) in enumerate(zip(spec.outputs, looked_at, strict=True)):
        output.step = looked["step"]
        output.mode = output.mode or ingestion_pb2.WRITE_MODE_OVERWRITE
        for key in output.keys:
            if key not in looked["columns"]:
                columns = ", ".join(looked["columns"][:50])
                raise InvalidJob(f"spec.outputs[{place}].keys", f"step {output.step!r} has no column {key!r}; it has {columns}")


def _of_field(error: DomainError, field: str) -> DomainError:
    return OperationFailed(error.code.name, error.reason, f"{field}: {error.message}", metadata={**error.metadata, "field": field})
