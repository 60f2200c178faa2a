"""The database of the feature store."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Engine

from servers.features.settings import FeaturesSettings
from servers.runtime.database import open_database

_MIGRATIONS = Path(__file__).parents[1] / "migrations"


def open_store(settings: FeaturesSettings) -> Engine:
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
