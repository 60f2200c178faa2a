"""Ingestions that take as long as a test wants."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

import psutil
from given import DATA_DIR

# Starting one takes longer by far.
_PAUSE_S = 0.05


class HeldData:
    """The mesh's processes for data, stopped; whichever is started is stopped before it can do anything.

    Args:
        control: The process that starts them.
    """

    def __init__(self, control: psutil.Process) -> None:
        self._control = control
        self._stopped: set[psutil.Process] = set()
        self._is_over = threading.Event()
        self._stop_all()
        self._watch = threading.Thread(target=self._stop_those_that_come)
        self._watch.start()

    def let_go(self) -> None:
        self._is_over.set()
        self._watch.join()
        for process in self._stopped:
            # A cancelled ingestion ends its process.
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()

    @classmethod
    @contextmanager
    def of_the_mesh(cls) -> Iterator[Self]:
        processes = json.loads((DATA_DIR / "state.json").read_text("utf-8"))["processes"]
        held = cls(psutil.Process(next(process["pid"] for process in processes if process["name"] == "control")))
        try:
            yield held
        finally:
            held.let_go()

    def _stop_those_that_come(self) -> None:
        while not self._is_over.wait(_PAUSE_S):
            self._stop_all()

    def _stop_all(self) -> None:
        for child in self._control.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if child not in self._stopped and "data_process" in " ".join(child.cmdline()):
                    child.suspend()
                    self._stopped.add(child)
