"""How often a model's process failed, and what follows from it. Pure: the clock is handed in."""

from __future__ import annotations

from servers.serving.model_process.limits import ProcessLimits


class CrashHistory:
    """Failures of one model's process.

    They age only while the model runs. Otherwise a model that takes long to load, and crashes whenever it is loaded, would be started
    for ever: its crashes would leave the window one by one.

    Args:
        limits: The window, and the pauses.
    """

    def __init__(self, limits: ProcessLimits) -> None:
        self._limits = limits
        self._failures: list[float] = []
        self._ran_s = 0.0
        self._running_since: float | None = None

    def began_to_run(self, now: float) -> None:
        """Notes that the model is loaded.

        Args:
            now: Monotonic seconds.
        """
        self._running_since = now

    def failed(self, now: float) -> None:
        """Notes that the process died, or could not be started.

        Args:
            now: Monotonic seconds.
        """
        if self._running_since is not None:
            self._ran_s += now - self._running_since
            self._running_since = None
        self._failures = [at_s for at_s in self._failures if self._ran_s - at_s < self._limits.crash_window_s]
        self._failures.append(self._ran_s)

    @property
    def failures(self) -> int:
        """Failures within the window, as of the last one."""
        return len(self._failures)

    @property
    def is_exhausted(self) -> bool:
        """Whether the model is not to be started again."""
        return len(self._failures) >= self._limits.max_crashes

    @property
    def restart_delay_s(self) -> float:
        """Pause before the next start, in seconds."""
        if len(self._failures) <= 1:
            return 0.0
        # The exponent is capped so that no number of failures overflows a float.
        doubled = self._limits.second_restart_delay_s * 2.0 ** min(len(self._failures) - 2, 32)
        return min(self._limits.longest_restart_delay_s, doubled)
