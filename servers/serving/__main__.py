"""Composition root of serving: `python -m servers.serving`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import grpc
from mlops.serving.v1 import serving_service_pb2_grpc
from prometheus_client import CollectorRegistry

from blob_store import LocalBlobStore
from servers.runtime.component import Dependency
from servers.runtime.lane.loop import LoopThread
from servers.runtime.peers import open_channel
from servers.runtime.server import Registration, Server, build_server, run
from servers.runtime.service_identity import ServiceCredentials
from servers.runtime.tokens import TokenVerifier
from servers.serving.artifacts import ArtifactCache
from servers.serving.batch_queue import BatchLimits
from servers.serving.batching import Batcher
from servers.serving.engine import PredictionEngine
from servers.serving.entries import Limits, Loaded
from servers.serving.fleet import FleetServicer
from servers.serving.json_body import BodyParser
from servers.serving.loaded_models import LoadedModels
from servers.serving.loading import OnnxLoader
from servers.serving.metrics import ServingMetrics
from servers.serving.model_process.limits import ProcessLimits
from servers.serving.model_source import ModelChoice, ModelSource, SourceVersion
from servers.serving.onnx_session import release_memory
from servers.serving.open_inference.registrations import open_inference
from servers.serving.other_workers import FIRST_WORKER, OtherWorker, OtherWorkers
from servers.serving.own_process import OwnProcesses
from servers.serving.prediction_ids import new_prediction_id
from servers.serving.registry_peer import REGISTRY_SERVICE, RegistrySource, check_registry
from servers.serving.reloading import LoadedList, Reloading
from servers.serving.resolution import Resolver
from servers.serving.servicer import ServingServicer
from servers.serving.settings import ServingSettings
from servers.serving.statistics import Statistics

if TYPE_CHECKING:
    from sqlalchemy import Engine


def utc_now() -> datetime:
    """The time now."""
    return datetime.now(UTC)


def build(settings: ServingSettings, *, verifier: TokenVerifier | None = None) -> Server:
    """Puts the serving server together.

    Args:
        settings: Its settings.
        verifier: Judges tokens; None = one with the keys of the users server.

    Returns:
        A server to start.

    Raises:
        ValueError: If a setting that names a peer is missing.
    """
    if not settings.registry_address:
        raise ValueError("serving gets its models from the registry: set registry_address (MLMESH_REGISTRY_ADDRESS)")
    identity = ServiceCredentials.from_settings(settings)
    registry = open_channel(settings.registry_address, identity=identity, settings=settings, services=[REGISTRY_SERVICE])
    registry_health = open_channel(settings.registry_address, settings=settings, timeout_s=2)
    exposed = CollectorRegistry(auto_describe=True)
    source = RegistrySource(registry, fetch_timeout_s=settings.fetch_timeout_s)
    resolver = Resolver(
        source, ttl_s=settings.resolve_ttl_s, timeout_s=settings.resolve_timeout_s, refresh_timeout_s=settings.refresh_timeout_s
    )
    loop = LoopThread("serving")
    loaded_list = LoadedList(settings.loaded_file)
    models = _loaded_models(settings, source, exposed, loop, loaded_list)
    bodies = BodyParser(settings.max_json_bytes, settings.max_instances)
    batcher = Batcher(settings.batch_slice_ms / 1000)
    engine = PredictionEngine(resolver, models, batcher, bodies, new_id=new_prediction_id, resolve_threads=settings.resolve_threads)
    channels = _channels_to_others(settings, identity)
    servicer = (
        FleetServicer(engine, resolver, models, _other_workers(channels), load_wait_s=settings.load_wait_s)
        if channels
        else ServingServicer(engine, resolver, models)
    )
    reloading = Reloading(loaded_list, lambda key: models.load(resolver.ask(ModelChoice(*key))), limit_s=settings.reload_wait_s)
    return build_server(
        settings,
        [
            Registration(serving_service_pb2_grpc.add_ModelServingServiceServicer_to_server, servicer),
            *open_inference(engine, resolver, servicer, settings),
        ],
        component="serving",
        database=_database(settings),
        dependencies=[
            Dependency("registry", lambda: check_registry(registry_health), is_required=False),
            Dependency("models", reloading.check),
        ],
        verifier=verifier,
        metrics=exposed,
        loop=loop,
        on_close=[
            identity.close,
            registry.close,
            registry_health.close,
            *(channel.close for channel in channels),
            models.close,
            engine.close,
            loaded_list.close,
            reloading.close,
        ],
    )


def _channels_to_others(settings: ServingSettings, identity: ServiceCredentials) -> list[grpc.Channel]:
    """Channels to the workers 2, 3, …; none but for the first worker, whom the others do not ask back."""
    addresses = settings.worker_addresses if settings.worker == FIRST_WORKER else ()
    # A worker that is away is passed over, so nobody waits for it.
    return [open_channel(address, identity=identity, settings=settings, patience_s=0) for address in addresses]


def _other_workers(channels: list[grpc.Channel]) -> OtherWorkers:
    return OtherWorkers([OtherWorker(number, channel) for number, channel in enumerate(channels, FIRST_WORKER + 1)])


def _database(settings: ServingSettings) -> Engine | None:
    """Where the first worker keeps the audit events of loads and unloads until they are shipped, whatever happens in between.

    The others are asked by the first one only, so theirs would say the same again; and 15 MiB of libraries need not be imported.
    """
    if settings.worker != FIRST_WORKER:
        return None
    from servers.runtime.database import open_database

    return open_database(settings)


def _loaded_models(
    settings: ServingSettings, source: ModelSource, exposed: CollectorRegistry, loop: LoopThread, loaded_list: LoadedList
) -> LoadedModels:
    metrics = ServingMetrics(exposed)
    artifacts = ArtifactCache(
        source,
        LocalBlobStore(settings.cache_dir),
        settings.scratch_dir,
        max_cache_bytes=settings.max_cache_bytes,
        max_model_bytes=settings.max_model_bytes,
    )
    artifacts.clear_scratch()

    def load(version: SourceVersion, reserve: Callable[[int], None]) -> Loaded:
        loaded = onnx_loader(version, reserve)
        loaded_list.add(version.key)
        return loaded

    def unloaded(version: SourceVersion, statistics: Statistics) -> None:
        loaded_list.remove(version.key)
        metrics.forget(version, statistics)
        release_memory()

    batches = BatchLimits(
        max_rows=settings.max_batch_rows,
        max_bytes=settings.max_batch_bytes,
        max_queued_rows=settings.max_queued_rows,
        max_queued_calls=settings.max_queued_calls,
    )
    onnx_loader = OnnxLoader(
        artifacts,
        metrics,
        batches,
        intra_op_threads=settings.intra_op_threads,
        processes=OwnProcesses(loop, _process_limits(settings), settings.own_process_bytes),
    )
    models = LoadedModels(
        load,
        Limits(
            max_models=settings.max_loaded_models,
            max_bytes=settings.max_loaded_bytes,
            max_failed=settings.max_failed_models,
            max_waiting=settings.max_load_waiters,
            load_wait_s=settings.load_wait_s,
        ),
        now=utc_now,
        load_threads=settings.load_threads,
        on_unloaded=unloaded,
    )
    metrics.ready_models.set_function(models.ready_count)
    return models


def _process_limits(settings: ServingSettings) -> ProcessLimits:
    return ProcessLimits(
        load_timeout_s=settings.own_process_load_timeout_s,
        run_timeout_s=settings.max_run_s,
        memory_limit_bytes=settings.own_process_memory_bytes,
    )


if __name__ == "__main__":
    sys.exit(run(lambda: build(ServingSettings())))
