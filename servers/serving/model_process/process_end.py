"""Waits for the end of a process on an event loop, any loop on any thread.

Not by SIGCHLD, which belongs to whoever took it last, and not by the loop's own subprocesses: uvloop refuses to start one while another
loop does (libuv has one handler of SIGCHLD a process), and leaves a copy of what becomes the child's standard input open in it.
"""

from __future__ import annotations

import asyncio
import os
import subprocess

_POLL_S = 0.05


async def ended(process: subprocess.Popen[bytes]) -> int:
    """Waits, and reaps the process on the loop's thread: until this returns, its number is nobody else's, and may be signalled there.

    Args:
        process: The process.

    Returns:
        Its exit status; the negative number of a signal that killed it.
    """
    try:
        descriptor = os.pidfd_open(process.pid)
    except (AttributeError, OSError):  # not Linux, or Linux before 5.3
        while process.poll() is None:
            await asyncio.sleep(_POLL_S)
        return process.wait()
    loop = asyncio.get_running_loop()
    has_ended: asyncio.Future[None] = loop.create_future()

    def note() -> None:
        if not has_ended.done():
            has_ended.set_result(None)

    loop.add_reader(descriptor, note)
    try:
        await has_ended
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
    return process.wait()
