"""Becomes another program that the kernel kills when its parent dies: `python -I -S orphan_guard.py PARENT_PID PROGRAM ARGS…`.

A supervisor that is killed with SIGKILL cannot stop its children, and Envoy cannot watch a pipe, so the kernel has to do it
(PR_SET_PDEATHSIG, prctl(2); it survives execve). SIGKILL and not SIGTERM: a server that drains for seconds after its
supervisor died would, on its exit, unlink the Unix socket that its successor has bound by then. It is a program of its own,
because code between fork and exec is unsafe in a supervisor that has threads. It imports as little as it can: 15 ms.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Asks the kernel for the signal, then becomes the program."""
    parent, program = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:
        sys.exit("the supervisor is gone")
    try:
        os.execvp(program[0], program)  # noqa: S606 (no shell is the point)
    except OSError as error:
        sys.exit(f"cannot start {program[0]}: {error.strerror}")


if __name__ == "__main__":
    main()
