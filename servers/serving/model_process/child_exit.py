"""How a model's process ended."""

from __future__ import annotations

import signal
from dataclasses import dataclass

_CRASHES = {
    signal.SIGABRT: "an abort",
    signal.SIGBUS: "a bus error",
    signal.SIGFPE: "an arithmetic fault",
    signal.SIGILL: "an instruction that this processor does not have",
    signal.SIGSEGV: "a segmentation fault",
}


@dataclass(frozen=True, slots=True)
class ChildExit:
    """What is known of the end of a process.

    Args:
        return_code: Exit status; the negative number of a signal that killed it.
        stop_reason: Why the server killed it; empty where it did not.
        is_out_of_memory: Whether the kernel killed it because memory ran out.
        last_lines: The end of what it wrote. For the log only: it may hold names of this machine.
    """

    return_code: int
    stop_reason: str = ""
    is_out_of_memory: bool = False
    last_lines: str = ""

    def __str__(self) -> str:
        """The end as a clause whose subject is the process."""
        if self.stop_reason:
            return f"was stopped because {self.stop_reason}"
        if self.is_out_of_memory:
            return "was killed by the kernel because memory ran out (SIGKILL)"
        if self.return_code >= 0:
            return f"ended with exit status {self.return_code}"
        try:
            number = signal.Signals(-self.return_code)
        except ValueError:  # a real-time signal without a name
            return f"was killed by signal {-self.return_code}"
        cause = _CRASHES.get(number)
        return f"was killed by {number.name}" + (f", {cause}" if cause else "")
