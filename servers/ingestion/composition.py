"""Puts the data ingestion server together."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

import grpc
from mlops.ingestion.v1.ingestion_service_pb2_grpc import add_DataIngestionServiceServicer_to_server
from mlops.ingestion.v1.profile_service_pb2_grpc import add_DatasetProfileServiceServicer_to_server
from mlops.ingestion.v1.quarantine_service_pb2_grpc import add_QuarantineServiceServicer_to_server
from mlops.ingestion.v1.schema_service_pb2_grpc import add_DatasetSchemaServiceServicer_to_server
from mlops.ingestion.v1.stream_service_pb2_grpc import add_DataStreamServiceServicer_to_server
from mlops.ingestion.v1.subscription_service_pb2_grpc import add_SubscriptionServiceServicer_to_server
from mlops.ingestion.v1.upload_service_pb2_grpc import add_DataUploadServiceServicer_to_server
from sqlalchemy import Connection, Engine

from blob_store import BlobStore
from blob_store import open_store as open_blobs
from servers.ingestion import deleting, ingesting
from servers.ingestion.catalogue import DatasetCatalogue
from servers.ingestion.data_process import DataProcesses, DataProcessSettings
from servers.ingestion.data_process.allowed_sources import AllowedSources
from servers.ingestion.data_process.table_root import TableRoot
from servers.ingestion.deleting import Deleting
from servers.ingestion.ingesting import Ingesting
from servers.ingestion.profiles import tasks as profile_tasks
from servers.ingestion.profiles.background import Sketching
from servers.ingestion.profiles.profiling import Profiling
from servers.ingestion.profiles.servicer import ProfileServicer
from servers.ingestion.quarantine.quarantine import Quarantine
from servers.ingestion.quarantine.servicer import QuarantineServicer
from servers.ingestion.request_sources import RequestSources
from servers.ingestion.schemas.foreseeing import Foreseeing
from servers.ingestion.schemas.registered_models import REGISTRY_SERVICE, RegisteredModels
from servers.ingestion.schemas.schemas import DatasetSchemas
from servers.ingestion.schemas.servicer import SchemaServicer
from servers.ingestion.servicer import IngestionServicer
from servers.ingestion.settings import IngestionSettings
from servers.ingestion.store import Datasets, Ingestions, Subscriptions, Uploads, open_store
from servers.ingestion.store.ingestions import PURGE_BATCH
from servers.ingestion.streams.committing import Committing
from servers.ingestion.streams.right_to_write import RightsToWrite
from servers.ingestion.streams.servicer import StreamServicer
from servers.ingestion.streams.writing import RowStreams, StreamLimits
from servers.ingestion.subscriptions import tasks as subscription_tasks
from servers.ingestion.subscriptions.servicer import SubscriptionServicer
from servers.ingestion.subscriptions.subscribing import Subscribing
from servers.ingestion.subscriptions.working import Consuming, ConsumingLimits
from servers.ingestion.uploads.place import uploads_url
from servers.ingestion.uploads.servicer import UploadServicer
from servers.ingestion.uploads.uploading import Uploading, UploadLimits
from servers.ingestion.validating import Validating
from servers.ingestion.waiting import WaitingCalls
from servers.runtime.background import Repeated
from servers.runtime.component import Dependency, database_dependency
from servers.runtime.peers import open_channel
from servers.runtime.server import Registration, Server, build_server
from servers.runtime.service_identity import ServiceCredentials
from servers.runtime.work import Handler, Task, TaskTable, Workers, WorkSettings

# Beside ingestions: looks at datasets, each short.
_PROCESSES_FOR_CALLS = 2
_SKETCHERS = 1


def build(settings: IngestionSettings, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> Server:
    """Builds the server; it does not listen yet, and works on ingestions already.

    Args:
        settings: Where it keeps what, and what it may take.
        clock: The time by which uploads expire and ended ingestions are forgotten.

    Raises:
        ValueError: The URL of the database, of the tables or of the blob store cannot be read.
    """
    engine = open_store(settings)
    ingestions = Ingestions(engine)
    subscriptions = Subscriptions(engine, settings.most_rejected_rows)

    def on_end(connection: Connection, task: Task) -> None:
        ingestions.end(connection, task)
        subscriptions.end(connection, task)

    tasks = TaskTable(engine, on_end=on_end)
    tables_url = settings.tables_url or (settings.data_dir / "tables").as_uri()
    blobs = open_blobs(uploads_url(settings.blob_url))
    processes = _data_processes(settings, tables_url)
    sketching = Sketching(tasks, processes, _new_id)
    datasets = Datasets(engine, on_new_version=sketching.enqueue)
    uploads = Uploads(engine)
    uploading = _uploading(settings, engine, uploads, blobs, clock)
    sweeper = Repeated("upload-sweeper", uploading.sweep, settings.upload_sweep_interval_s)
    sweeper.start()
    purger = _purger(settings, ingestions, clock)
    purger.start()
    waiting = WaitingCalls(max(1, min(settings.concurrent_waits, settings.worker_threads // 4)))
    ingests = Ingesting(engine, tasks, ingestions, datasets, processes, uploads, waiting, settings.max_waiting_ingestions)
    deletes = Deleting(engine, tasks, ingestions, datasets, processes, _new_id, subscriptions.active_into)
    workers = _started(
        tasks, {ingesting.KIND: ingests.work, deleting.KIND: deletes.work}, WorkSettings(threads=settings.concurrent_ingestions)
    )
    # Of their own, so that they never keep an ingestion waiting.
    sketchers = _started(tasks, {profile_tasks.KIND: sketching.work}, WorkSettings(threads=_SKETCHERS))
    consuming = _consuming(settings, engine, tasks, subscriptions, datasets, processes)
    # They last for ever, so they have workers of their own, and give their tasks back at once.
    consumers = _started(
        tasks,
        {subscription_tasks.KIND: consuming.work},
        WorkSettings(threads=settings.concurrent_subscriptions, lease_s=settings.subscription_lease_s, grace_s=0),
    )
    subscribing = Subscribing(engine, tasks, subscriptions, processes, settings.kafka_clusters, _new_id, waiting)
    rights = RightsToWrite(engine, tasks)
    rights.start()
    streams = _row_streams(settings, engine, datasets, processes, rights)
    validating, sources = Validating(datasets, processes), RequestSources(AllowedSources(settings.allowed_sources), uploading)
    registry, close_registry = _registry(settings)
    users_of_data = [RegisteredModels(registry, settings.consumers_timeout_s)]
    foreseeing = Foreseeing(processes, TableRoot.parsed(tables_url).url, users_of_data, clock)
    schemas = SchemaServicer(DatasetSchemas(datasets, processes, ingests, foreseeing), ingests)
    servicer = IngestionServicer(
        ingests,
        DatasetCatalogue(engine, datasets, processes),
        deletes,
        validating,
        sources,
        foreseeing,
        TableRoot.parsed(tables_url).url,
        waiting,
    )
    profiles = ProfileServicer(Profiling(datasets, processes), ingests, validating, sources)
    return build_server(
        settings,
        [
            Registration(add_DataIngestionServiceServicer_to_server, servicer),
            Registration(add_QuarantineServiceServicer_to_server, QuarantineServicer(Quarantine(datasets, ingests, processes), ingests)),
            Registration(add_DatasetProfileServiceServicer_to_server, profiles),
            Registration(add_DataStreamServiceServicer_to_server, StreamServicer(streams)),
            Registration(add_SubscriptionServiceServicer_to_server, SubscriptionServicer(subscribing)),
            Registration(add_DatasetSchemaServiceServicer_to_server, schemas),
            Registration(add_DataUploadServiceServicer_to_server, UploadServicer(uploading)),
        ],
        component=settings.component,
        dependencies=[database_dependency(engine), Dependency("uploads", blobs.check, is_required=False)],
        database=engine,
        on_close=[
            processes.close,
            workers.stop,
            sketchers.stop,
            rights.close,
            sweeper.close,
            purger.close,
            *close_registry,
            consumers.stop,
            consuming.stop,
        ],
    )


def _new_id() -> str:
    return str(uuid.uuid4())


def _data_processes(settings: IngestionSettings, tables_url: str) -> DataProcesses:
    return DataProcesses(
        DataProcessSettings(
            tables_url=tables_url,
            uploads_url=uploads_url(settings.blob_url),
            allowed_sources=settings.allowed_sources,
            s3_endpoint=settings.s3_endpoint,
            scratch_folder=settings.data_dir / "ingestion" / "scratch",
            max_file_bytes=settings.max_file_bytes,
            max_decompressed_bytes=settings.max_decompressed_bytes,
            memory_bytes=settings.process_memory_bytes,
            idle_s=settings.idle_process_s,
            most_processes=_PROCESSES_FOR_CALLS
            + _SKETCHERS
            + settings.concurrent_ingestions
            + settings.concurrent_stream_commits
            + settings.concurrent_subscriptions,
            most_rejected_rows=settings.most_rejected_rows,
        )
    )


def _started(tasks: TaskTable, works: Mapping[str, Handler], settings: WorkSettings) -> Workers:
    """Workers of their own for some kinds of tasks."""
    workers = Workers(tasks, owner=_new_id(), settings=settings)
    for kind, work in works.items():
        workers.register(kind, work)
    workers.start()
    return workers


def _registry(settings: IngestionSettings) -> tuple[grpc.Channel | None, list[Callable[[], None]]]:
    """Returns a channel to the registry, where its address is known, and what closes it."""
    if not settings.registry_address:
        return None, []
    identity = ServiceCredentials.from_settings(settings)
    # Somebody waits for an answer that can also be given without the registry.
    channel = open_channel(settings.registry_address, identity=identity, settings=settings, services=[REGISTRY_SERVICE], patience_s=0)
    return channel, [channel.close, identity.close]


def _purger(settings: IngestionSettings, ingestions: Ingestions, clock: Callable[[], datetime]) -> Repeated:
    def purge() -> None:
        if ingestions.purge(clock() - timedelta(seconds=settings.history_retention_s)) == PURGE_BATCH:
            # There are more.
            purger.wake()

    purger = Repeated("ingestion-purger", purge, settings.upload_sweep_interval_s)
    return purger


def _uploading(settings: IngestionSettings, engine: Engine, uploads: Uploads, blobs: BlobStore, clock: Callable[[], datetime]) -> Uploading:
    limits = UploadLimits(
        file_bytes=settings.max_file_bytes,
        count=settings.max_uploads,
        total_bytes=settings.max_upload_bytes,
        senders=max(1, min(settings.concurrent_uploads, settings.worker_threads // 4)),
        kept=timedelta(seconds=settings.upload_expiry_s),
    )
    return Uploading(engine, uploads, blobs, limits, clock)


def _consuming(
    settings: IngestionSettings,
    engine: Engine,
    tasks: TaskTable,
    subscriptions: Subscriptions,
    datasets: Datasets,
    processes: DataProcesses,
) -> Consuming:
    limits = ConsumingLimits(
        most_rows=settings.subscription_batch_rows,
        most_bytes=settings.subscription_batch_bytes,
        commits_between_compactions=settings.subscription_compact_after,
        patience_s=settings.kafka_patience_s,
        longest_retry_s=settings.subscription_longest_retry_s,
    )
    return Consuming(engine, tasks, subscriptions, datasets, processes, settings.kafka_clusters, limits, random.random)


def _row_streams(
    settings: IngestionSettings, engine: Engine, datasets: Datasets, processes: DataProcesses, rights: RightsToWrite
) -> RowStreams:
    committing = Committing(
        engine,
        datasets,
        processes,
        most_commits=settings.concurrent_stream_commits,
        most_rows=settings.stream_batch_rows,
        most_small_files=settings.stream_small_files,
    )
    limits = StreamLimits(
        streams=max(1, min(settings.concurrent_streams, settings.worker_threads // 2)),
        idle_s=settings.stream_idle_s,
        lifetime_s=settings.stream_lifetime_s,
        waiting_bytes=settings.stream_waiting_bytes,
        waiting_batches=settings.stream_waiting_batches,
    )
    return RowStreams(committing, rights, processes.scratch_folder, limits)
