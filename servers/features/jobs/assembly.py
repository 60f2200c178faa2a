"""Puts training sets and materialisations together."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine

from servers.features.data_process import FeatureProcesses, FeatureProcessSettings
from servers.features.jobs import materializations, training_sets
from servers.features.jobs.computations import Computations
from servers.features.jobs.materialization_attempts import MaterializationAttempts, MaterializeTools
from servers.features.jobs.materializations import Materializing, Schedule
from servers.features.jobs.removing import RemovingVectors
from servers.features.jobs.servicer import FeatureJobServicer
from servers.features.jobs.tidying import Tidying
from servers.features.jobs.training_set_attempts import TrainingSetAttempts
from servers.features.jobs.training_sets import MakingTrainingSets
from servers.features.jobs.working import Attempt, Working
from servers.features.peers.ingestion_peer import IngestionPeer
from servers.features.peers.processing_peer import ProcessingPeer
from servers.features.settings import FeaturesSettings
from servers.features.store.definitions import Definitions
from servers.features.store.materializations import Materializations, OldGenerations
from servers.features.store.online_states import OnlineStates
from servers.features.store.training_sets import TrainingSets
from servers.runtime.background import Repeated
from servers.runtime.work import Task, TaskTable, Workers, WorkSettings

_SCHEDULE_INTERVAL_S = 1.0
_DROP_INTERVAL_S = 10.0
_PURGE_INTERVAL_S = 60.0


@dataclass(frozen=True)
class Surroundings:
    """What the jobs of the feature store work with.

    Args:
        engine: The component's database.
        definitions: Versions of views and services.
        online_states: How the online store stands.
        ingestion: Has the datasets.
        processing: Computes.
    """

    engine: Engine
    definitions: Definitions
    online_states: OnlineStates
    ingestion: IngestionPeer
    processing: ProcessingPeer


class FeatureJobs:
    """The jobs of a server.

    Args:
        around: What they work with.
        settings: How much they may take.
        online_url: Of the online store, with its credentials.
        clock: The time now.
    """

    def __init__(self, around: Surroundings, settings: FeaturesSettings, online_url: str, clock: Callable[[], datetime]) -> None:
        engine = around.engine
        self.training_sets = TrainingSets(engine)
        self.old_generations = OldGenerations(engine)
        kept = Materializations(engine)

        def on_end(connection: Connection, task: Task) -> None:
            self.training_sets.end(connection, task)
            kept.end(connection, task)

        tasks = TaskTable(engine, on_end=on_end)
        computations = Computations(around.processing)
        self.processes = _processes(settings, online_url)
        tools = MaterializeTools(
            engine=engine,
            definitions=around.definitions,
            materializations=kept,
            online_states=around.online_states,
            old_generations=self.old_generations,
            ingestion=around.ingestion,
            processing=around.processing,
            computations=computations,
            processes=self.processes,
            clock=clock,
            max_future=timedelta(seconds=settings.max_future_s),
        )
        attempts: dict[str, Attempt] = {
            materializations.KIND: MaterializationAttempts(tools),
            training_sets.KIND: TrainingSetAttempts(
                engine, self.training_sets, around.ingestion, around.processing, computations, self.processes
            ),
        }
        # Each kind has workers of its own: those of training sets mostly wait, and would keep views from being brought up to date.
        self._workers = [
            _workers(tasks, kind, Working(engine, tasks, attempt, settings.job_timeout_s), settings) for kind, attempt in attempts.items()
        ]
        self.materializing = Materializing(engine, tasks, around.definitions, kept, computations, clock)
        making = MakingTrainingSets(
            engine,
            tasks,
            around.definitions,
            self.training_sets,
            around.ingestion,
            around.processing,
            computations,
            clock,
        )
        self.servicer = FeatureJobServicer(making, self.materializing)
        self.remove_vectors = RemovingVectors(tasks, kept, around.online_states, self.old_generations, self.processes)
        schedule = Schedule(engine, around.definitions, around.online_states, self.materializing, clock)
        tidying = Tidying(kept, self.training_sets, self.old_generations, self.processes, clock, timedelta(seconds=settings.retention_s))
        self._repeated = [
            Repeated("materialize-schedule", schedule.run, _SCHEDULE_INTERVAL_S),
            Repeated("old-generations", tidying.drop_old_generations, _DROP_INTERVAL_S),
            Repeated("feature-job-purge", tidying.purge, _PURGE_INTERVAL_S),
        ]

    def start(self) -> None:
        """Begins to work, on what was left behind too."""
        for workers in self._workers:
            workers.start()
        for repeated in self._repeated:
            repeated.start()

    def close(self) -> None:
        """Gives back what is worked on, and ends the processes."""
        for repeated in self._repeated:
            repeated.close()
        for workers in self._workers:
            workers.stop()
        self.processes.close()


def _processes(settings: FeaturesSettings, online_url: str) -> FeatureProcesses:
    return FeatureProcesses(
        FeatureProcessSettings(
            scratch_folder=settings.data_dir / "features" / "scratch",
            online_url=online_url,
            online_max_bytes=settings.online_max_bytes,
            online_timeout_s=settings.online_timeout_s,
            s3_endpoint=settings.s3_endpoint,
            memory_bytes=settings.job_memory_bytes,
            idle_s=settings.idle_process_s,
            most_processes=settings.concurrent_jobs,
        )
    )


def _workers(tasks: TaskTable, kind: str, working: Working, settings: FeaturesSettings) -> Workers:
    work_settings = WorkSettings(threads=settings.concurrent_jobs, lease_s=settings.lease_s, grace_s=0)
    workers = Workers(tasks, owner=_new_id(), settings=work_settings)
    workers.register(kind, working.work)
    return workers


def _new_id() -> str:
    return str(uuid.uuid4())
