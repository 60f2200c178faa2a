"""A real PostgreSQL, from the wheel `pgserver`; it needs no root and no system package."""

from __future__ import annotations

import contextlib
import os
import uuid
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import make_url, text

from sql_engine import connect


@dataclass(frozen=True)
class PostgresqlServer:
    """A running PostgreSQL."""

    url: str

    def new_database(self, template_url: str | None = None) -> str:
        """Create a database, empty or a copy of another one to which nobody is connected, and return its URL."""
        name = f"test_{uuid.uuid4().hex}"
        engine = connect(self.url)
        try:
            with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                copied = "" if template_url is None else f" TEMPLATE {make_url(template_url).database}"
                connection.execute(text(f"CREATE DATABASE {name}{copied}"))
        finally:
            engine.dispose()
        return make_url(self.url).set(database=name).render_as_string(hide_password=False)


@contextlib.contextmanager
def postgresql_server(folder: Path) -> Iterator[PostgresqlServer]:
    """Run a PostgreSQL as long as the block runs.

    Args:
        folder: For its data and its socket. Its path has to be short: a socket's path has at most 107 bytes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # pgserver keeps its bookkeeping there and warns where there is none.
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pgserver.postgres_server import get_server

        server = get_server(folder / "pg")
    try:
        yield PostgresqlServer(server.get_uri())
    finally:
        server.cleanup()
