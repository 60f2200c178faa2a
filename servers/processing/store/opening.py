"""The database of the processing server."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Engine

from servers.processing.settings import ProcessingSettings
from servers.runtime.database import open_database

_MIGRATIONS = Path(__file__).parents[1] / "migrations"


def open_store(settings: ProcessingSettings) -> Engine:
    """Opens the database and brings its tables to the newest version, those of the tasks too.

    Args:
        settings: Where it is.

    Returns:
        The engine; `build_server(database=...)` disposes of it.

    Raises:
        sql_engine.DatabaseUrlError: The URL cannot be read.
        sql_engine.DriverMissing: The driver is not installed.
        sql_engine.MigrationError: The tables are newer than this program.
    """
    return open_database(settings, _MIGRATIONS)
