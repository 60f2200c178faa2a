from __future__ import annotations

import multiprocessing
import sqlite3
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Column, Integer, MetaData, Table, create_engine, inspect, select, text
from sqlalchemy.exc import IntegrityError, StatementError
from sqlalchemy.pool import StaticPool

from sql_engine import (
    DatabaseUrlError,
    ExactString,
    ExactText,
    JsonText,
    MigrationError,
    UtcDateTime,
    after_commit,
    begin_write,
    connect,
    engine_url,
    migrate,
    sqlite_writer,
    write,
)
from sql_engine import engine as engine_module
from sql_engine.sqlite_writer import SqliteWriter

FIRST = """
import sqlalchemy as sa
from alembic import op
revision = "0001"
down_revision = None
def upgrade():
    op.create_table("things", sa.Column("id", sa.Integer, primary_key=True), sa.Column("name", sa.String(20), unique=True))
    op.bulk_insert(sa.table("things", sa.column("name")), [{"name": "first"}])
"""
SECOND = """
import sqlalchemy as sa
from alembic import op
revision = "0002"
down_revision = "0001"
def upgrade():
    op.add_column("things", sa.Column("size", sa.Integer))
"""
BROKEN = """
revision = "0003"
down_revision = "0002"
def upgrade():
    raise RuntimeError("power cut")
"""


@pytest.fixture
def scripts(tmp_path):
    versions = tmp_path / "migrations" / "versions"
    versions.mkdir(parents=True)
    (versions / "one.py").write_text(FIRST)
    return versions


@pytest.fixture
def engine(tmp_path):
    engine = connect(f"sqlite:///{tmp_path}/data/mesh.db")
    yield engine
    engine.dispose()


def test_sqlite_runs_durably_with_foreign_keys(engine):
    with engine.connect() as connection:
        settings = {name: connection.execute(text(f"PRAGMA {name}")).scalar() for name in ("journal_mode", "synchronous", "foreign_keys")}
    assert settings == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


def test_writers_wait_for_each_other_instead_of_failing(engine):
    with begin_write(engine) as connection:
        connection.execute(text("CREATE TABLE counters (value INTEGER)"))
        connection.execute(text("INSERT INTO counters VALUES (0)"))

    def count():
        for _ in range(20):
            with begin_write(engine) as connection:
                value = connection.execute(text("SELECT value FROM counters")).scalar_one()
                connection.execute(text("UPDATE counters SET value = :value"), {"value": value + 1})

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with engine.connect() as connection:
        assert connection.execute(text("SELECT value FROM counters")).scalar_one() == 80


