"""What the comparison needs to know of a system."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.serving.calls import Call
from benchmarks.serving.models import Model


@dataclass(frozen=True, eq=False)
class Endpoint:
    """One protocol of a running system.

    Args:
        label: System and protocol, as in the report.
        call: Makes a request for rows, ``(rows, features) float32``.
    """

    label: str
    call: Callable[[Model, NDArray[np.float32]], Call]


@dataclass(frozen=True, eq=False)
class Running:
    """A system that serves the models.

    Args:
        pid: The process above all its others.
        versions: What runs, for the report.
        endpoints: How it is called.
    """

    pid: int
    versions: str
    endpoints: tuple[Endpoint, ...]


@dataclass(frozen=True, eq=False)
class System:
    """A system of the comparison.

    Args:
        name: Its name on the command line.
        run: Starts it with models, in a folder of its own, and stops it at the end.
        model_names: Models that it is measured with; empty = all.
        is_paused: Whether it is paused while others are measured. A mesh cannot be: its supervisor would take its processes for dead.
    """

    name: str
    run: Callable[[Sequence[Model], Path], AbstractContextManager[Running]]
    model_names: frozenset[str] = frozenset()
    is_paused: bool = True
