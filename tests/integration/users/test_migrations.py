from __future__ import annotations

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from servers.users.composition import Domain
from servers.users.store.tables import METADATA

_OTHERS = ("runtime_", "alembic_version")


def test_the_migrations_make_the_tables_that_the_code_knows(domain: Domain) -> None:
    with domain.engine.connect() as connection:
        # MySQL keeps the type of a short binary column under another name than it was given.
        compares_types = connection.dialect.name not in ("mysql", "mariadb")
        context = MigrationContext.configure(
            connection,
            opts={
                "include_name": lambda name, kind, _parents: kind != "table" or not str(name).startswith(_OTHERS),
                "compare_type": compares_types,
            },
        )

        assert compare_metadata(context, METADATA) == []
