"""Ingestions that take as long as a test wants."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

import mlmesh
import psutil
from given import DATA_DIR


class HeldData:
    """The mesh's one process for data, stopped.

    Args:
        process: It.
    """

    def __init__(self, process: psutil.Process) -> None:
        self._process = process
        process.suspend()

    def let_go(self) -> None:
        # A cancelled ingestion ends its process.
        with contextlib.suppress(psutil.NoSuchProcess):
            self._process.resume()

    @classmethod
    @contextmanager
    def of(cls, mesh: mlmesh.Mesh) -> Iterator[Self]:
        # There is one only where something has just been taken in.
        mesh.ingestion.ingest_data("warm_up", [{"id": 1}], mode="overwrite")
        processes = json.loads((DATA_DIR / "state.json").read_text("utf-8"))["processes"]
        control = psutil.Process(next(process["pid"] for process in processes if process["name"] == "control"))
        (process,) = [child for child in control.children(recursive=True) if "data_process" in " ".join(child.cmdline())]
        held = cls(process)
        try:
            yield held
        finally:
            held.let_go()
