"""What `sql_engine` promises, on the databases that are servers."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, inspect, select, text

from sql_engine import ExactString, ExactText, JsonText, MigrationError, UtcDateTime, begin_write, connect, exact_float, migrate, write

SCRIPT = """
import sqlalchemy as sa
from alembic import op
revision = "0001"
down_revision = None
def upgrade():
    op.create_table("counters", sa.Column("name", sa.String(20), primary_key=True), sa.Column("value", sa.Integer, nullable=False))
    op.bulk_insert(sa.table("counters", sa.column("name"), sa.column("value")), [{"name": "a", "value": 0}, {"name": "b", "value": 0}])
"""
TYPED = Table(
    "typed",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("name", ExactString(20), unique=True),
    Column("text", ExactText()),
    Column("time", UtcDateTime),
    Column("value", JsonText),
    Column("number", exact_float()),
)


@pytest.fixture(params=["postgres_url", pytest.param("mariadb_url", marks=pytest.mark.system_package)])
def url(request: pytest.FixtureRequest) -> str:
    return request.getfixturevalue(request.param)


@pytest.fixture
def engine(url):
    engine = connect(url, schema="part")
    yield engine
    engine.dispose()


@pytest.fixture
def scripts(tmp_path):
    (tmp_path / "versions").mkdir()
    (tmp_path / "versions" / "one.py").write_text(SCRIPT)
    return tmp_path


def test_values_come_back_as_they_went(engine):
    TYPED.metadata.create_all(engine)
    time = datetime(2026, 2, 3, 4, 5, 6, 123456, timezone(timedelta(hours=5)))
    row = {"name": "é", "text": "x" * 70_000, "time": time, "value": {"a": [1, "ß\u2028", None]}, "number": 0.1 + 0.2}
    with begin_write(engine) as connection:
        connection.execute(TYPED.insert(), row)
    with engine.connect() as connection:
        found = connection.execute(select(TYPED)).one()._asdict()
    assert found == {"id": 1, **row}
    assert found["time"].tzinfo is UTC


def test_texts_differ_by_case_and_sort_by_code_point(engine):
    TYPED.metadata.create_all(engine)
    with begin_write(engine) as connection:
        connection.execute(TYPED.insert(), [{"name": name} for name in ("a", "A", "á", "Z", "a ")])
    with engine.connect() as connection:
        assert connection.execute(select(TYPED.c.name).order_by(TYPED.c.name)).scalars().all() == ["A", "Z", "a", "a ", "á"]
        assert connection.execute(select(TYPED.c.name).where(TYPED.c.name == "A")).scalars().all() == ["A"]


def test_a_schema_keeps_components_apart(url):
    for name in ("one", "two"):
        engine = connect(url, schema=name)
        TYPED.metadata.create_all(engine)
        with begin_write(engine) as connection:
            connection.execute(TYPED.insert(), {"name": name})
        engine.dispose()
    engine = connect(url, schema="one")
    with engine.connect() as connection:
        assert connection.execute(select(TYPED.c.name)).scalars().all() == ["one"]
    engine.dispose()


def test_many_that_start_at_once_migrate_once(url, scripts):
    barrier = threading.Barrier(4)
    failures = []

    def start() -> None:
        barrier.wait()
        try:
            engine = connect(url, schema="race")
            migrate(engine, Path(scripts))
            engine.dispose()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    engine = connect(url, schema="race")
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM counters")).scalar_one() == 2
    engine.dispose()


def test_a_newer_database_is_refused(engine, scripts):
    migrate(engine, scripts)
    with begin_write(engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0009'"))
    with pytest.raises(MigrationError, match="another version"):
        migrate(engine, scripts)
    assert inspect(engine).has_table("counters")


def test_a_transaction_that_loses_a_deadlock_runs_again(engine, scripts):
    migrate(engine, scripts)
    both_hold_one = threading.Barrier(2)
    runs: dict[str, int] = {}

    def add(first: str, second: str) -> None:
        def work(connection) -> None:
            runs[first] = runs.get(first, 0) + 1
            connection.execute(text("UPDATE counters SET value = value + 1 WHERE name = :name"), {"name": first})
            if runs[first] == 1:
                both_hold_one.wait()
            connection.execute(text("UPDATE counters SET value = value + 1 WHERE name = :name"), {"name": second})

        write(engine, work)

    threads = [threading.Thread(target=add, args=pair) for pair in (("a", "b"), ("b", "a"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(runs.values()) == [1, 2]
    with engine.connect() as connection:
        assert connection.execute(text("SELECT value FROM counters")).scalars().all() == [2, 2]
