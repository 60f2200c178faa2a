"""Settings of the feature store."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, SecretStr

from servers.runtime.settings import ServerSettings


class FeaturesSettings(ServerSettings):
    """Settings of features; beside `ServerSettings`."""

    component: ClassVar[str] = "features"

    listen: str = "127.0.0.1:9107"

    ingestion_address: str = ""
    """gRPC target of the ingestion server, which has the datasets. Empty = nothing can be defined, pushed offline or materialised."""

    processing_address: str = ""
    """gRPC target of the processing server, which computes views and training sets. Empty = neither can be."""

    registry_address: str = ""
    """gRPC target of the model registry, which knows what was trained on training sets. Empty = the lineage ends there."""

    s3_endpoint: str = ""
    """`http(s)://host:port` of the S3 that datasets are in, as ingestion's `tables_url` has it. Empty = AWS. Credentials and region come
    from the environment, as AWS tools have it."""

    online_url: SecretStr = SecretStr("")
    """The online store: `lmdb:///folder`, `redis://host:port/0`, `rediss://…` or `postgresql://…`. Empty = LMDB in `features/online` in the
    data directory. Several servers share Redis or PostgreSQL, or an LMDB on one machine."""

    online_max_bytes: int = Field(default=16 * 1024**3, ge=1 << 20)
    """How large an online store in LMDB may become, in bytes."""

    online_timeout_s: float = Field(default=2.0, gt=0, le=60)
    """Longest wait for an answer of Redis or PostgreSQL, in seconds."""

    max_served_rows: int = Field(default=1000, ge=1, le=100_000)
    """Most rows of one call of ServeFeatures."""

    max_pushed_rows: int = Field(default=10_000, ge=1, le=1_000_000)
    """Most rows of one push."""

    max_future_s: float = Field(default=300.0, ge=0)
    """By how much an event time may be in the future: it would win against all that comes until then. Clocks differ a little."""

    definitions_age_s: float = Field(default=1.0, ge=0, le=60)
    """How old definitions may be that features are served by, in seconds: for so long a change made in another process is not noticed."""

    concurrent_jobs: int = Field(default=2, ge=1, le=64)
    """Training sets, and materialisations, that a server works on at the same time. Rows are read and written in processes of their own."""

    job_memory_bytes: int = Field(default=2 * 1024**3, ge=256 * 1024**2)
    """Memory that a process which reads rows may take for itself, in bytes."""

    idle_process_s: float = Field(default=60.0, ge=0)
    """How long a process that reads rows is kept without work, in seconds: starting one takes about a second."""

    job_timeout_s: float = Field(default=6 * 3600.0, ge=1)
    """Longest time of an attempt at a training set or a materialisation, in seconds."""

    retention_s: float = Field(default=30 * 86_400.0, ge=60)
    """How long training sets that failed, and materialisations, are kept after their end, in seconds. Training sets that succeeded stay:
    models refer to them."""

    peer_patience_s: float = Field(default=60.0, ge=0)
    """How long a job waits for a server that does not answer before its attempt fails, in seconds."""

    lease_s: float = Field(default=15.0, ge=1)
    """After how long another server takes over the jobs of one that died, in seconds."""
