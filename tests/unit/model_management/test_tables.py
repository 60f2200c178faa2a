from __future__ import annotations

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from model_management.metadata.sql import SqlStore
from model_management.metadata.tables import METADATA
from sql_engine import connect


@pytest.fixture
def engine(tmp_path):
    engine = connect(f"sqlite:///{tmp_path}/registry.db")
    SqlStore(engine)
    yield engine
    engine.dispose()


def test_the_migrations_make_exactly_the_tables_that_the_code_uses(engine):
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": "registry_schema_version"})
        assert compare_metadata(context, METADATA) == []
