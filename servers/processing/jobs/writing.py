"""Outputs into datasets, each exactly once.

The rows of an output are an upload before anything is written, and the upload's id is kept. The ingestion of it has a request id made of
the job and the output, and its id is kept before anything else happens. Whatever is repeated after a crash finds one of the two.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlops.common.v1 import job_pb2
from mlops.ingestion.v1 import ingestion_pb2
from mlops.processing.v1.processing_job_pb2 import JobOutput

from servers.processing.errors import JobTimedOut, OutputStopped
from servers.processing.ingestion_peer import IngestionPeer
from servers.processing.jobs.job_log import JobLog
from servers.processing.pipelines.running import NOTHING
from servers.processing.records import Job, OutputState
from servers.processing.store import Attempt, Jobs
from servers.runtime.data_process.errors import OperationFailed
from servers.runtime.errors import DomainError, Unavailable
from servers.runtime.peer_calls import Check, error_of_status, wait
from servers.runtime.work import Cancelled

_NAMESPACE = uuid.UUID("6e8ff8cf-6b3d-49a5-9d39-7f1f4c8d9a11")
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 1.0
_STOP_PATIENCE_S = 5.0
_GATE_PATIENCE_S = 600.0
"""How long rows are looked at before any is written; what takes longer is found when it is."""
_ENDED = (job_pb2.JOB_STATE_SUCCEEDED, job_pb2.JOB_STATE_FAILED, job_pb2.JOB_STATE_CANCELLED)
# Whoever got this does not know yet whether an ingestion has the rows.
_TAKEN_OR_GONE = frozenset({"UPLOAD_NOT_FOUND", "UPLOAD_IN_USE", "REQUEST_ID_REUSED"})
_PASSING = frozenset({"UNAVAILABLE", "ABORTED"})


class OutputsGone(Unavailable):
    """Rows that were computed are no longer there, and not written either."""

    reason = "JOB_OUTPUT_GONE"


class OutputWriter:
    """Writes the outputs of a job.

    Args:
        peer: Has the datasets.
        jobs: Where it is kept how far outputs are.
        attempt: The right to.
        job: The job.
        log: Its log.
        check: Raises where the job is to end.
    """

    def __init__(self, peer: IngestionPeer, jobs: Jobs, attempt: Attempt, job: Job, log: JobLog, check: Check) -> None:
        self._peer = peer
        self._jobs = jobs
        self._attempt = attempt
        self._job = job
        self._log = log
        self._check = check
        self._states = list(job.outputs)

    @property
    def states(self) -> tuple[OutputState, ...]:
        """How far the outputs are."""
        return tuple(self._states)

    @property
    def written(self) -> int:
        """How many outputs are written."""
        return sum(state.is_written for state in self._states)

    def has_all_rows(self) -> bool:
        """Whether nothing has to be computed any more."""
        return all(state.is_computed for state in self._states)

    def send(self, files: Mapping[str, Any]) -> None:
        """Takes the rows of all outputs to where they outlive this server.

        Args:
            files: Of each step `rows` and `file`; where it is not written as the job says, `writing` and `keys`, and the `base_version` to
                which the rows were computed.
        """
        for index, state in enumerate(self._states):
            if state.is_computed:
                continue
            made = files[state.step]
            base = {"base_version": made.get("base_version")}
            if made.get("writing") == NOTHING:
                self._keep(index, mode=NOTHING, is_written=True, **base)
                self._log.say(f"output {state.step}: dataset {state.dataset} stays as it is")
                continue
            upload_id = self._peer.upload(self._job.project, Path(made["file"]), self._name(index), self._check)
            mode, keys = made.get("writing", ""), tuple(made.get("keys", ()))
            self._keep(index, upload_id=upload_id, row_count=made["rows"], mode=mode, keys=keys, **base)

    def write(self, on_written: Callable[[], None]) -> None:
        """Writes one output after the other.

        Args:
            on_written: Called after each.

        Raises:
            OutputsGone: Rows are neither where they were sent nor written.
            OutputStopped: Somebody cancelled the ingestion of one.
            OperationFailed: An output is refused.
        """
        for index, state in enumerate(self._states):
            if not state.is_written:
                self._write(index)
                on_written()

    def check_gates(self) -> None:
        """Finds out whether one of several outputs will be refused, before the first is written.

        Raises:
            OperationFailed: One is.
        """
        if len(self._states) == 1:
            return
        for index, state in enumerate(self._states):
            output = _output(self._job.spec.outputs[index], state) if state.upload_id and not state.ingestion_id else None
            if output is None or not output.HasField("gate"):
                continue
            error = self._peer.foresee_upload(self._job.project, output, state.upload_id, _GATE_PATIENCE_S, self._check)
            if error is not None:
                facts = {**error.metadata, "step": state.step, "dataset": state.dataset}
                raise OperationFailed(error.code.name, error.reason, error.message, metadata=facts)

    def forget_uploads(self) -> None:
        """Lets go of rows that nobody writes any more."""
        for state in self._states:
            if state.upload_id and not state.ingestion_id:
                self._peer.forget(self._job.project, state.upload_id)

    def _write(self, index: int) -> None:
        output = _output(self._job.spec.outputs[index], self._states[index])
        if not self._states[index].ingestion_id:
            self._check()
            self._keep(index, ingestion_id=self._begun(index, output))
        ingestion_id = self._states[index].ingestion_id
        try:
            ended = self._ended(ingestion_id)
        except (Cancelled, JobTimedOut):
            self._stop(index, ingestion_id)
            raise
        self._take_over(index, ended)

    def _begun(self, index: int, output: JobOutput) -> str:
        try:
            return self._asked_for(index, output, self._check)
        except (Cancelled, JobTimedOut):
            # The call goes on without this thread; by its request id the ingestion is known that it begins.
            with suppress(DomainError):
                ingestion_id = self._asked_for(index, output, _Patience(_STOP_PATIENCE_S).check)
                self._keep(index, ingestion_id=ingestion_id)
                self._stop(index, ingestion_id)
            raise

    def _asked_for(self, index: int, output: JobOutput, check: Check) -> str:
        """Asks for the ingestion of an output, and returns its id; for the same one, however often."""
        state = self._states[index]
        request_id = str(uuid.uuid5(_NAMESPACE, f"{self._job.id}/{output.dataset}/{state.round}"))
        try:
            return self._peer.ingest(self._job.project, output, state.upload_id, request_id, check)
        except DomainError as error:
            if error.reason not in _TAKEN_OR_GONE:
                raise
            found = self._peer.find(self._job.project, output.dataset, self._name(index), self._job.create_time, check)
            if found:
                return found
            self._let_go()
            raise OutputsGone(f"the rows of step {state.step!r} are no longer there ({error.reason})") from error

    def _let_go(self) -> None:
        """Has all rows sent again of which nobody knows that they are taken: what is gone of one is mostly gone of all."""
        self.forget_uploads()
        for index, state in enumerate(self._states):
            if state.upload_id and not state.ingestion_id:
                self._keep(index, upload_id="")

    def _ended(self, ingestion_id: str) -> ingestion_pb2.Ingestion:
        pause_s = _FIRST_PAUSE_S
        while True:
            found = self._peer.ingestion(self._job.project, ingestion_id, self._check)
            if found.state in _ENDED:
                return found
            wait(pause_s, self._check)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _take_over(self, index: int, ended: ingestion_pb2.Ingestion) -> None:
        state = self._states[index]
        if ended.state == job_pb2.JOB_STATE_SUCCEEDED:
            self._keep(index, is_written=True, version=ended.version if ended.HasField("version") else None)
            self._log.say(f"output {state.step}: {state.row_count} rows are {_version(ended)} of dataset {state.dataset}")
            return
        if ended.state == job_pb2.JOB_STATE_CANCELLED:
            raise OutputStopped(state.dataset, ended.id)
        error = error_of_status(ended.error, step=state.step, dataset=state.dataset, ingestion_id=ended.id)
        if error.code.name in _PASSING:
            # Its upload went with it, and its request id gives the same ingestion for a day.
            self._keep(index, upload_id="", ingestion_id="", round=state.round + 1)
        raise error

    def _stop(self, index: int, ingestion_id: str) -> None:
        """Has an ingestion stopped that nobody waits for any more, and keeps what it has written after all."""
        end = _Patience(_STOP_PATIENCE_S)
        try:
            self._peer.cancel(self._job.project, ingestion_id)
            found = self._peer.ingestion(self._job.project, ingestion_id, end.check)
            while found.state not in _ENDED:
                wait(_FIRST_PAUSE_S, end.check)
                found = self._peer.ingestion(self._job.project, ingestion_id, end.check)
        except DomainError as error:
            self._log.say(f"the ingestion {ingestion_id} may go on: {error.message}", "WARNING")
            return
        if found.state == job_pb2.JOB_STATE_SUCCEEDED:
            self._take_over(index, found)

    def _keep(self, index: int, **changes: Any) -> None:
        changed = replace(self._states[index], **changes)
        self._jobs.record_output(self._attempt, index, changed)
        self._states[index] = changed

    def _name(self, index: int) -> str:
        return f"job-{self._job.id}-{index}-{self._states[index].round}.parquet"


def _output(output: JobOutput, state: OutputState) -> JobOutput:
    """An output as its rows are written."""
    if not state.mode:
        return output
    found = JobOutput()
    found.CopyFrom(output)
    found.mode = ingestion_pb2.WriteMode.Value(f"WRITE_MODE_{state.mode}")
    found.keys[:] = state.keys
    return found


class _Patience:
    """Raises when some time is over."""

    def __init__(self, patience_s: float) -> None:
        self._end = time.monotonic() + patience_s

    def check(self) -> None:
        if time.monotonic() >= self._end:
            raise Unavailable("it did not stop in time")


def _version(ended: ingestion_pb2.Ingestion) -> str:
    return f"version {ended.version}" if ended.HasField("version") else "no new version"
