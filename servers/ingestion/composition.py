"""Puts the data ingestion server together."""

from __future__ import annotations

import uuid

from mlops.ingestion.v1.ingestion_service_pb2_grpc import add_DataIngestionServiceServicer_to_server

from servers.ingestion import deleting, ingesting
from servers.ingestion.catalogue import DatasetCatalogue
from servers.ingestion.data_process import DataProcesses, DataProcessSettings
from servers.ingestion.data_process.allowed_sources import AllowedSources
from servers.ingestion.data_process.table_root import TableRoot
from servers.ingestion.deleting import Deleting
from servers.ingestion.ingesting import Ingesting
from servers.ingestion.servicer import IngestionServicer
from servers.ingestion.settings import IngestionSettings
from servers.ingestion.store import Datasets, Ingestions, open_store
from servers.ingestion.validating import Validating
from servers.runtime.component import database_dependency
from servers.runtime.server import Registration, Server, build_server
from servers.runtime.work import TaskTable, Workers, WorkSettings

# Beside ingestions: looks at datasets, each short.
_PROCESSES_FOR_CALLS = 2


def build(settings: IngestionSettings) -> Server:
    """Builds the server; it does not listen yet, and works on ingestions already.

    Raises:
        ValueError: The URL of the database, or that of the tables, cannot be read.
    """
    engine = open_store(settings)
    ingestions, datasets = Ingestions(engine), Datasets(engine)
    tasks = TaskTable(engine, on_end=ingestions.end)
    tables_url = settings.tables_url or (settings.data_dir / "tables").as_uri()
    processes = DataProcesses(
        DataProcessSettings(
            tables_url=tables_url,
            allowed_sources=settings.allowed_sources,
            s3_endpoint=settings.s3_endpoint,
            scratch_folder=settings.data_dir / "ingestion" / "scratch",
            max_file_bytes=settings.max_file_bytes,
            memory_bytes=settings.process_memory_bytes,
            idle_s=settings.idle_process_s,
            most_processes=settings.concurrent_ingestions + _PROCESSES_FOR_CALLS,
            most_rejected_rows=settings.most_rejected_rows,
        )
    )
    ingests = Ingesting(engine, tasks, ingestions, datasets, processes)
    deletes = Deleting(engine, tasks, ingestions, datasets, processes, lambda: str(uuid.uuid4()))
    workers = Workers(tasks, owner=str(uuid.uuid4()), settings=WorkSettings(threads=settings.concurrent_ingestions))
    workers.register(ingesting.KIND, ingests.work)
    workers.register(deleting.KIND, deletes.work)
    workers.start()
    servicer = IngestionServicer(
        ingests,
        DatasetCatalogue(engine, datasets, processes),
        deletes,
        Validating(datasets, processes),
        AllowedSources(settings.allowed_sources),
        TableRoot.parsed(tables_url).url,
    )
    return build_server(
        settings,
        [Registration(add_DataIngestionServiceServicer_to_server, servicer)],
        component=settings.component,
        dependencies=[database_dependency(engine)],
        database=engine,
        on_close=[processes.close, workers.stop],
    )
