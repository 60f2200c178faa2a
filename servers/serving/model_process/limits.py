"""How much a model's process may take, and how patient the server is with it."""

from __future__ import annotations

from dataclasses import dataclass

_MIB = 1024**2


@dataclass(frozen=True, slots=True)
class ProcessLimits:
    """Limits of one model's process.

    Args:
        load_timeout_s: Longest time from its start until the model is loaded and warmed, in seconds; then it is killed. Loading has a low
            priority, so on a busy machine it takes a multiple of what it takes alone.
        run_timeout_s: Longest run, in seconds; then the process is killed, since nothing else stops a model that hangs.
        restart_wait_s: How long calls wait for a process that crashed to be back, in seconds, before they fail and may be repeated.
        stop_grace_s: Time between SIGTERM and SIGKILL, in seconds.
        max_crashes: With so many crashes within `crash_window_s` the model is not started again.
        crash_window_s: Seconds that count for `max_crashes`, while the model ran; the time of a restart does not make a crash older.
        second_restart_delay_s: Pause before the second restart in a row, in seconds; the first is immediate. It doubles with each one.
        longest_restart_delay_s: Longest pause before a restart, in seconds.
        run_attempts: How often a run is tried whose process dies of it. Less than `max_crashes`, or one bad input takes the model away; and
            one less than that where callers share runs, since those are tried once more, together.
        max_payload_bytes: Most bytes of the inputs, and of the outputs, of a run.
        memory_limit_bytes: Memory that the process may take for itself; 0 = any. ONNX Runtime takes twice the size of a model to load it.
    """

    load_timeout_s: float = 600.0
    run_timeout_s: float = 300.0
    restart_wait_s: float = 10.0
    stop_grace_s: float = 5.0
    max_crashes: int = 5
    crash_window_s: float = 600.0
    second_restart_delay_s: float = 0.5
    longest_restart_delay_s: float = 30.0
    run_attempts: int = 3
    max_payload_bytes: int = 512 * _MIB
    memory_limit_bytes: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.run_attempts < self.max_crashes:
            raise ValueError(f"run_attempts is {self.run_attempts}; it has to be at least 1 and less than max_crashes, {self.max_crashes}")
