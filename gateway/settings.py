"""Settings of the gateway."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from gateway.policies import RateClass
from servers.runtime.cores import envoy_workers
from servers.runtime.settings import ServerSettings


class RateLimit(BaseModel):
    """How often one caller may call the methods of one rate class."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True, extra="forbid")

    per_second: int = Field(ge=1, le=1_000_000)
    """Requests a second that a caller may keep up."""

    burst: int = Field(ge=1, le=10_000_000)
    """Requests that a caller may send at once after a quiet time."""


class TimeLimit(BaseModel):
    """How long one call of a rate class may take."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True, extra="forbid")

    answer_s: float = Field(gt=0, le=86_400)
    """Longest time from the end of a unary request to the end of its answer, in seconds. Streams have no such limit."""

    idle_s: float = Field(gt=0, le=86_400)
    """Longest time in which no byte moves in either direction, in seconds."""


_RATE_LIMITS = {
    "READ": RateLimit(per_second=2_000, burst=4_000),
    "WRITE": RateLimit(per_second=1_000, burst=2_000),
    "PREDICT": RateLimit(per_second=50_000, burst=50_000),
    "TRANSFER": RateLimit(per_second=1_000, burst=2_000),
    "AUTH": RateLimit(per_second=5, burst=60),
}

_TIME_LIMITS = {
    "READ": TimeLimit(answer_s=30, idle_s=60),
    "WRITE": TimeLimit(answer_s=60, idle_s=90),
    "PREDICT": TimeLimit(answer_s=60, idle_s=90),
    "TRANSFER": TimeLimit(answer_s=3_600, idle_s=300),
    "AUTH": TimeLimit(answer_s=15, idle_s=20),
}


class GatewaySettings(ServerSettings):
    """Settings of the gateway's control plane, of its edge app, and of the Envoy that they configure."""

    component: ClassVar[str] = "gateway"

    run_dir: Path = Path()
    """Folder of Unix sockets and of Envoy's bootstrap file. Empty = `<data_dir>/run`. Its path may have at most 80 bytes."""

    host: str = "127.0.0.1"
    """Address on which Envoy serves the public: an IP address."""

    port: int = Field(default=8080, ge=1, le=65_535)
    """Port on which Envoy serves the public."""

    upstreams: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    """Addresses of each component, `{"users": ["unix:/run/users.sock"], "serving": ["10.0.0.1:9105", "10.0.0.2:9105"]}`. A component
    that is not named here is looked for in `MLMESH_<COMPONENT>_ADDRESS`, addresses separated by commas; one that is in neither is
    answered with UNIMPLEMENTED."""

    descriptor_file: Path = Path()
    """Descriptor set of the contracts. Empty = `gen/descriptors/mlops.binpb` beside the gateway."""

    protocol_files: tuple[Path, ...] = ()
    """Descriptor sets of the protocols of others that the mesh speaks. Empty = `inference.binpb` and `feast.binpb` in `gen/descriptors`
    beside the gateway."""

    openapi_file: Path = Path()
    """OpenAPI document to serve. Empty = `gen/openapi/openapi.json` beside the gateway."""

    envoy_workers: int = Field(default_factory=envoy_workers, ge=1, le=64)
    """Worker threads of Envoy; default: half of the cores, 8 at most."""

    node_id: str = "gateway"
    """Name under which this Envoy reports to the control plane."""

    access_log: str = "/dev/stdout"
    """File that takes the access log, one JSON object a request. Empty = none."""

    allowed_origins: tuple[str, ...] = ()
    """Origins of web pages that may call the mesh (CORS), for example `https://console.example.org`; `*` = every one. Empty = only
    pages that the mesh itself serves."""

    rate_limits: Mapping[RateClass, RateLimit] = Field(default_factory=dict)
    """Limits by rate class (`READ`, `WRITE`, `PREDICT`, `TRANSFER`, `AUTH`), for those that are to differ from the default. A caller
    is a user, a service account or an API key's owner; for AUTH and for methods without a token it is the peer's address."""

    time_limits: Mapping[RateClass, TimeLimit] = Field(default_factory=dict)
    """Time limits by rate class, for those that are to differ from the default."""

    max_callers: int = Field(default=10_000, ge=1, le=1_000_000)
    """Callers whose rates are followed at the same time, per rate class. The one that was quiet for longest is forgotten first."""

    max_connections: int = Field(default=10_000, ge=1)
    """Client connections at the same time; a further one is closed."""

    max_streams_per_connection: int = Field(default=100, ge=1, le=2**31 - 1)
    """Calls at the same time on one HTTP/2 connection."""

    max_body_bytes: int = Field(default=16 * 1024 * 1024, ge=4096, le=2**31 - 1)
    """Largest request that is not a stream, over REST and gRPC, and largest answer over REST, in bytes. A larger request is 413
    (REQUEST_TOO_LARGE). Messages of streams are limited by the server (`max_message_bytes`)."""

    max_header_kib: int = Field(default=32, ge=8, le=96)
    """Largest request headers together, in KiB."""

    buffer_bytes: int = Field(default=1024 * 1024, ge=16_384, le=2**31 - 1)
    """Bytes buffered per connection and direction before the sender is slowed down."""

    header_timeout_s: float = Field(default=10.0, gt=0)
    """Longest time in which a client may send its request headers, in seconds."""

    connection_idle_s: float = Field(default=600.0, gt=0)
    """A connection without a call is closed after this time, in seconds."""

    stream_idle_s: float = Field(default=900.0, gt=0)
    """A stream (watch, tail) in which no byte moves is closed after this time, in seconds."""

    connect_timeout_s: float = Field(default=1.0, gt=0)
    """Longest time to connect to a component, in seconds."""

    max_upstream_requests: int = Field(default=1024, ge=1)
    """Calls at the same time to one component; a further one is UNAVAILABLE at once (circuit breaker)."""

    retries: int = Field(default=6, ge=0, le=10)
    """Repeats of a call whose contract says that a repeat is safe, while its component is unavailable."""

    health_interval_s: float = Field(default=1.0, gt=0)
    """Pause between two health checks of an endpoint, in seconds."""

    trusted_proxies: int = Field(default=0, ge=0, le=10)
    """Proxies in front of the gateway whose `x-forwarded-for` is believed when the address of a caller is told."""

    config_timeout_s: float = Field(default=10.0, gt=0)
    """Longest time in which Envoy has to acknowledge a configuration, in seconds."""

    drain_before_stop_s: float = Field(default=5.0, ge=0)
    """On stop: longest wait for calls that run to finish, in seconds."""

    @property
    def bootstrap_file(self) -> Path:
        """Envoy's bootstrap configuration."""
        return self.run_dir / "envoy.json"

    @property
    def admin_socket(self) -> Path:
        """Envoy's admin interface. It can stop Envoy and shows everything, so it is never a port."""
        return self.run_dir / "envoy-admin.sock"

    @property
    def edge_socket(self) -> Path:
        """The edge app."""
        return self.run_dir / "edge.sock"

    @property
    def snapshot_file(self) -> Path:
        """The last configuration that Envoy acknowledged."""
        return self.data_dir / "gateway" / "snapshot.binpb"

    def rate_limit(self, rate_class: RateClass) -> RateLimit:
        """Returns the rate limit of a class."""
        return self.rate_limits.get(rate_class, _RATE_LIMITS[rate_class.value])

    def time_limit(self, rate_class: RateClass) -> TimeLimit:
        """Returns the time limit of a class."""
        return self.time_limits.get(rate_class, _TIME_LIMITS[rate_class.value])

    @model_validator(mode="before")
    @classmethod
    def _fill_gateway_defaults(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        data_dir = Path(values.get("data_dir") or cls.model_fields["data_dir"].default).expanduser().resolve()
        run_dir = Path(values.get("run_dir") or data_dir / "run").expanduser().resolve()
        generated = Path(__file__).resolve().parents[1] / "gen"
        return {
            **values,
            "run_dir": run_dir,
            "listen": values.get("listen") or f"unix:{run_dir / 'gateway.sock'}",
            "descriptor_file": values.get("descriptor_file") or generated / "descriptors" / "mlops.binpb",
            "protocol_files": values.get("protocol_files")
            or [generated / "descriptors" / name for name in ("inference.binpb", "feast.binpb")],
            "openapi_file": values.get("openapi_file") or generated / "openapi" / "openapi.json",
        }


def environment_upstreams(
    components: frozenset[str], kind: Literal["ADDRESS", "LANE"] = "ADDRESS", environment: Mapping[str, str] = os.environ
) -> dict[str, tuple[str, ...]]:
    """Reads `MLMESH_<COMPONENT>_ADDRESS` of each component, or `MLMESH_<COMPONENT>_LANE`.

    Args:
        components: Names of the components that the contracts know.
        kind: Which of the two.
        environment: Environment variables.

    Returns:
        Addresses by component, without those that are not set.
    """
    found = {component: environment.get(f"MLMESH_{component.upper()}_{kind}", "") for component in components}
    return {component: tuple(part.strip() for part in text.split(",") if part.strip()) for component, text in found.items() if text}
