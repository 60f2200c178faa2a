"""The work of one attempt at a training set: the job, the leak report, and whether on-demand features are the same online."""

from __future__ import annotations

from functools import partial

from mlops.features.v1 import feature_job_service_pb2 as pb
from mlops.processing.v1 import processing_job_pb2 as job_pb
from sqlalchemy import Connection, Engine

from servers.features.data_process import FeatureProcesses
from servers.features.jobs.computations import Computations, request_id_of
from servers.features.jobs.leak_output import view_leaks
from servers.features.jobs.records import Failure, NewTrainingSet, TrainingSetResult
from servers.features.jobs.working import Succeed
from servers.features.peers.ingestion_peer import IngestionPeer
from servers.features.peers.processing_peer import ProcessingPeer
from servers.features.store.training_sets import TrainingSets
from servers.runtime.peer_calls import Check
from servers.runtime.work import Run
from sql_engine import write


class TrainingSetAttempts:
    """Attempts at training sets. The job is the same for all attempts at one; what follows it only reads.

    Args:
        engine: The component's database.
        training_sets: What is known of training sets.
        ingestion: Has the datasets.
        processing: Makes them.
        computations: Waits for that.
        processes: Compute on-demand features again.
    """

    def __init__(
        self,
        engine: Engine,
        training_sets: TrainingSets,
        ingestion: IngestionPeer,
        processing: ProcessingPeer,
        computations: Computations,
        processes: FeatureProcesses,
    ) -> None:
        self._engine = engine
        self._training_sets = training_sets
        self._ingestion = ingestion
        self._processing = processing
        self._computations = computations
        self._processes = processes

    def perform(self, run: Run, check: Check) -> Succeed:
        """See `Attempt`."""
        work, job_id = self._training_sets.work_of(run.task_id)
        if not job_id:
            job_id = self._begun(work, check)
            write(self._engine, lambda connection: self._training_sets.record_job(connection, work.id, job_id))
        written = {each.dataset: each for each in self._computations.succeeded(work.project, job_id, check).outputs}
        training_set = written[work.spec.dataset]
        result = TrainingSetResult(
            dataset_version=training_set.version,
            row_count=training_set.row_count,
            leak_report=self._leak_report(work, written, check),
            on_demand_replay=self._replay(work, training_set, check),
        )
        return lambda connection: self._training_sets.record_result(connection, work.id, result)

    def give_up(self, job_id: str) -> None:
        """See `Attempt`."""
        work, processing_job_id = self._training_sets.work_of(job_id)
        if processing_job_id:
            self._computations.cancel(work.project, processing_job_id)

    def record_failure(self, connection: Connection, job_id: str, failure: Failure) -> None:
        """See `Attempt`."""
        self._training_sets.record_failure(connection, job_id, failure)

    def _begun(self, work: NewTrainingSet, check: Check) -> str:
        name, request_id, labels = f"training set {work.spec.dataset}", request_id_of(work.id, "job"), {"training_set": work.id}
        begin = partial(self._processing.create_job, work.project, work.job, name, request_id, labels)
        return self._computations.begun(work.project, begin, check)

    def _leak_report(self, work: NewTrainingSet, written: dict[str, job_pb.OutputResult], check: Check) -> tuple[pb.ViewLeaks, ...]:
        name = work.reading.leaks_dataset
        if not name:
            return ()
        return tuple(view_leaks(work.reading.reported, self._ingestion.preview(work.project, name, written[name].version, check)))

    def _replay(self, work: NewTrainingSet, output: job_pb.OutputResult, check: Check) -> tuple[pb.OnDemandReplay, ...]:
        reading = work.reading
        if not reading.on_demand:
            return ()
        dataset = self._ingestion.dataset(work.project, output.dataset, output.version, check)
        arguments = {
            "uri": dataset.uri,
            "version": dataset.version,
            "columns": reading.replayed,
            "request_inputs": reading.request_inputs,
            "on_demand": reading.on_demand,
        }
        found = self._processes.run("replay", arguments, check=check)
        return tuple(
            pb.OnDemandReplay(feature=name, rows=found["rows"], different_rows=found["different"][name]) for name, _, _ in reading.on_demand
        )
