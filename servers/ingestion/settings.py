"""Settings of the data ingestion server."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from servers.ingestion.subscriptions.clusters import KafkaClusters
from servers.runtime.settings import ServerSettings


class IngestionSettings(ServerSettings):
    """Settings of data ingestion; beside `ServerSettings`."""

    # What is wrong with a secret is told without it.
    model_config = SettingsConfigDict(hide_input_in_errors=True)

    component: ClassVar[str] = "ingestion"

    listen: str = "127.0.0.1:9105"

    tables_url: str = ""
    """Where datasets lie: `file:///folder` or `s3://bucket/prefix?endpoint=…`. Empty = `tables` in the data directory."""

    allowed_sources: tuple[str, ...] = ()
    """Where sources may lie that a request names by URI, as a JSON list of `file:///folder` and `s3://bucket/prefix`. Empty = nowhere."""

    s3_endpoint: str = ""
    """`http(s)://host:port` of the S3 that `s3://` sources are in. Empty = AWS. Credentials come from the environment,
    as AWS tools have it."""

    max_file_bytes: int = Field(default=64 * 1024**3, ge=1)
    """Largest file that is read from elsewhere or uploaded, in bytes, as it lies there: compressed files count as they are."""

    max_decompressed_bytes: int = Field(default=64 * 1024**3, ge=1)
    """What a compressed file may inflate to, in bytes."""

    upload_expiry_s: float = Field(default=86400, ge=60)
    """How long an upload is kept after its last piece, in seconds, where no ingestion needs it."""

    upload_sweep_interval_s: float = Field(default=60.0, gt=0)
    """Pause between two looks for uploads and ended ingestions whose time is over, in seconds."""

    history_retention_s: float = Field(default=90 * 86400.0, ge=60)
    """How long an ingestion is kept after its end, with its report, in seconds. What it wrote stays."""

    concurrent_waits: int = Field(default=8, ge=1, le=512)
    """Calls that wait for the end of an ingestion or a deletion at the same time, at most a quarter of `worker_threads`: each takes one of
    these meanwhile. Further ones are answered at once, with how things stand."""

    max_uploads: int = Field(default=100, ge=1)
    """Most uploads that a project has at the same time."""

    max_upload_bytes: int = Field(default=1024**4, ge=1)
    """Most bytes that these may have in all."""

    concurrent_uploads: int = Field(default=8, ge=1, le=512)
    """Uploads whose bytes come in at the same time, at most a quarter of `worker_threads`: each takes one of these until it ends."""

    max_waiting_ingestions: int = Field(default=1000, ge=1)
    """Most ingestions of a project that have not ended. Further ones are refused until some have; rows that come all the time belong into a
    stream or a subscription, which join them."""

    concurrent_ingestions: int = Field(default=2, ge=1, le=64)
    """Ingestions that are worked on at the same time, each in a process of its own."""

    idle_process_s: float = Field(default=60.0, ge=0)
    """How long a process without work is kept, in seconds: starting one takes about a second."""

    process_memory_bytes: int = Field(default=0, ge=0)
    """Memory that such a process may reserve, in bytes; 0 = any, and less than 1 GiB is too little. An ingestion that needs more fails
    alone."""

    concurrent_streams: int = Field(default=8, ge=1, le=512)
    """Streams of rows that are open at the same time, at most half of `worker_threads`: each takes one of these until it ends."""

    concurrent_stream_commits: int = Field(default=2, ge=1, le=64)
    """Commits of streams at the same time, each in a process."""

    stream_idle_s: float = Field(default=240.0, gt=0)
    """How long a stream may be silent before it ends, in seconds. Shorter than the gateway's time limit for silent transfers."""

    stream_lifetime_s: float = Field(default=900.0, gt=0)
    """How long a stream may last, in seconds: then its sender has to open it again, with a token that is still good."""

    stream_waiting_bytes: int = Field(default=16 * 1024**2, ge=1)
    """Bytes of batches that wait while a commit of their stream runs; they are the next commit together. The sender is slowed down then."""

    stream_waiting_batches: int = Field(default=1000, ge=1, le=10_000)
    """The same as a number of batches."""

    stream_small_files: int = Field(default=200, ge=2)
    """Files below 32 MiB that a dataset may have before a stream into it joins them, after it has acknowledged what it wrote."""

    stream_batch_rows: int = Field(default=1_000_000, ge=1)
    """Most rows of a batch of a stream."""

    kafka_clusters: KafkaClusters = Field(default_factory=dict)
    """Kafkas that subscriptions may name, as JSON: `{"main": {"bootstrap.servers": "kafka:9092", "security.protocol": "SASL_SSL", …}}`,
    with librdkafka's properties. Requests only name one, so none leads elsewhere, and no secret is in one."""

    concurrent_subscriptions: int = Field(default=4, ge=1, le=64)
    """Subscriptions that are read at the same time, each in a process of its own. Further ones wait, and say so."""

    subscription_batch_rows: int = Field(default=50_000, ge=1, le=1_000_000)
    """Most messages that a subscription writes in one commit."""

    subscription_batch_bytes: int = Field(default=32 * 1024**2, ge=1)
    """The same in bytes; the message that exceeds it is the last one."""

    subscription_compact_after: int = Field(default=100, ge=1)
    """After how many of its commits a subscription joins small files of its dataset."""

    kafka_patience_s: float = Field(default=10.0, gt=0)
    """How long a Kafka may be unreachable before a subscription gives its process back and tries again later, in seconds."""

    subscription_longest_retry_s: float = Field(default=60.0, gt=0)
    """Longest pause before that, in seconds; it grows with each failure in a row."""

    subscription_lease_s: float = Field(default=15.0, ge=1)
    """After how long another server takes over the subscriptions of one that died, in seconds."""

    registry_address: str = ""
    """gRPC target of the registry server, which knows what models were trained on. Empty = nobody is told which ones a change of columns
    touches."""

    consumers_timeout_s: float = Field(default=5.0, gt=0, le=60)
    """Longest time to ask another server what uses a dataset, in seconds."""

    most_rejected_rows: int = Field(default=100, ge=0, le=1000)
    """Rejected rows that an ingestion tells of; all are counted."""
