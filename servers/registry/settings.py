"""Settings of the registry server."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from servers.runtime.settings import ServerSettings


class RegistrySettings(ServerSettings):
    """Settings of the model registry; beside `ServerSettings`."""

    component: ClassVar[str] = "registry"

    listen: str = "127.0.0.1:9103"

    max_file_bytes: int = Field(default=64 * 1024**3, ge=1)
    """Largest file of a model that is taken, in bytes."""

    retention_s: float = Field(default=30 * 86400, ge=0)
    """How long what was deleted can be restored, in seconds. CollectGarbage purges it afterwards."""

    upload_expiry_s: float = Field(default=86400, ge=60)
    """How long a broken-off upload can be resumed, and an unreferenced blob is kept by CollectGarbage, in seconds. On S3 it has to be
    longer than `renew_after_s` of the blob URL (900) and the longest save together."""

    trusted_keys: tuple[Path, ...] = ()
    """PEM files of elliptic public keys (P-256, P-384 or P-521) whose signatures of versions VerifyModelVersion counts as valid, as a JSON
    list: `["/etc/mlmesh/release.pem"]`. Read at the start. Empty = none is trusted."""
