"""Data processes, files for them, and a server that keeps them busy."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest

from servers.ingestion.data_process import DataProcesses, DataProcessSettings

PATIENCE_S = 120
"""How long a condition may take on a busy machine."""

MakeProcesses = Callable[..., DataProcesses]


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    """The folder that sources may be in."""
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


@pytest.fixture
def make(tmp_path: Path, inbox: Path) -> Iterator[MakeProcesses]:
    """Makes pools of data processes; settings may be given."""
    with ExitStack() as stack:

        def made(**settings: Any) -> DataProcesses:
            usual: dict[str, Any] = {
                "tables_url": (tmp_path / "tables").as_uri(),
                "scratch_folder": tmp_path / "scratch",
                "allowed_sources": (inbox.as_uri(),),
            }
            processes = DataProcesses(DataProcessSettings(**(usual | settings)))
            stack.callback(processes.close)
            return processes

        yield made


@pytest.fixture
def processes(make: MakeProcesses) -> DataProcesses:
    return make()


class SilentS3:
    """Takes connections and never answers: whoever reads from it is busy for as long as the test wants."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=16)
        self._listener.settimeout(PATIENCE_S)
        self._taken: list[socket.socket] = []
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.settings = {"allowed_sources": ("s3://silent",), "s3_endpoint": self.endpoint}

    def wait_for_reader(self) -> None:
        """Returns when one more operation reads."""
        self._taken.append(self._listener.accept()[0])

    def has_reader(self) -> bool:
        """Whether one more reads already."""
        return bool(select.select([self._listener], [], [], 0)[0])

    def close(self) -> None:
        for each in (*self._taken, self._listener):
            each.close()


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[SilentS3]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test-access-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test-secret-key")
    server = SilentS3()
    yield server
    server.close()


def ingestion(place: Path | str, ingestion_id: str = "1", mode: str = "APPEND", **others: Any) -> dict[str, Any]:
    """The arguments of an ingestion."""
    uri = place.as_uri() if isinstance(place, Path) else place
    told = {"project": "p", "dataset": "flights", "ingestion_id": ingestion_id, "mode": mode, "source": {"kind": "uri", "uri": uri}}
    return told | others


BUSY = ingestion("s3://silent/flights.csv")
"""An ingestion that lasts as long as `SilentS3` does."""


def child_pids() -> set[int]:
    """The data processes of this test's process."""
    children = psutil.Process().children()
    return {child.pid for child in children if "servers.ingestion.data_process" in _command(child)}


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def wait_for_end(pid: int) -> None:
    """Returns when a process has ended, whoever's child it is."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([descriptor], [], [], PATIENCE_S)[0], f"process {pid} goes on"
    finally:
        os.close(descriptor)
