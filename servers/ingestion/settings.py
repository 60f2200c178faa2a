"""Settings of the data ingestion server."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from servers.runtime.settings import ServerSettings


class IngestionSettings(ServerSettings):
    """Settings of data ingestion; beside `ServerSettings`."""

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
    """Largest file that is read from elsewhere, in bytes."""

    concurrent_ingestions: int = Field(default=2, ge=1, le=64)
    """Ingestions that are worked on at the same time, each in a process of its own."""

    idle_process_s: float = Field(default=60.0, ge=0)
    """How long a process without work is kept, in seconds: starting one takes about a second."""

    process_memory_bytes: int = Field(default=0, ge=0)
    """Memory that such a process may reserve, in bytes; 0 = any, and less than 1 GiB is too little. An ingestion that needs more fails
    alone."""

    most_rejected_rows: int = Field(default=100, ge=0, le=1000)
    """Rejected rows that an ingestion tells of; all are counted."""
