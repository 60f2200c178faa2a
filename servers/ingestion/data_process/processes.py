"""The pool of ingestion's data processes; what they can do is in `operations`."""

from __future__ import annotations

import sys

from servers.ingestion.data_process.allowed_sources import AllowedSources
from servers.ingestion.data_process.settings import DataProcessSettings
from servers.ingestion.data_process.table_root import TableRoot
from servers.runtime.data_process import pool

PROGRAM = (sys.executable, "-P", "-m", "servers.ingestion.data_process")
_SETTING = "MLMESH_INGESTION_PROCESS_MEMORY_BYTES"
MEMORY_SETTING = f"{_SETTING} (0 = any)"
"""What gives a process more memory, for errors."""


class DataProcesses(pool.DataProcesses):
    """See the class that this is one of.

    Args:
        settings: What the processes are told, and how many there may be.

    Raises:
        ValueError: If the tables' URL or an allowed source cannot be understood.
        OSError: If the scratch folder cannot be made.
    """

    def __init__(self, settings: DataProcessSettings) -> None:
        TableRoot.parsed(settings.tables_url)
        AllowedSources(settings.allowed_sources)
        super().__init__(PROGRAM, settings, MEMORY_SETTING)
