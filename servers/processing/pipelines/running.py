"""The work on a run or a check of a pipeline, where it is other than that on a job."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from google.protobuf.struct_pb2 import Struct
from grpc import StatusCode
from mlops.processing.v1.processing_job_pb2 import CheckResult, DifferentRow
from sqlalchemy import Connection

from servers.processing.ingestion_peer import IngestionPeer, PinnedDataset
from servers.processing.jobs.job_log import JobLog
from servers.processing.pipelines.quality import MOST_RUNS, breach_of, quality_of_profile
from servers.processing.pipelines.records import (
    AlertState,
    Checkpoint,
    InputOrigin,
    OutputOrigin,
    OutputQuality,
    QualityAlert,
    RunMode,
    RunOutcome,
    WorkOfRun,
)
from servers.processing.pipelines.specs import keys_of
from servers.processing.records import Job, OutputState
from servers.processing.store.jobs import Attempt
from servers.processing.store.output_quality import QualityStore
from servers.processing.store.pipeline_runs import PipelineRuns
from servers.processing.store.pipelines import Pipelines
from servers.runtime.errors import DomainError
from servers.runtime.peer_calls import Check

NOTHING = "NOTHING"
"""How an output is written that stays as it is."""

_OVERWRITE = "OVERWRITE"
# These rows are added to those that somebody else may have written meanwhile; the others take their place.
_ADDED = ("APPEND", "UPSERT")


class Perform(Protocol):
    """Has a process do an operation of a job."""

    def __call__(self, operation: str, **more: Any) -> Mapping[str, Any]:
        """Returns what it found.

        Args:
            operation: Its name.
            more: Arguments beside those of `compute`.
        """


@dataclass(frozen=True)
class PipelineStores:
    """What is kept of pipelines.

    Args:
        pipelines: What they do.
        runs: What jobs are for them.
        quality: What is known of their outputs.
        clock: The time now.
    """

    pipelines: Pipelines
    runs: PipelineRuns
    quality: QualityStore
    clock: Callable[[], datetime]


class PipelineAttempt:
    """One attempt at a run or a check.

    Args:
        work: What is to be done.
        job: The job.
        attempt: The right to.
        stores: What is kept.
        peer: Has the datasets.
        log: Of the job.
        check: Raises where the job is to end.
    """

    def __init__(
        self, work: WorkOfRun, job: Job, attempt: Attempt, stores: PipelineStores, peer: IngestionPeer, log: JobLog, check: Check
    ) -> None:
        self._work = work
        self._request = work.request
        self._job = job
        self._attempt = attempt
        self._stores = stores
        self._peer = peer
        self._log = log
        self._check = check
        self._outcome = work.outcome

    @property
    def is_check(self) -> bool:
        """Whether it compares, and writes nothing."""
        return self._request.is_check

    def files(self, states: tuple[OutputState, ...], inputs: Mapping[str, PinnedDataset], perform: Perform) -> Mapping[str, Any]:
        """Computes what is to be written.

        Args:
            states: How far the outputs are.
            inputs: By their names.
            perform: Has a process do an operation.

        Returns:
            Of each step `rows`, `file`, and how they are written: `writing`, `keys`, `base_version`.
        """
        there = {state.step: self._found(state.dataset) for state in states if not state.is_computed}
        base = self._request.base
        answer: Mapping[str, Any] = {"full_reason": "the pipeline has not run before"}
        if base is not None:
            reason = self._full_reason(base, states, inputs, there)
            answer = {"full_reason": reason} if reason else self._increment(base, states, inputs, there, perform)
        reason = answer["full_reason"]
        if reason:
            self._log.say(f"everything is computed: {reason}")
            self._keep(RunOutcome(RunMode.FULL, reason, made_at=_made_at(inputs)))
            made: Mapping[str, Any] = perform("compute")["outputs"]
            return {step: {**each, "writing": _OVERWRITE} for step, each in made.items()}
        outcome = RunOutcome(RunMode.INCREMENTAL, "", answer["changed_rows"], answer["touched_keys"], _made_at(inputs))
        self._log.say(f"only what changed is computed: {outcome.changed_rows} rows of inputs changed, of {outcome.touched_keys} keys")
        self._keep(outcome)
        return {
            step: {**each, "base_version": found.version if (found := there.get(step)) else None}
            for step, each in answer["outputs"].items()
        }

    def compare(self, perform: Perform) -> None:
        """Computes everything and compares it."""
        base = self._request.base
        if base is None:
            raise ValueError("a check has a checkpoint")
        there = {}
        for output in self._job.spec.outputs:
            # Whoever asked for the check made sure that there are versions.
            dataset = self._peer.dataset(self._job.project, output.dataset, base.outputs[output.dataset].version)
            there[output.step] = {"dataset": dataset.name, "uri": dataset.uri, "version": dataset.version}
        found = perform("compare", there=there, relative_tolerance=self._request.relative_tolerance)
        is_equal = not found["missing"] and not found["extra"]
        result = CheckResult(
            is_equal=is_equal,
            missing_row_count=found["missing"],
            extra_row_count=found["extra"],
            rows=[DifferentRow(dataset=row["dataset"], is_extra=row["is_extra"], values=_struct(row["values"])) for row in found["rows"]],
        )
        self._stores.runs.record_check(self._attempt, result)
        self._log.say(
            "the outputs are what a full run gives"
            if is_equal
            else f"the outputs are not what a full run gives: {found['missing']} rows are missing, and {found['extra']} are extra",
            "INFO" if is_equal else "WARNING",
        )

    def ending(self, states: tuple[OutputState, ...], left_s: float) -> Callable[[Connection], None]:
        """Finds out what is kept of a run that wrote its outputs, and returns what keeps it in the transaction in which it ends.

        Args:
            states: What became of the outputs.
            left_s: Time that is left, in seconds.
        """
        if self.is_check:
            return lambda _connection: None
        checkpoint = self._checkpoint(states)
        quality = [found for state in states if (found := self._quality(state, left_s)) is not None]

        def keep(connection: Connection) -> None:
            self._stores.pipelines.keep_checkpoint(connection, self._work.pipeline_id, checkpoint)
            self._keep_quality(connection, quality)

        return keep

    def _full_reason(
        self,
        base: Checkpoint,
        states: tuple[OutputState, ...],
        inputs: Mapping[str, PinnedDataset],
        there: Mapping[str, PinnedDataset | None],
    ) -> str:
        """Why everything has to be computed, as far as that is known without looking at rows; empty where nothing is."""
        if self._request.mode is RunMode.FULL:
            return "it was asked for"
        if base.computation != self._request.computation:
            return (
                f"version {self._work.version} of the pipeline computes something else than version {base.pipeline_version}, which ran last"
            )
        if self._request.full_only_reason:
            return self._request.full_only_reason
        for name, dataset in inputs.items():
            if base.inputs[name].made_at != dataset.made_at:
                return f"dataset {dataset.name!r} of input {name!r} was deleted and made anew"
        for state in states:
            left = base.outputs[state.dataset]
            if left.version is None:
                return f"somebody else wrote into dataset {state.dataset!r} while the last run did"
            if state.is_computed:
                continue
            found = there[state.step]
            if found is None:
                return f"dataset {state.dataset!r} of an output was deleted"
            if found.made_at != left.made_at:
                return f"dataset {state.dataset!r} of an output was deleted and made anew"
        return ""

    def _increment(
        self,
        base: Checkpoint,
        states: tuple[OutputState, ...],
        inputs: Mapping[str, PinnedDataset],
        there: Mapping[str, PinnedDataset | None],
        perform: Perform,
    ) -> Mapping[str, Any]:
        # An output that is written already is computed again for its rows that are not used; it is as it was before.
        old_outputs = {}
        for state in states:
            left = base.outputs[state.dataset].version
            found = there.get(state.step) or self._peer.dataset(self._job.project, state.dataset, left)
            old_outputs[state.step] = {"uri": found.uri, "base_version": left, "version": found.version}
        old_versions = {name: base.inputs[name].version for name in inputs}
        is_same = all(inputs[name].version == version for name, version in old_versions.items())
        if is_same and all(each["base_version"] == each["version"] for each in old_outputs.values()):
            unchanged = {state.step: {"writing": NOTHING, "rows": 0} for state in states}
            return {"full_reason": "", "outputs": unchanged, "changed_rows": 0, "touched_keys": 0}
        keys = keys_of(self._request.key_columns, self._request.input_keys)
        return perform("increment", keys=keys, old_versions=old_versions, old_outputs=old_outputs)

    def _checkpoint(self, states: tuple[OutputState, ...]) -> Checkpoint:
        return Checkpoint(
            pipeline_version=self._work.version,
            computation=self._request.computation,
            inputs={
                each.name: InputOrigin(each.dataset, each.version, self._outcome.made_at.get(each.name, ""))
                for each in self._job.spec.inputs
            },
            outputs={state.dataset: self._left(state) for state in states},
        )

    def _left(self, state: OutputState) -> OutputOrigin:
        """An output as the run leaves it."""
        version = state.base_version if state.mode == NOTHING else state.version
        if state.mode in _ADDED and version is not None and (state.base_version is None or version != state.base_version + 1):
            self._log.say(f"somebody else wrote into dataset {state.dataset}: the next run computes everything", "WARNING")
            version = None
        if version is None:
            return OutputOrigin(None, "")
        try:
            return OutputOrigin(version, self._peer.patient_dataset(self._job.project, state.dataset, version, self._check).made_at)
        except DomainError as error:
            if error.code is not StatusCode.NOT_FOUND:
                raise
            return OutputOrigin(None, "")

    def _quality(self, state: OutputState, left_s: float) -> OutputQuality | None:
        if state.version is None:
            return None
        try:
            profile = self._peer.profile(self._job.project, state.dataset, state.version, left_s, self._check)
        except DomainError as error:
            # The rows are written; that nobody can say what they are like is no reason to compute them again.
            self._log.say(f"there are no statistics of dataset {state.dataset}: {error.reason}: {error.message}", "WARNING")
            return None
        return quality_of_profile(self._job.id, profile, self._stores.clock())

    def _keep_quality(self, connection: Connection, quality: list[OutputQuality]) -> None:
        pipeline_id, store = self._work.pipeline_id, self._stores.quality
        found = self._stores.pipelines.newest_spec(connection, pipeline_id)
        if found is None:
            return
        project, name, spec = found
        opened = store.open_rules(connection, pipeline_id)
        for each in quality:
            before = store.last(connection, pipeline_id, each.dataset, MOST_RUNS)
            store.add(connection, pipeline_id, each)
            for rule in spec.quality_rules:
                if rule.dataset != each.dataset:
                    continue
                breach = breach_of(rule, each, before)
                if breach is None:
                    store.resolve(connection, pipeline_id, {rule.name} & opened, each.create_time)
                elif rule.name not in opened:
                    alert = QualityAlert(
                        id=str(uuid.uuid4()),
                        pipeline=name,
                        rule=rule.name,
                        job_id=each.job_id,
                        dataset=each.dataset,
                        version=each.version,
                        value=breach.value,
                        message=breach.message,
                        state=AlertState.OPEN,
                        create_time=each.create_time,
                    )
                    store.raise_alert(connection, project, pipeline_id, alert)

    def _found(self, dataset: str) -> PinnedDataset | None:
        try:
            return self._peer.patient_dataset(self._job.project, dataset, None, self._check)
        except DomainError as error:
            if error.code is not StatusCode.NOT_FOUND:
                raise
            return None

    def _keep(self, outcome: RunOutcome) -> None:
        self._stores.runs.record_outcome(self._attempt, outcome)
        self._outcome = outcome


def _made_at(inputs: Mapping[str, PinnedDataset]) -> dict[str, str]:
    return {name: dataset.made_at for name, dataset in inputs.items()}


def _struct(values: Mapping[str, Any]) -> Struct:
    found = Struct()
    found.update(values)
    return found
