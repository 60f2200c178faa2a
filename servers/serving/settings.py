"""Settings of serving."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from servers.runtime.settings import ServerSettings


class ServingSettings(ServerSettings):
    """Settings of the serving server; each also as `MLMESH_SERVING_<FIELD>`."""

    component: ClassVar[str] = "serving"

    listen: str = "127.0.0.1:9104"
    """Address to serve on: `host:port` (port 0 = any free one) or `unix:/absolute/path.sock` (at most 100 bytes of path)."""

    registry_address: str = ""
    """gRPC target of the registry server."""

    resolve_ttl_s: float = Field(default=2.0, ge=0, le=3600)
    """How long the version behind an alias, a stage or the default is remembered, in seconds: a moved alias takes effect within it."""

    resolve_timeout_s: float = Field(default=2.0, gt=0, le=60)
    """Longest time to ask the registry for a version that was never asked for before, in seconds."""

    refresh_timeout_s: float = Field(default=0.5, gt=0, le=60)
    """Longest time to ask the registry again, in seconds; after it the version known so far answers."""

    fetch_timeout_s: float = Field(default=30.0, gt=0, le=3600)
    """Longest time without any byte while a model is fetched from the registry, in seconds."""

    max_loaded_models: int = Field(default=64, ge=1)
    """Versions in memory; the least recently used one makes room for the next."""

    max_loaded_bytes: int = Field(default=4 * 1024**3, ge=1)
    """Size of the files of all versions in memory, in bytes; the least recently used ones make room."""

    max_model_bytes: int = Field(default=2 * 1024**3, ge=1)
    """Largest ONNX model with its external data, in bytes."""

    max_cache_bytes: int = Field(default=16 * 1024**3, ge=1)
    """Disk for files of models, in bytes; the ones fetched first make room. A model in memory does not need its files."""

    load_threads: int = Field(default=2, ge=1, le=64)
    """Versions loaded at the same time; others queue."""

    load_wait_s: float = Field(default=60.0, gt=0, le=3600)
    """Longest time a call waits for its model to be loaded, in seconds."""

    max_load_waiters: int = Field(default=8, ge=1)
    """Calls that wait for loads at the same time. On the gRPC listener each holds one of `worker_threads`, so keep it well below."""

    max_failed_models: int = Field(default=256, ge=1)
    """FAILED versions remembered with their reasons."""

    intra_op_threads: int = Field(default=1, ge=1, le=256)
    """Threads that share one operator of one run. More help large models, and slow small ones down."""

    own_process_bytes: int = Field(default=64 * 1024**2, ge=0)
    """ONNX models of this size or more are loaded in a process of their own, in bytes; 0 = every model. Their loads disturb nobody, their
    crashes reach nobody, and all their memory comes back. A small model would pay 0.1 ms a run and 36 MiB for that."""

    own_process_memory_bytes: int = Field(default=0, ge=0)
    """Memory that such a process may take, in bytes; 0 = any. ONNX Runtime takes twice the size of a model while it loads it."""

    own_process_load_timeout_s: float = Field(default=600.0, gt=0, le=86_400)
    """Longest time such a process may take to load its model, in seconds; then it is killed. Loading gives way to everything else."""

    max_run_s: float = Field(default=300.0, gt=0, le=86_400)
    """Longest run in such a process, in seconds; then it is killed and started again."""

    max_batch_rows: int = Field(default=1024, ge=1)
    """Most rows of predictions that share a run. A single prediction may have more."""

    max_batch_bytes: int = Field(default=16 * 1024**2, ge=1)
    """Most bytes of inputs of predictions that share a run. A single prediction may have more."""

    max_queued_rows: int = Field(default=65_536, ge=1)
    """Most rows that wait for one model; predictions beyond are refused at once."""

    max_queued_calls: int = Field(default=4096, ge=1)
    """Most predictions that wait for one model, likewise."""

    batch_slice_ms: float = Field(default=2.0, ge=0, le=1000)
    """How long predictions are run before requests are read again, in milliseconds. A run that has begun is not interrupted."""

    resolve_threads: int = Field(default=8, ge=1, le=256)
    """Calls that ask the registry for a version at the same time; others queue."""

    max_json_bytes: int = Field(default=8 * 1024**2, ge=1024)
    """Largest JSON body of a prediction, in bytes. As Python objects it takes up to 25 times as much for a moment."""

    max_instances: int = Field(default=100_000, ge=1)
    """Most instances in a JSON body."""

    workers: int = Field(default=2, ge=1, le=64)
    """Processes of `mlmesh up` that predict. One serves as well, and nobody predicts while it is restarted."""

    worker: int = Field(default=1, ge=1)
    """Number of this worker. All predict; the first is asked to manage models, and tells the others."""

    worker_addresses: tuple[str, ...] = ()
    """GRPC targets of the workers 2, 3, …, as JSON. Empty = this one is alone."""

    reload_wait_s: float = Field(default=20.0, ge=0, le=3600)
    """Longest time that a restarted worker loads what it had before it takes predictions, in seconds; the rest loads on demand."""

    @property
    def loaded_file(self) -> Path:
        """File in which this worker notes what it has in memory."""
        return self.data_dir / "serving" / "loaded" / f"{self.worker}.json"

    @property
    def cache_dir(self) -> Path:
        """Folder with fetched files."""
        return self.data_dir / "serving" / "cache"

    @property
    def scratch_dir(self) -> Path:
        """Folder for files of a model while it is loaded; a worker's own, since each empties it when it starts."""
        return self.data_dir / "serving" / "loading" / str(self.worker)
