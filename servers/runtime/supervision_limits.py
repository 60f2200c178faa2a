"""How patient a supervisor is with its processes."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class SupervisionLimits(BaseSettings):
    """Time-outs and pauses of the supervisor of `mlmesh up`."""

    model_config = SettingsConfigDict(env_prefix="MLMESH_MESH_", extra="ignore", frozen=True)

    start_timeout_s: float = Field(default=60.0, gt=0)
    """Longest a process may take from its start until it is healthy, in seconds."""

    stop_grace_s: float = Field(default=15.0, ge=0)
    """How long a process may take to stop after SIGTERM before it is killed, in seconds."""

    drain_timeout_s: float = Field(default=10.0, ge=0)
    """Longest that taking the traffic away from the gateway may take on stop, in seconds."""

    second_restart_delay_s: float = Field(default=0.5, gt=0)
    """Pause before the second restart of a process that keeps dying, in seconds; the first is immediate. It doubles with each one."""

    longest_restart_delay_s: float = Field(default=30.0, gt=0)
    """Longest pause before a restart, in seconds."""

    stable_after_s: float = Field(default=60.0, gt=0)
    """A process that ran this long, in seconds, has its restarts forgotten: the next one is immediate again."""

    liveness_interval_s: float = Field(default=5.0, gt=0)
    """Pause between two questions whether a process is alive, and between two looks at the size of its log, in seconds."""

    hang_timeout_s: float = Field(default=30.0, gt=0)
    """A process that has not answered for this long, in seconds, is killed and restarted."""

    log_size_bytes: int = Field(default=10 * 1024 * 1024, ge=65536)
    """Size at which a log file is rotated, in bytes. One older file is kept, so a process takes at most about twice that."""


def restart_delay_s(restarts_in_a_row: int, limits: SupervisionLimits) -> float:
    """Returns the pause before the next restart, in seconds.

    Args:
        restarts_in_a_row: Restarts since the process last ran for `stable_after_s`, 0 or more.
        limits: The pauses.
    """
    if restarts_in_a_row <= 0:
        return 0.0
    # The exponent is capped so that a process that dies for a year does not overflow a float.
    return min(limits.longest_restart_delay_s, limits.second_restart_delay_s * 2.0 ** min(restarts_in_a_row - 1, 32))
