"""Settings of the users server."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from servers.runtime.settings import ServerSettings

_DESCRIPTORS = Path(__file__).resolve().parents[2] / "gen" / "descriptors" / "mlops.binpb"


class UsersSettings(ServerSettings):
    """Settings of the users server; each is also an environment variable, `MLMESH_USERS_<NAME>`."""

    component: ClassVar[str] = "users"

    listen: str = "127.0.0.1:9101"
    """Address to serve on."""

    worker_threads: int = Field(default=32, ge=4, le=1024)
    """Calls that run at the same time. More than `password_waiting`, so that logins never hold them all."""

    access_token_lifetime_s: int = Field(default=900, ge=30, le=86400)
    """Lifetime of an access token, in seconds."""

    session_lifetime_s: float = Field(default=30 * 86400, ge=60)
    """How long after the password was given a session ends for good, in seconds."""

    refresh_idle_s: float = Field(default=7 * 86400, ge=60)
    """How long a refresh token works, in seconds."""

    password_memory_kib: int = Field(default=19 * 1024, ge=8)
    """Memory of one argon2id hash, in KiB. This and the next two: OWASP's recommendation (ADR 0015); raise them where logins are rare."""

    password_iterations: int = Field(default=2, ge=1)
    """Passes of argon2id over its memory."""

    password_lanes: int = Field(default=1, ge=1)
    """Threads of one argon2id hash."""

    password_parallelism: int = Field(default=2, ge=1)
    """Passwords hashed at the same time. Each takes `password_memory_kib` of memory meanwhile."""

    password_waiting: int = Field(default=16, ge=0)
    """Logins that may wait for their turn to hash; the next one is RESOURCE_EXHAUSTED."""

    password_wait_s: float = Field(default=20.0, gt=0)
    """Longest wait of a login for its turn, in seconds."""

    lockout_free_attempts: int = Field(default=4, ge=0)
    """Wrong passwords in a row without a lock."""

    lockout_first_s: float = Field(default=30.0, gt=0)
    """Lock of the user name after the next wrong one, in seconds; each further one doubles it."""

    lockout_longest_s: float = Field(default=900.0, gt=0)
    """Longest lock, in seconds."""

    lockout_forget_s: float = Field(default=3600.0, gt=0)
    """Wrong passwords older than this no longer count, in seconds."""

    signing_key_period_s: float = Field(default=30 * 86400, ge=60)
    """How long a key signs access tokens, in seconds."""

    signing_key_publish_ahead_s: float = Field(default=900.0, ge=0)
    """How long a new key is published before it signs, in seconds: more than anyone (Envoy: 5 minutes) caches the key set."""

    sealing_key_file: Path | None = None
    """File with the 32 bytes that encrypt signing keys at rest; made where it is missing. Empty = `<data_dir>/secrets/users.kek`.
    Servers that share a database share this file too."""

    audit_checkpoint_file: Path | None = None
    """File that takes signed checkpoints of the audit log. Empty = `<data_dir>/audit-checkpoints.jsonl`. Best on a disk that whoever
    administrates the database cannot write."""

    audit_key_file: Path | None = None
    """File with the Ed25519 seed that signs checkpoints; made where it is missing. Empty = `<data_dir>/secrets/audit.key`."""

    audit_checkpoint_interval_s: float = Field(default=300.0, gt=0)
    """Pause between two checkpoints of the audit log, in seconds."""

    admin_username: str = "admin"
    """Login name of the administrator made on the first start."""

    token_file: Path | None = None
    """File (mode 0600) that takes an API key of that administrator, for the command line of the owner. Empty = `<data_dir>/token`."""

    first_password_file: Path | None = None
    """File (mode 0600) that takes the generated password of that administrator, for whoever shows and removes it.
    Empty = `<data_dir>/secrets/initial-admin-password`."""

    key_exchange_cache_s: float = Field(default=60.0, ge=0, le=600)
    """How long the token made from an API key is used again for calls through the gateway, in seconds. A revoke ends it at once."""

    housekeeping_interval_s: float = Field(default=30.0, gt=0)
    """Pause between two rounds of deleting what has expired and of making signing keys, in seconds."""

    descriptor_file: Path = _DESCRIPTORS
    """Descriptor set of all contracts, which states the permissions."""

    def secret(self, file: Path | None, name: str) -> Path:
        """The file, or its default place among the secrets of the data directory."""
        return file or self.data_dir / "secrets" / name
