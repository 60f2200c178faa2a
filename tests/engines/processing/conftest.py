"""Engines with real workers on this machine, each opened once and closed before the next."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from servers.processing.engines.engine import Engine
from servers.processing.engines.kinds import EngineKind, EngineSettings
from servers.processing.engines.opening import open_engine

MIB = 1 << 20


@dataclass(frozen=True)
class Opened:
    """An engine that runs.

    Args:
        kind: Which.
        engine: It.
        spill_folder: Where it may spill, and nothing of a run may be left.
    """

    kind: EngineKind
    engine: Engine
    spill_folder: Path


@pytest.fixture(scope="session", params=["RAY", "DASK", "SPARK"])
def opened(request: pytest.FixtureRequest) -> Iterator[Opened]:
    """Every engine with tiny chunks, so that few rows have many partitions, and sides of joins that are small and large."""
    kind = EngineKind[request.param]
    with tempfile.TemporaryDirectory(prefix="spill-") as folder:
        settings = EngineSettings(
            task_memory_bytes=256 * MIB,
            task_threads=1,
            spill_folder=Path(folder),
            partitions=3,
            broadcast_bytes=700,
            chunk_bytes=400,
            workers=2,
            store_bytes=512 * MIB,
        )
        with open_engine(kind, settings) as engine:
            yield Opened(kind, engine, Path(folder))
        assert list(Path(folder).iterdir()) == []
