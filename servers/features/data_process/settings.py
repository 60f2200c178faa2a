"""What data processes are told once, when they start."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class FeatureProcessSettings:
    """Settings of data processes; those of the features server, as plain data.

    Args:
        scratch_folder: For temporary files. Made where it does not exist. Several servers may share it.
        online_url: Of the online store, with its credentials; a process is told it through a pipe.
        online_max_bytes: How large an online store in LMDB may become.
        online_timeout_s: Longest wait for an answer of Redis or PostgreSQL, in seconds.
        s3_endpoint: `http(s)://host:port` of the S3 that datasets are in. Empty = AWS.
        memory_bytes: Memory that a process may take for itself (RLIMIT_DATA); 0 = any.
        idle_s: How long a process without work is kept, in seconds.
        most_processes: Most processes at a time; further operations wait.
    """

    scratch_folder: Path
    online_url: str = field(repr=False)
    online_max_bytes: int = 16 << 30
    online_timeout_s: float = 2.0
    s3_endpoint: str = ""
    memory_bytes: int = 0
    idle_s: float = 60.0
    most_processes: int = 2

    def for_process(self, scratch_folder: Path) -> dict[str, Any]:
        """Returns what a process has to know, ready for JSON."""
        return {
            "scratch_folder": str(scratch_folder),
            "online_url": self.online_url,
            "online_max_bytes": self.online_max_bytes,
            "online_timeout_s": self.online_timeout_s,
            "s3_endpoint": self.s3_endpoint,
            "memory_bytes": self.memory_bytes,
        }
