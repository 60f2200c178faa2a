"""Settings of the data processing server."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, model_validator

from servers.runtime.settings import ServerSettings


class ProcessingSettings(ServerSettings):
    """Settings of data processing; beside `ServerSettings`."""

    component: ClassVar[str] = "processing"

    listen: str = "127.0.0.1:9106"

    ingestion_address: str = ""
    """gRPC target of the ingestion server, which has the datasets that are read and written. Empty = no job can be taken."""

    s3_endpoint: str = ""
    """`http(s)://host:port` of the S3 that datasets are in, as ingestion's `tables_url` has it. Empty = AWS. Credentials and region come
    from the environment, as AWS tools have it."""

    concurrent_jobs: int = Field(default=2, ge=1, le=64)
    """Jobs that a server runs at the same time, each in a process of its own."""

    check_processes: int = Field(default=1, ge=1, le=16)
    """Processes that look at plans before jobs are taken; further requests wait for one."""

    check_timeout_s: float = Field(default=30.0, gt=0, le=300)
    """Longest time to look at one plan, in seconds."""

    idle_process_s: float = Field(default=60.0, ge=0)
    """How long a process that looks at plans is kept without work, in seconds: starting one takes about a second."""

    default_memory_mib: int = Field(default=1024, ge=432)
    """Memory of a job that asks for none, in MiB."""

    max_memory_mib: int = Field(default=8192, ge=432)
    """Most memory that a job may ask for, in MiB. All jobs that run together may have this, times `concurrent_jobs`."""

    default_threads: int = Field(default=2, ge=1, le=4096)
    """Threads, or tasks at a time, of a job that asks for none."""

    max_threads: int = Field(default=16, ge=1, le=4096)
    """Most threads that a job may ask for."""

    max_partitions: int = Field(default=1024, ge=1, le=100_000)
    """Most partitions that a job may ask for, on RAY, DASK and SPARK."""

    default_timeout_s: float = Field(default=3600.0, ge=1)
    """Longest time of an attempt at a job that asks for none, in seconds."""

    max_timeout_s: float = Field(default=86_400.0, ge=1)
    """Longest time that a job may ask for, in seconds."""

    max_spill_bytes: int = Field(default=64 * 1024**3, ge=0)
    """What a job may spill to disk where its memory does not do, in bytes. It lies in `processing/scratch` in the data directory."""

    max_output_bytes: int = Field(default=64 * 1024**3, ge=1)
    """What the outputs of a job may have on disk until they are written, in bytes of Parquet; in the same folder."""

    max_plan_steps: int = Field(default=2000, ge=1, le=10_000)
    """Most steps of a plan."""

    max_plan_columns: int = Field(default=5000, ge=1, le=100_000)
    """Most columns of one step."""

    allows_python_functions: bool = False
    """Whether plans may have Python functions, from callers with the permission `processing.functions.run`. They can do whatever the
    server's account can do on its machine."""

    ray_address: str = ""
    """Ray cluster for jobs on RAY, `ray://host:10001`. Empty = each job starts workers on the server's machine."""

    dask_address: str = ""
    """Dask scheduler for jobs on DASK, `tcp://host:8786`. Empty = as for Ray."""

    spark_address: str = ""
    """Spark master for jobs on SPARK, `spark://host:7077`. Empty = as for Ray."""

    log_lines: int = Field(default=10_000, ge=1, le=1_000_000)
    """Lines of its log that are kept of a job, each of up to 16 KiB: the newest."""

    concurrent_log_tails: int = Field(default=8, ge=1, le=512)
    """Calls that follow logs at the same time, at most half of `worker_threads`: each takes one of these until it ends."""

    retention_s: float = Field(default=30 * 86_400.0, ge=60)
    """How long a job and its log are kept after its end, in seconds."""

    peer_patience_s: float = Field(default=60.0, ge=0)
    """How long a job waits for an ingestion server that does not answer before its attempt fails, in seconds."""

    lease_s: float = Field(default=15.0, ge=1)
    """After how long another server takes over the jobs of one that died, in seconds."""

    @model_validator(mode="after")
    def _check_defaults(self) -> ProcessingSettings:
        for name in ("memory_mib", "threads", "timeout_s"):
            if getattr(self, f"default_{name}") > getattr(self, f"max_{name}"):
                raise ValueError(f"default_{name} is more than max_{name}")
        return self
