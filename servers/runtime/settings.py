"""Settings that every server has.

A value comes from, in this order: the constructor, `MLMESH_<COMPONENT>_<FIELD>`, `MLMESH_<FIELD>`, the default. So one environment
configures a whole mesh, and one more variable makes a component differ.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict


class ServerSettings(BaseSettings):
    """Settings of a server. A component subclasses it, names itself in `component`, and adds its own fields."""

    component: ClassVar[str] = ""
    """Name of the component, lower case. It makes the second environment prefix and the default file names."""

    model_config = SettingsConfigDict(env_prefix="MLMESH_", extra="ignore", frozen=True)

    data_dir: Path = Path(".mlmesh")
    """Folder for everything the server keeps on disk."""

    listen: str = "127.0.0.1:0"
    """Address to serve on: `host:port` (port 0 = any free one) or `unix:/absolute/path.sock` (at most 100 bytes of path)."""

    lane: str = ""
    """Address to serve Envoy on beside `listen`, in a form that costs less: `unix:/absolute/path.sock` or `127.0.0.1:port`. Plain text, so
    it never leaves the machine. Empty = none."""

    database_url: str = ""
    """URL of the mesh's database; each component has its own schema, database or file in it. Empty = `sqlite:///<data_dir>/mesh.db`,
    which becomes the file `mesh-<component>.db`."""

    blob_url: str = ""
    """Where blobs live: `file:///folder` or `s3://bucket/prefix?endpoint=…`. Empty = the folder `<data_dir>/blobs`."""

    users_address: str = ""
    """gRPC target of the users server, which has the keys that verify tokens, the revocations and the audit log."""

    issuer: str = "mlmesh"
    """Value that the claim `iss` of a token must have."""

    audience: str = "mlmesh"
    """Value that the claim `aud` of a token must contain."""

    token_leeway_s: float = Field(default=5.0, ge=0, le=300)
    """How far clocks of the mesh may differ, in seconds: a token is accepted that much before and after its validity."""

    key_refresh_interval_s: float = Field(default=2.0, gt=0, le=60)
    """Pause between two fetches of keys and revocations from the users server, in seconds. A revoked token lives at most that long."""

    service_key_file: Path | None = None
    """File (mode 0600) with the API key of the mesh's service account, for calls to other components."""

    tls_certificate_file: Path | None = None
    """PEM chain that the server shows. Empty = plain text, for Unix sockets and loopback."""

    tls_key_file: Path | None = None
    """PEM private key of the certificate."""

    tls_client_ca_file: Path | None = None
    """PEM authorities for client certificates. Set = every client has to show one (mTLS)."""

    peer_ca_file: Path | None = None
    """PEM authorities that verify the other servers of the mesh. Empty = peers are called in plain text."""

    peer_certificate_file: Path | None = None
    """PEM client certificate to show to the other servers (mTLS)."""

    peer_key_file: Path | None = None
    """PEM private key of the client certificate."""

    max_message_bytes: int = Field(default=16 * 1024 * 1024, ge=4096, le=2**31 - 1)
    """Largest request or response message, in bytes. Bulk data is streamed in smaller ones."""

    worker_threads: int = Field(default=32, ge=1, le=1024)
    """Calls that run at the same time; threads come to be as they are needed. A stream holds its thread until it ends."""

    max_concurrent_calls: int = Field(default=1024, ge=1)
    """Calls accepted at the same time: those that run, and those that wait for one of `worker_threads`. The next one is refused at once
    (RESOURCE_EXHAUSTED, SERVER_OVERLOADED)."""

    drain_s: float = Field(default=1.0, ge=0)
    """On stop: how long to serve on while NOT_SERVING, in seconds, so that proxies notice and send their traffic elsewhere."""

    grace_s: float = Field(default=10.0, ge=0)
    """On stop: how long calls that run may take to finish, in seconds. Whatever still runs is cancelled then."""

    dependency_interval_s: float = Field(default=5.0, gt=0)
    """Pause between two checks of what the server depends on, in seconds."""

    otlp_endpoint: str = ""
    """OTLP gRPC collector for traces, for example `http://127.0.0.1:4317`. Empty = traces are not exported."""

    trace_file: Path | None = None
    """File that takes each finished span as a JSON line, to look at traces without a collector."""

    trace_sample_ratio: float = Field(default=1.0, ge=0, le=1)
    """Share of traces recorded where the caller has not decided, 0 to 1."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Least severe level that is logged."""

    @model_validator(mode="before")
    @classmethod
    def _fill_defaults(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        data_dir = Path(values.get("data_dir") or cls.model_fields["data_dir"].default).expanduser().resolve()
        return {
            **values,
            "data_dir": data_dir,
            "database_url": values.get("database_url") or cls.model_fields["database_url"].default or f"sqlite:///{data_dir / 'mesh.db'}",
            "blob_url": values.get("blob_url") or cls.model_fields["blob_url"].default or (data_dir / "blobs").as_uri(),
        }

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Puts the component's own prefix before the common one."""
        del dotenv_settings, file_secret_settings
        if not cls.component:
            return init_settings, env_settings
        own = EnvSettingsSource(settings_cls, env_prefix=f"MLMESH_{cls.component.upper()}_")
        return init_settings, own, env_settings