def test_a_write_that_fails_leaves_nothing(engine, scripts):
    migrate(engine, scripts.parent)

    def delete_and_fail():
        with begin_write(engine) as connection:
            connection.execute(text("DELETE FROM things"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        delete_and_fail()
    with engine.connect() as connection:
        assert connection.execute(text("SELECT name FROM things")).scalars().all() == ["first"]


def test_all_writes_of_a_process_share_one_connection_until_the_engine_is_disposed_of(engine):
    def driver_connection():
        with begin_write(engine) as connection:
            return connection.connection.driver_connection

    first = driver_connection()
    assert driver_connection() is first
    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(driver_connection).result() is first
    with pytest.raises(ZeroDivisionError), begin_write(engine):
        raise ZeroDivisionError
    assert driver_connection() is first

    engine.dispose()

    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        first.execute("SELECT 1")
    assert driver_connection() is not first


def test_a_connection_that_is_left_within_a_transaction_is_not_used_again(engine):
    writer = SqliteWriter(engine)
    with writer.connection() as connection:
        connection.begin()
    with writer.connection() as another:
        assert another is not connection
        assert not another.in_transaction()
    assert connection.closed


def test_who_waits_too_long_for_its_turn_goes_on_and_is_told_that_the_database_is_locked(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite_writer, "BUSY_TIMEOUT_MS", 1)
    monkeypatch.setattr(engine_module, "_PRAGMAS", ("busy_timeout=1",))
    engine = connect(f"sqlite:///{tmp_path}/mesh.db")
    with begin_write(engine), ThreadPoolExecutor(1) as thread:
        error = thread.submit(lambda: write(engine, lambda _connection: None)).exception()
    assert "database is locked" in str(error)
    assert write(engine, lambda _connection: "done") == "done"
    engine.dispose()


def test_who_wants_to_hear_of_a_commit_hears_once_when_others_see_it_and_nothing_of_what_is_rolled_back(engine, scripts):
    migrate(engine, scripts.parent)
    heard = []

    def count(name):
        with engine.connect() as connection:
            heard.append((name, connection.execute(text("SELECT count(*) FROM things")).scalar_one()))

    def add(connection, name):
        connection.execute(text("INSERT INTO things (name) VALUES (:name)"), {"name": name})
        after_commit(connection, count, name)
        after_commit(connection, count, name)

    write(engine, lambda connection: add(connection, "second"))
    with pytest.raises(IntegrityError):
        write(engine, lambda connection: (after_commit(connection, count, "lost"), add(connection, "first")), attempts=1)
    write(engine, lambda connection: add(connection, "third"))

    assert heard == [("second", 2), ("third", 3)]


def test_a_write_that_lost_runs_again_and_gives_up_in_the_end(engine, scripts):
    migrate(engine, scripts.parent)
    runs = []

    def insert_when_free(connection):
        runs.append(len(runs))
        connection.execute(text("INSERT INTO things (name) VALUES (:name)"), {"name": "first" if len(runs) < 3 else "second"})
        return "done"

    assert write(engine, insert_when_free) == "done"
    assert len(runs) == 3
    with pytest.raises(IntegrityError):
        write(engine, lambda connection: connection.execute(text("INSERT INTO things (name) VALUES ('first')")), attempts=2)


@pytest.mark.parametrize(
    ("url", "schema", "expected"),
    [
        ("sqlite:////data/mesh.db", None, "sqlite+pysqlite:////data/mesh.db"),
        ("sqlite:////data/mesh.db", "registry", "sqlite+pysqlite:////data/mesh-registry.db"),
        ("postgresql://u:p@h/d", "registry", "postgresql+psycopg://u:p@h/d"),
        ("postgres://h/d", None, "postgresql+psycopg://h/d"),
        ("mysql://u@h/d", "registry", "mysql+pymysql://u@h/d_registry?charset=utf8mb4"),
        ("mariadb://h/d", None, "mariadb+pymysql://h/d?charset=utf8mb4"),
    ],
)
def test_urls_are_taken_as_people_write_them(url, schema, expected):
    assert engine_url(url, schema).render_as_string(hide_password=False) == expected


@pytest.mark.parametrize(
    "url", ["", "mesh.db", "oracle://h/d", "sqlite://", "sqlite:///:memory:", "sqlite:///file:x?mode=memory&uri=true", "mysql://h"]
)
def test_a_wrong_url_is_refused_without_showing_its_password(url):
    with pytest.raises(DatabaseUrlError) as error:
        connect(url)
    assert "allowed" in str(error.value) or "write for example" in str(error.value)


def test_a_schema_name_that_could_be_sql_is_refused(tmp_path):
    with pytest.raises(DatabaseUrlError, match="no schema name"):
        connect(f"sqlite:///{tmp_path}/mesh.db", schema='x"; DROP')


def test_migrations_run_once_and_go_on_from_where_they_were(engine, scripts):
    migrate(engine, scripts.parent)
    migrate(engine, scripts.parent)
    with begin_write(engine) as connection:
        connection.execute(text("INSERT INTO things (name) VALUES ('kept')"))
    (scripts / "two.py").write_text(SECOND)
    migrate(engine, scripts.parent)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT name, size FROM things ORDER BY id")).all() == [("first", None), ("kept", None)]


def test_tables_that_are_as_they_should_be_are_left_alone_without_alembic(engine, scripts, monkeypatch):
    migrate(engine, scripts.parent)
    monkeypatch.setitem(sys.modules, "alembic.config", None)
    migrate(engine, scripts.parent)
    (scripts / "two.py").write_text(SECOND)
    with pytest.raises(ImportError):
        migrate(engine, scripts.parent)


def test_a_migration_that_fails_leaves_the_version_before(engine, scripts):
    migrate(engine, scripts.parent)
    (scripts / "two.py").write_text(SECOND)
    (scripts / "three.py").write_text(BROKEN)
    with pytest.raises(RuntimeError, match="power cut"):
        migrate(engine, scripts.parent)
    assert [column["name"] for column in inspect(engine).get_columns("things")] == ["id", "name"]
    (scripts / "three.py").unlink()
    migrate(engine, scripts.parent)
    assert [column["name"] for column in inspect(engine).get_columns("things")] == ["id", "name", "size"]


def test_a_newer_database_and_a_forked_history_are_refused(engine, scripts):
    (scripts / "two.py").write_text(SECOND)
    migrate(engine, scripts.parent)
    (scripts / "two.py").unlink()
    with pytest.raises(MigrationError, match="another version"):
        migrate(engine, scripts.parent)
    (scripts / "fork.py").write_text(FIRST.replace('"0001"', '"0009"'))
    with pytest.raises(MigrationError, match="one linear history"):
        migrate(engine, scripts.parent)


def _migrate(url, scripts, barrier):
    barrier.wait()
    migrate(connect(url), Path(scripts))


def test_processes_that_start_at_once_migrate_once(tmp_path, scripts):
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(4)
    url = f"sqlite:///{tmp_path}/race.db"
    processes = [context.Process(target=_migrate, args=(url, str(scripts.parent), barrier)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(180)
    assert [process.exitcode for process in processes] == [0] * 4
    with connect(url).connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM things")).scalar_one() == 1


VALUES = Table(
    "typed",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("time", UtcDateTime()),
    Column("value", JsonText()),
    Column("text", ExactText()),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def memory():
    engine = create_engine("sqlite://", poolclass=StaticPool)
    VALUES.metadata.create_all(engine)
    yield engine
    engine.dispose()


@settings(deadline=None)
@given(
    time=st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-7, minutes=30))]), min_value=datetime(1900, 1, 2)),
    value=JSON,
)
def test_times_and_json_come_back_as_they_went(memory, time, value):
    with memory.connect() as connection:
        connection.execute(VALUES.insert(), {"time": time, "value": value})
        row = connection.execute(select(VALUES)).one()
        connection.rollback()
    assert (row.time, row.value) == (time, value)
    assert row.time.tzinfo is UTC


def test_a_time_without_zone_is_refused(memory):
    with memory.connect() as connection, pytest.raises(StatementError, match="no zone"):
        connection.execute(VALUES.insert(), {"time": datetime(2026, 1, 1)})


def test_names_differ_by_case(memory):
    named = Table("named", MetaData(), Column("name", ExactString(9), unique=True))
    named.create(memory)
    with memory.connect() as connection:
        connection.execute(named.insert(), [{"name": "a"}, {"name": "A"}, {"name": "á"}])
        assert connection.execute(select(named.c.name).order_by(named.c.name)).scalars().all() == ["A", "a", "á"]
        connection.rollback()
