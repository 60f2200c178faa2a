"""A component's database, with the tables that the runtime itself keeps in it."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Engine

from servers.runtime.settings import ServerSettings
from sql_engine import connect, migrate

_RUNTIME_MIGRATIONS = Path(__file__).parent / "migrations"
_RUNTIME_VERSION_TABLE = "runtime_version"


def open_database(settings: ServerSettings, migrations: Path | None = None) -> Engine:
    """Opens the database of a component and brings its tables to the newest version.

    Args:
        settings: `database_url`, and the component whose schema it is.
        migrations: Folder of the component's migrations, with a folder `versions`; None where a library brings its own.

    Returns:
        The engine; `build_server(database=...)` disposes of it.

    Raises:
        sql_engine.DatabaseUrlError: The URL cannot be read.
        sql_engine.DriverMissing: The driver is not installed.
        sql_engine.MigrationError: The tables are newer than this program.
    """
    engine = connect(settings.database_url, schema=settings.component or None)
    migrate(engine, _RUNTIME_MIGRATIONS, version_table=_RUNTIME_VERSION_TABLE)
    if migrations is not None:
        migrate(engine, migrations)
    return engine
