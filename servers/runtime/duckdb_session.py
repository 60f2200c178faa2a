"""A DuckDB that reaches nothing but the rows it is given."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb


@dataclass(frozen=True)
class DuckdbLimits:
    """What one DuckDB may take.

    Args:
        memory_bytes: Most memory of its buffers; what needs more goes to the spill folder.
        threads: Threads that compute.
        spill_folder: An existing folder, in which each session makes one of its own; None if nothing may be spilled.
        spill_bytes: Most bytes in that folder.
    """

    memory_bytes: int = 1 << 30
    threads: int = 2
    spill_folder: Path | None = None
    spill_bytes: int = 16 << 30


_FIXED = {
    # Times have to be the same wherever they are computed.
    "TimeZone": "'UTC'",
    "Calendar": "'gregorian'",
    "default_null_order": "'NULLS_LAST'",
    "default_order": "'ASC'",
    # Only `Top` promises an order, and an ORDER BY keeps it.
    "preserve_insertion_order": "false",
    # Streams have no known size and would be taken for one row, for which loops over all pairs are chosen.
    "asof_loop_join_threshold": "0",
    "nested_loop_join_threshold": "0",
    "merge_join_threshold": "0",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    # Otherwise the name of a table may be that of a Python variable.
    "python_enable_replacements": "false",
    "enable_external_access": "false",
    "lock_configuration": "true",
}


@contextmanager
def session(limits: DuckdbLimits) -> Iterator[duckdb.DuckDBPyConnection]:
    """A locked-down database, of which nothing is left afterwards.

    Args:
        limits: What it may take.
    """
    with ExitStack() as stack:
        if limits.spill_folder is not None:
            # Two databases in one folder would take each other's files for theirs.
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="duckdb-", dir=limits.spill_folder))
            limits = replace(limits, spill_folder=Path(folder))
        connection = locked_down(limits)
        stack.callback(connection.close)
        yield connection


def locked_down(limits: DuckdbLimits | None = None) -> duckdb.DuckDBPyConnection:
    """Returns a new database in memory that neither files, nor the network, nor Python's variables, nor statements can get out of."""
    limits = limits or DuckdbLimits()
    connection = duckdb.connect()
    settings = {
        "memory_limit": f"'{limits.memory_bytes}B'",
        "threads": str(limits.threads),
        "temp_directory": "'" + str(limits.spill_folder or "").replace("'", "''") + "'",
        "max_temp_directory_size": f"'{limits.spill_bytes}B'",
        **_FIXED,
    }
    # GLOBAL, so that it is of cursors, too.
    for name, value in settings.items():
        connection.execute(f"SET GLOBAL {name} = {value}")
    return connection


_local = threading.local()


def thread_session() -> duckdb.DuckDBPyConnection:
    """Returns this thread's own database, for questions about texts and types that have no rows."""
    if not hasattr(_local, "connection"):
        _local.connection = locked_down(DuckdbLimits(memory_bytes=256 << 20, threads=1))
    connection: duckdb.DuckDBPyConnection = _local.connection
    return connection
