"""What can go wrong with an engine rather than with a plan."""

from __future__ import annotations

from servers.runtime.errors import FailedPrecondition, Unavailable


class EngineNotInstalled(FailedPrecondition):
    """What an engine needs on this machine is missing: a library, Java, a folder."""

    reason = "ENGINE_NOT_INSTALLED"


class EngineUnreachable(Unavailable):
    """The cluster does not answer, or its workers could not be started."""

    reason = "ENGINE_UNREACHABLE"


class WorkerLost(Unavailable):
    """A worker ended while it computed, more often than the engine tries again."""

    reason = "PROCESSING_WORKER_LOST"


class WorkerDiffers(FailedPrecondition):
    """A worker has another version of DuckDB, or does not see the folder with the inputs."""

    reason = "PROCESSING_WORKER_DIFFERS"
