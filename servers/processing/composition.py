"""Puts the data processing server together."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import grpc
from mlops.processing.v1.pipeline_service_pb2_grpc import add_PipelineServiceServicer_to_server
from mlops.processing.v1.processing_service_pb2_grpc import add_DataProcessingServiceServicer_to_server
from sqlalchemy import Connection

from servers.processing.ingestion_peer import SERVICES, IngestionPeer
from servers.processing.job_process.leftovers import end_leftovers
from servers.processing.job_process.processes import CheckProcesses, CheckProcessSettings
from servers.processing.jobs import jobs as processing_jobs
from servers.processing.jobs.checking import Checking
from servers.processing.jobs.job_attempt import Tools
from servers.processing.jobs.jobs import Processing
from servers.processing.jobs.status import processing_status
from servers.processing.jobs.tailing import Tailing
from servers.processing.jobs.working import Working
from servers.processing.pipelines.pipelines import PipelineManagement
from servers.processing.pipelines.running import PipelineStores
from servers.processing.pipelines.servicer import PipelineServicer
from servers.processing.servicer import ProcessingServicer
from servers.processing.settings import ProcessingSettings
from servers.processing.store import Jobs, Logs, Standing, open_store
from servers.processing.store.output_quality import QualityStore
from servers.processing.store.pipeline_runs import PipelineRuns
from servers.processing.store.pipelines import Pipelines
from servers.runtime.background import Repeated
from servers.runtime.component import database_dependency
from servers.runtime.data_process.scratch import Scratch
from servers.runtime.peers import open_channel
from servers.runtime.server import Registration, Server, build_server
from servers.runtime.service_identity import ServiceCredentials
from servers.runtime.work import Task, TaskTable, Workers, WorkSettings

_PURGE_INTERVAL_S = 60.0
_PURGED_AT_A_TIME = 100


def build(settings: ProcessingSettings, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> Server:
    """Builds the server; it does not listen yet, and works on jobs already.

    Args:
        settings: Where it keeps what, and what jobs may take.
        clock: The time by which old jobs are forgotten.

    Raises:
        ValueError: The URL of the database cannot be read.
    """
    engine = open_store(settings)
    jobs, logs = Jobs(engine), Logs(engine, settings.log_lines)

    pipelines = Pipelines(engine)
    stores = PipelineStores(pipelines, PipelineRuns(engine), QualityStore(engine), clock)

    def on_end(connection: Connection, task: Task) -> None:
        jobs.end(connection, task)
        pipelines.end_run(connection, task.task_id)

    tasks = TaskTable(engine, on_end=on_end)
    channel, close_channel = _ingestion(settings)
    peer = IngestionPeer(channel, settings.peer_patience_s)
    scratch_folder = settings.data_dir / "processing" / "scratch"
    end_leftovers(scratch_folder)
    scratch = Scratch(scratch_folder)
    processes = CheckProcesses(CheckProcessSettings(scratch_folder, settings.idle_process_s, settings.check_processes))
    checking = Checking(peer, processes, settings)
    processing = Processing(engine, tasks, jobs, checking, clock)
    workers = Workers(
        tasks, owner=str(uuid.uuid4()), settings=WorkSettings(threads=settings.concurrent_jobs, lease_s=settings.lease_s, grace_s=0)
    )
    working = Working(engine, Tools(tasks, jobs, peer, scratch, settings, stores), logs, clock)
    workers.register(processing_jobs.KIND, working.work)
    workers.start()
    standing = Standing(engine)
    purge = Repeated("job-purge", lambda: _purge(jobs, clock() - timedelta(seconds=settings.retention_s)), _PURGE_INTERVAL_S)
    purge.start()
    tailing = Tailing(jobs, logs, max(1, min(settings.concurrent_log_tails, settings.worker_threads // 2)))
    servicer = ProcessingServicer(
        processing, checking, tailing, lambda project, job_id: processing_status(project, job_id, standing, jobs, settings)
    )
    management = PipelineManagement(engine, stores, processing, checking)
    return build_server(
        settings,
        [
            Registration(add_DataProcessingServiceServicer_to_server, servicer),
            Registration(add_PipelineServiceServicer_to_server, PipelineServicer(management)),
        ],
        component=settings.component,
        dependencies=[database_dependency(engine)],
        database=engine,
        # From the last to the first.
        on_close=[scratch.close, *close_channel, processes.close, purge.close, working.wait_until_idle, workers.stop],
    )


def _ingestion(settings: ProcessingSettings) -> tuple[grpc.Channel | None, list[Callable[[], None]]]:
    """Returns a channel to the ingestion server, where its address is known, and what closes it."""
    if not settings.ingestion_address:
        return None, []
    identity = ServiceCredentials.from_settings(settings)
    channel = open_channel(settings.ingestion_address, identity=identity, settings=settings, services=SERVICES)
    return channel, [channel.close, identity.close]


def _purge(jobs: Jobs, before: datetime) -> None:
    while jobs.purge(before, _PURGED_AT_A_TIME) == _PURGED_AT_A_TIME:
        pass
