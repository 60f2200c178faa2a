"""What a job may use: what it asks for within the server's settings, and what an engine gets of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlops.processing.v1.processing_job_pb2 import JobResources

from servers.processing.engines.kinds import EngineKind
from servers.processing.errors import JobTooLarge
from servers.processing.settings import ProcessingSettings

_MIB = 1 << 20
_BASE_MIB = 336
"""What a process has with DuckDB, pyarrow and deltalake loaded, and chunks of rows on their way."""
_LEAST_MIB = 96
"""Less than this above it is no memory to work with."""
_WORKER_MIB = 192
"""The same of a worker of a distributed engine."""
_DATABASE_SHARE = 0.6
"""DuckDB's own limit does not count all that it allocates."""
_STORE_SHARE = 0.3
_DATABASE_THREAD_MIB = 96
"""Each thread of DuckDB holds blocks that it cannot spill; with less for each, sorts and joins fail instead of spilling."""


def filled(asked: JobResources, settings: ProcessingSettings) -> JobResources:
    """Returns what a job may use, with defaults filled in.

    Raises:
        JobTooLarge: INVALID_ARGUMENT: more than the settings allow.
    """
    timeout_s = asked.timeout.ToTimedelta().total_seconds()
    threads = asked.threads or settings.default_threads
    found = JobResources(
        memory_mib=_within("memory_mib", asked.memory_mib, settings.default_memory_mib, settings.max_memory_mib),
        threads=_within("threads", threads, settings.default_threads, settings.max_threads),
        partitions=_within("partitions", asked.partitions, min(2 * threads, settings.max_partitions), settings.max_partitions),
    )
    most_s = settings.max_timeout_s
    if timeout_s > most_s:
        raise JobTooLarge("spec.resources.timeout", f"is {timeout_s:g} s; at most {most_s:g} s are allowed (max_timeout_s)")
    found.timeout.FromMilliseconds(int(1000 * (timeout_s or settings.default_timeout_s)))
    if found.memory_mib < _BASE_MIB + _LEAST_MIB:
        raise JobTooLarge("spec.resources.memory_mib", f"is {found.memory_mib}; a job needs at least {_BASE_MIB + _LEAST_MIB} MiB to begin")
    return found


def addresses(settings: ProcessingSettings) -> Mapping[EngineKind, str]:
    """Returns where the clusters of engines are; empty = workers are started here."""
    return {
        EngineKind.LOCAL: "",
        EngineKind.RAY: settings.ray_address,
        EngineKind.DASK: settings.dask_address,
        EngineKind.SPARK: settings.spark_address,
    }


def engine_settings(kind: EngineKind, resources: JobResources, settings: ProcessingSettings, spill_folder: Path) -> dict[str, Any]:
    """Returns what an engine may take, as `EngineSettings` has it: less than the job may, so that it spills before the job is stopped.

    Args:
        kind: Which engine.
        resources: Of the job, filled.
        settings: Of the server.
        spill_folder: Of the job alone.
    """
    usable = (resources.memory_mib - _BASE_MIB) * _MIB
    common = {"spill_folder": str(spill_folder), "partitions": resources.partitions, "address": addresses(settings)[kind]}
    if kind is EngineKind.LOCAL:
        memory_bytes = int(usable * _DATABASE_SHARE)
        return {
            **common,
            "task_memory_bytes": memory_bytes,
            "task_threads": max(min(resources.threads, memory_bytes // (_DATABASE_THREAD_MIB * _MIB)), 1),
            "spill_bytes": settings.max_spill_bytes,
        }
    workers = resources.threads
    left = max(usable - workers * _WORKER_MIB * _MIB, usable // 4)
    return {
        **common,
        "workers": workers,
        "task_threads": 1,
        "task_memory_bytes": max(int(left * _DATABASE_SHARE / workers), 64 * _MIB),
        "store_bytes": max(int(left * _STORE_SHARE), 80 * _MIB),
        "spill_bytes": settings.max_spill_bytes // workers,
    }


def _within(name: str, asked: int, default: int, most: int) -> int:
    if asked > most:
        raise JobTooLarge(f"spec.resources.{name}", f"is {asked}; at most {most} is allowed (max_{name})")
    return asked or default
