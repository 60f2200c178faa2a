"""The work of one attempt at a job: validating, computing, writing."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from mlops.ingestion.v1 import validation_pb2
from sqlalchemy import Connection

from servers.processing.errors import InputNotAsExpected
from servers.processing.ingestion_peer import IngestionPeer, PinnedDataset
from servers.processing.job_process.processes import JobProcess
from servers.processing.jobs.attempt_watch import AttemptWatch
from servers.processing.jobs.checking import kind_of, plan_arguments
from servers.processing.jobs.job_log import JobLog
from servers.processing.jobs.resources import engine_settings
from servers.processing.jobs.writing import OutputsGone, OutputWriter
from servers.processing.pipelines.running import Perform, PipelineAttempt, PipelineStores
from servers.processing.records import Job, Phase
from servers.processing.settings import ProcessingSettings
from servers.processing.store import Attempt, Jobs
from servers.runtime.data_process.scratch import Scratch
from servers.runtime.work import Cancelled, LeaseLost, Run, TaskTable

_TOLD_EVERY_S = 1.0
# As often as rows on their way may get lost with the server that kept them.
_MOST_ROUNDS = 3


@dataclass(frozen=True)
class Tools:
    """What attempts work with.

    Args:
        tasks: Of the component.
        jobs: What is known of jobs.
        peer: Has the datasets.
        scratch: Where processes and files on their way are.
        settings: What jobs may take.
        pipelines: What is kept of pipelines, whose runs and checks are jobs.
    """

    tasks: TaskTable
    jobs: Jobs
    peer: IngestionPeer
    scratch: Scratch
    settings: ProcessingSettings
    pipelines: PipelineStores


class JobAttempt:
    """One attempt at a job.

    Args:
        tools: What it works with.
        attempt: The right to.
        job: The job.
        run: Of its task.
        log: Of the job.
    """

    def __init__(self, tools: Tools, attempt: Attempt, job: Job, run: Run, log: JobLog) -> None:
        self._attempt = attempt
        self._job = job
        self._run = run
        self._log = log
        self._jobs = tools.jobs
        self._peer = tools.peer
        self._scratch = tools.scratch
        self._settings = tools.settings
        resources = job.spec.resources
        self._watch = AttemptWatch(run, tools.tasks, resources.timeout.ToTimedelta().total_seconds(), resources.memory_mib << 20)
        self._writer = OutputWriter(tools.peer, tools.jobs, attempt, job, log, self._watch.check)
        self._progress = replace(job.progress, phase=None)
        self._told_at = 0.0
        work = tools.pipelines.runs.work_of(job.id)
        self._pipeline = None if work is None else PipelineAttempt(work, job, attempt, tools.pipelines, tools.peer, log, self._watch.check)

    def clean_up(self) -> None:
        """Lets go of what nobody needs any more, now that no other attempt follows."""
        self._writer.forget_uploads()

    def perform(self) -> Callable[[Connection], None]:
        """Does it, and returns what keeps more of it in the transaction in which the job ends."""
        if self._pipeline is not None and self._pipeline.is_check:
            self._in_folder(self._pipeline.compare)
        else:
            self._write()
        return (lambda _connection: None) if self._pipeline is None else self._pipeline.ending(self._writer.states, self._watch.left_s)

    def _write(self) -> None:
        writer = self._writer
        for _ in range(_MOST_ROUNDS):
            if not writer.has_all_rows():
                self._validate()
                self._compute()
            self._tell(phase=Phase.WRITING, outputs_written=writer.written)
            if self._pipeline is not None:
                writer.check_gates()
            try:
                writer.write(lambda: self._tell(outputs_written=writer.written))
            except OutputsGone as error:
                self._log.say(f"{error.message}; they are computed again", "WARNING")
                continue
            return
        raise OutputsGone("rows that were computed were gone before they were written, again and again")

    def _validate(self) -> None:
        self._tell(phase=Phase.VALIDATING)
        for place, each in enumerate(self._job.spec.inputs):
            if not each.HasField("expectations") or self._job.inputs[place].validation is not None:
                continue
            dataset = PinnedDataset(each.dataset, each.version, "")
            report = self._peer.validate(self._job.project, dataset, each.expectations, max(1.0, self._watch.left_s), self._watch.check)
            self._jobs.record_report(self._attempt, each.name, report)
            self._log.say(f"input {each.name}: {report.successful_count} of {len(report.results)} expectations are met")
            if report.status == validation_pb2.VALIDATION_STATUS_FAILED:
                failed = [result.type for result in report.results if not result.success]
                raise InputNotAsExpected(each.name, each.dataset, each.version, failed)

    def _compute(self) -> None:
        self._in_folder(lambda perform: self._writer.send(self._files(perform)))

    def _files(self, perform: Perform) -> Mapping[str, Any]:
        if self._pipeline is None:
            made: Mapping[str, Any] = perform("compute")["outputs"]
        else:
            made = self._pipeline.files(self._writer.states, self._datasets(), perform)
        self._tell(rows_computed=sum(each["rows"] for each in made.values()))
        return made

    def _in_folder(self, work: Callable[[Perform], None]) -> None:
        """Has something done whose files are needed no longer than it takes."""
        self._tell(phase=Phase.COMPUTING, rows_computed=0)
        self._log.say("computing")
        folder = self._scratch.new_folder()
        try:
            work(partial(self._performed, folder))
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _datasets(self) -> dict[str, PinnedDataset]:
        return {
            each.name: self._peer.patient_dataset(self._job.project, each.dataset, each.version, self._watch.check)
            for each in self._job.spec.inputs
        }

    def _performed(self, folder: Path, operation: str, **more: Any) -> Mapping[str, Any]:
        """Does an operation in a process, with what all of them need."""
        spill = Path(tempfile.mkdtemp(prefix="spill-", dir=folder))
        kind = kind_of(self._job.spec)
        arguments = {
            **plan_arguments(self._job.spec, self._datasets(), self._settings),
            "engine": kind.value,
            "engine_settings": engine_settings(kind, self._job.spec.resources, self._settings, spill),
            "folder": str(folder),
            "most_output_bytes": self._settings.max_output_bytes,
            **more,
        }
        try:
            answer: Mapping[str, Any] = JobProcess(self._scratch, self._log).run(
                operation, arguments, check=self._watch.check_processes, on_progress=lambda told: self._tell(**told)
            )
        finally:
            self._progress = replace(self._progress, peak_memory_bytes=max(self._progress.peak_memory_bytes, self._watch.peak_bytes))
            self._tell_last()
        return answer

    def _tell(self, **changes: Any) -> None:
        changed = replace(self._progress, **changes, peak_memory_bytes=max(self._progress.peak_memory_bytes, self._watch.peak_bytes))
        is_news = changed.phase != self._progress.phase or changed.outputs_written != self._progress.outputs_written
        self._progress = changed
        if is_news or time.monotonic() - self._told_at >= _TOLD_EVERY_S:
            self._run.progress(changed.to_json())
            self._told_at = time.monotonic()

    def _tell_last(self) -> None:
        """Tells how much memory it was, also where the attempt is about to end."""
        try:
            self._run.progress(self._progress.to_json())
        except (Cancelled, LeaseLost):
            return
