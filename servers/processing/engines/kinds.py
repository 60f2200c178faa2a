"""Which engines there are, and what they may take. Imports nothing heavy, so that servers can read it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path


class EngineKind(Enum):
    """What runs the stages of a plan."""

    LOCAL = "LOCAL"
    RAY = "RAY"
    DASK = "DASK"
    SPARK = "SPARK"


@dataclass(frozen=True)
class EngineSettings:
    """What an engine may take.

    The local engine is one task, and uses what is said of one. The others use all of it.

    Args:
        task_memory_bytes: Most memory of one task's DuckDB; what needs more goes to the spill folder. Besides, a task holds some chunks
            of its inputs and outputs.
        task_threads: Threads that compute in one task.
        spill_folder: An existing folder; None for one in the system's folder for temporary files. Spark and Dask also keep inputs in it,
            so with an `address` it has to be the same folder for this process and for all workers.
        spill_bytes: Most bytes that one task may spill.
        partitions: How many partitions rows are hashed to.
        broadcast_bytes: A side of a join that is likely to be no larger is given to every partition, so that the other side stays.
        chunk_bytes: How many bytes are moved in one piece; an input is cut into partitions of this size.
        address: Of a Ray cluster that this machine belongs to (`host:6379`; its token is in RAY_AUTH_TOKEN), a Dask scheduler
            (`tcp://host:8786`) or a Spark master (`spark://host:7077`). Empty: workers are started on this machine, and end with the
            engine.
        connect_timeout_s: How long a cluster may take to answer, in seconds.
        workers: How many are started, if there is no address.
        store_bytes: Memory for rows between tasks, if there is no address: Ray's object store, the heap of Spark's JVM, or of Dask's
            workers together what they hold besides DuckDB. Ray and Dask spill beyond it.
    """

    task_memory_bytes: int = 1 << 30
    task_threads: int = 2
    spill_folder: Path | None = None
    spill_bytes: int = 16 << 30
    partitions: int = 8
    broadcast_bytes: int = 32 << 20
    chunk_bytes: int = 16 << 20
    address: str = ""
    connect_timeout_s: float = 30
    workers: int = 2
    store_bytes: int = 1 << 30
