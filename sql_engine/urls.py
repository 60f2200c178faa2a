"""Database URLs as people write them, to the ones that SQLAlchemy opens."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from sql_engine.errors import DatabaseUrlError, DriverMissing

__all__ = ["engine_url"]

_DRIVERS = {
    "postgresql": ("postgresql+psycopg", "psycopg", "postgresql"),
    "postgres": ("postgresql+psycopg", "psycopg", "postgresql"),
    "mysql": ("mysql+pymysql", "pymysql", "mysql"),
    "mariadb": ("mariadb+pymysql", "pymysql", "mysql"),
}


def engine_url(url: str | URL, schema: str | None = None) -> URL:
    """Return the URL that SQLAlchemy opens.

    Args:
        url: ``sqlite:///path``, ``postgresql://…``, ``mysql://…`` or ``mariadb://…``, with or without a driver.
        schema: Keeps several components apart in one database: on SQLite ``mesh.db`` becomes ``mesh-<schema>.db``, on MySQL the
            database ``mesh`` becomes ``mesh_<schema>``. On PostgreSQL it is a schema, and the URL stays as it is.

    Raises:
        DatabaseUrlError: If it cannot be read or is of another kind.
        DriverMissing: If the driver is not installed.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise DatabaseUrlError(
            "the database URL cannot be read; write for example sqlite:////var/lib/mlmesh/mesh.db or postgresql://user:password@host/database"
        ) from None
    dialect = parsed.drivername.partition("+")[0]
    if dialect == "sqlite":
        return _sqlite(parsed, schema)
    if dialect not in _DRIVERS:
        raise DatabaseUrlError(f"databases of kind {dialect!r} are not supported; allowed are sqlite, postgresql, mysql and mariadb")
    drivername, module, extra = _DRIVERS[dialect]
    if importlib.util.find_spec(module) is None:
        raise DriverMissing(f"{dialect} needs the driver {module}; install it with: pip install 'mlmesh[{extra}]'")
    parsed = parsed.set(drivername=drivername)
    if module == "pymysql":
        database = "_".join(part for part in (parsed.database, schema) if part)
        if not database:
            raise DatabaseUrlError("the database URL names no database; write for example mysql://user:password@host/mlmesh")
        parsed = parsed.set(database=database).update_query_dict({"charset": "utf8mb4"})
    return parsed


def _sqlite(url: URL, schema: str | None) -> URL:
    if not url.database or url.database == ":memory:" or "mode" in url.query:
        raise DatabaseUrlError("SQLite needs a file, so that all connections see the same tables; write for example sqlite:////tmp/mesh.db")
    path = Path(url.database).expanduser().absolute()
    if schema:
        path = path.with_name(f"{path.stem}-{schema}{path.suffix}")
    return url.set(drivername="sqlite+pysqlite", database=str(path))
