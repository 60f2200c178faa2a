"""The one way to an engine. What an engine needs is imported when it is opened."""

from __future__ import annotations

import re
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from servers.processing.engines.capabilities import Availability, availability
from servers.processing.engines.errors import EngineNotInstalled, EngineUnreachable
from servers.processing.engines.kinds import EngineKind, EngineSettings

if TYPE_CHECKING:
    from servers.processing.engines.engine import Engine

__all__ = ["Availability", "EngineKind", "EngineSettings", "availability", "open_engine"]

_ONE_PLACE = re.compile(r"(?:\w+://)?\[?([^\[\],/]+)\]?:(\d+)")


@contextmanager
def open_engine(kind: EngineKind, settings: EngineSettings) -> Iterator[Engine]:
    """An engine that can run any number of plans, one after the other.

    Ray and Spark can be open once in a process. What was started for the engine ends with it, and its folder is removed.

    Args:
        kind: Which engine.
        settings: What it may take.

    Raises:
        EngineNotInstalled: FAILED_PRECONDITION: a library or Java is missing; the message says how to install it.
        EngineUnreachable: UNAVAILABLE: the cluster does not answer.
    """
    found = availability(kind, settings)
    if not found.is_available:
        raise EngineNotInstalled(f"the engine {kind.value} cannot be used: {found.reason}", metadata={"engine": kind.value})
    _check_answers(settings)
    with tempfile.TemporaryDirectory(prefix="engine-", dir=settings.spill_folder, ignore_cleanup_errors=True) as folder:
        settings = replace(settings, spill_folder=Path(folder))
        match kind:
            case EngineKind.LOCAL:
                from servers.processing.engines.local import LocalEngine
                from servers.processing.engines.tasks import kernel_limits

                yield LocalEngine(kernel_limits(settings))
            case EngineKind.RAY:
                from servers.processing.engines.on_ray import ray_engine

                with ray_engine(settings) as engine:
                    yield engine
            case EngineKind.DASK:
                from servers.processing.engines.on_dask import dask_engine

                with dask_engine(settings) as engine:
                    yield engine
            case EngineKind.SPARK:
                from servers.processing.engines.on_spark import spark_engine

                with spark_engine(settings) as engine:
                    yield engine


def _check_answers(settings: EngineSettings) -> None:
    """Ray and Spark try for minutes, and Spark says nothing then. Addresses without one host and port are left to them."""
    found = _ONE_PLACE.fullmatch(settings.address)
    if found is None:
        return
    try:
        socket.create_connection((found[1], int(found[2])), settings.connect_timeout_s).close()
    except (OSError, OverflowError) as error:
        raise EngineUnreachable(f"{settings.address} does not answer: {error}; start the cluster, or leave the address empty") from error
