"""Brings the tables of a component to the newest version, also when several processes start at once."""

from __future__ import annotations

import fcntl
import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, String, column, inspect, select, table, text

from sql_engine.engine import begin_write
from sql_engine.errors import MigrationError

__all__ = ["migrate"]

LOCK_TIMEOUT_S = 120
"""How long a process waits for another one that migrates, in seconds (MySQL; the others wait as long as it lives)."""

_CONSTANT = re.compile(r'^(revision|down_revision)(?: *:[^=\n]+)? *= *(?:["\'](\w+)["\']|None)\s*$', re.MULTILINE)


def migrate(engine: Engine, script_location: Path, *, version_table: str = "alembic_version") -> None:
    """Run the migrations that a database has not seen, all in one transaction where the database can (MySQL cannot).

    There is no ``env.py``: a folder ``versions`` with one linear history is all a component has.

    Args:
        engine: The database.
        script_location: The folder that holds ``versions``.
        version_table: Where the version is noted; one a component, where several share a schema.

    Raises:
        MigrationError: If the database is newer than the scripts, or the scripts have several heads.
    """
    head = _head(script_location)
    if head is not None and _noted(engine, version_table) == [head]:
        return
    # Alembic takes 0.2 s and some MiB to import; a process that finds its tables as they should be need not.
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory
    from alembic.util.exc import CommandError

    config = Config()
    config.set_main_option("script_location", str(script_location))
    config.set_main_option("path_separator", "os")
    scripts = ScriptDirectory.from_config(config)
    heads = scripts.get_heads()
    if len(heads) != 1:
        raise MigrationError(f"{script_location} has the heads {heads}; a component has one linear history")

    def upgrade(revision: Any, _context: MigrationContext) -> Any:
        # Alembic's own way in has no public name: https://alembic.sqlalchemy.org/en/latest/api/runtime.html
        return scripts._upgrade_revs("head", revision)

    with _alone(engine, version_table) as connection, EnvironmentContext(config, scripts, fn=upgrade) as environment:
        environment.configure(connection=connection, version_table=version_table, render_as_batch=True)
        try:
            environment.run_migrations()
        except CommandError as error:
            raise MigrationError(f"the tables are of another version than this program: {error}; update the program") from error


def _head(script_location: Path) -> str | None:
    """The newest revision, read from the scripts without running them; None where they have another number of heads than one."""
    facts = [_constants(script) for script in (script_location / "versions").glob("*.py")]
    heads = {fact["revision"] for fact in facts if "revision" in fact} - {fact.get("down_revision") for fact in facts}
    return heads.pop() if len(heads) == 1 else None


def _constants(script: Path) -> dict[str, str | None]:
    # By pattern: parsing is slower, and in Python before 3.12.2 it fails now and then where several threads do it (gh-106905).
    return {name: value or None for name, value in _CONSTANT.findall(script.read_text("utf-8"))}


def _noted(engine: Engine, version_table: str) -> list[str]:
    """The versions that the database says it has; none where it has never been migrated."""
    with engine.connect() as connection:
        if not inspect(connection).has_table(version_table):
            return []
        return list(connection.execute(select(column("version_num", String)).select_from(table(version_table))).scalars())


@contextmanager
def _alone(engine: Engine, version_table: str) -> Iterator[Connection]:
    """Open a transaction that no other process migrates beside."""
    name = f"migrate-{hashlib.sha256(version_table.encode()).hexdigest()[:16]}"
    if engine.dialect.name == "sqlite":
        with _file_lock(Path(f"{engine.url.database}.migration-lock")), begin_write(engine) as connection:
            yield connection
    elif engine.dialect.name == "postgresql":
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(hashtext(:name), hashtext(current_schema()))"), {"name": name})
            yield connection
    else:
        with engine.connect() as connection:
            # A lock of MySQL belongs to the connection, and its names are shared by all databases of the server.
            lock = {"name": f"{name}-{hashlib.sha256(str(engine.url.database).encode()).hexdigest()[:16]}"}
            held = connection.execute(text("SELECT GET_LOCK(:name, :seconds)"), {**lock, "seconds": LOCK_TIMEOUT_S}).scalar()
            if held != 1:
                raise MigrationError(f"another process has been migrating for {LOCK_TIMEOUT_S} s; look at it, then start again")
            try:
                yield connection
                connection.commit()
            finally:
                connection.rollback()
                connection.execute(text("SELECT RELEASE_LOCK(:name)"), lock)


@contextmanager
def _file_lock(path: Path) -> Iterator[None]:
    # SQLite's own lock would do but for the switch to WAL, which needs the file alone and does not wait.
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
