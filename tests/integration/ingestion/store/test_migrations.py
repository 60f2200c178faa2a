from __future__ import annotations

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine

from servers.ingestion.store.tables import METADATA

_OTHERS = ("runtime_", "alembic_version")


def test_the_migrations_make_the_tables_that_the_code_knows(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={"include_name": lambda name, kind, _parents: kind != "table" or not str(name).startswith(_OTHERS), "compare_type": True},
        )

        assert compare_metadata(context, METADATA) == []
