"""Progress of transfers: a bar for people, a callback for programs, or nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from mlmesh.files import Report


@contextlib.contextmanager
def reporting(progress: bool | Report) -> Iterator[Report]:
    """Gives a function to report progress to.

    Args:
        progress: True = a bar on standard error, where that is a terminal; a function is called with name, bytes done and bytes in all.
    """
    if callable(progress):
        yield progress
    elif not progress:
        yield _silent
    else:
        with _bars() as report:
            yield report


def _silent(*_: object) -> None:
    """Tells nobody."""


@contextlib.contextmanager
def _bars() -> Iterator[Report]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns: list[Any] = [TextColumn("{task.description}"), BarColumn(), DownloadColumn(binary_units=True), TransferSpeedColumn()]
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, Any] = {}

        def report(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=total)
            bars.update(tasks[name], completed=done)

        yield report
