"""The signals that ask a process to stop, as something its main thread can wait for."""

from __future__ import annotations

import signal
import socket

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopSignals:
    """Takes SIGTERM and SIGINT from now on; a second one kills. For the main thread.

    The interpreter runs a handler between two steps of the main thread. So neither an event will do, whose lock the interrupted step may
    hold already, nor a wait that begins after the last look at pending signals. A byte on a socket is there whenever it is looked at.
    """

    def __init__(self) -> None:
        self._is_asked = False
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        # A full buffer is as good as one byte.
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in STOP_SIGNALS:
            signal.signal(number, self._on_signal)

    def wait(self) -> None:
        """Returns once the process has been asked to stop."""
        while not self._is_asked:
            self._reader.recv(1)

    def _on_signal(self, number: int, _frame: object) -> None:
        self._is_asked = True
        signal.signal(number, signal.SIG_DFL)
