"""What data processes are told once, when they start."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class DataProcessSettings:
    """Settings of data processes; those of the ingestion server, as plain data."""

    tables_url: str
    """Where tables are: `file:///folder` or `s3://bucket/prefix`, the latter with an optional `?endpoint=http://host:port`."""

    scratch_folder: Path
    """For downloads and for deliveries while they are written, on a disk with room for them. Made where it does not exist. Several servers
    may share it."""

    uploads_url: str = ""
    """Where uploads are, as `blob_store.open_store` takes it: `file:///folder` or `s3://bucket/prefix?endpoint=…`. Empty = nowhere."""

    allowed_sources: tuple[str, ...] = ()
    """Where sources may lie that a request names: `file:///folder` and `s3://bucket/prefix`. Empty = nowhere."""

    s3_endpoint: str = ""
    """`http(s)://host:port` of the S3 that `s3://` sources are in. Empty = AWS."""

    max_file_bytes: int = 64 * 1024**3
    """Largest source that is named by a request, in bytes."""

    max_decompressed_bytes: int = 64 * 1024**3
    """What a compressed file may inflate to, in bytes."""

    memory_bytes: int = 0
    """Memory that a process may take for itself (RLIMIT_DATA); 0 = any."""

    idle_s: float = 60.0
    """How long a process without work is kept, in seconds."""

    most_processes: int = 4
    """Most processes at a time; further operations wait."""

    most_rejected_rows: int = 100
    """Rejected rows that an ingestion tells of; all are counted."""

    def for_process(self, scratch_folder: Path) -> dict[str, Any]:
        """Returns what a process has to know, ready for JSON.

        Args:
            scratch_folder: Of this process alone.
        """
        return {
            "tables_url": self.tables_url,
            "scratch_folder": str(scratch_folder),
            "uploads_url": self.uploads_url,
            "allowed_sources": list(self.allowed_sources),
            "s3_endpoint": self.s3_endpoint,
            "max_file_bytes": self.max_file_bytes,
            "max_decompressed_bytes": self.max_decompressed_bytes,
            "memory_bytes": self.memory_bytes,
            "most_rejected_rows": self.most_rejected_rows,
        }
