"""One way to open SQLite, PostgreSQL, MySQL and MariaDB, to migrate their tables and to write to them.

```python
engine = connect("sqlite:////var/lib/mlmesh/mesh.db", schema="registry")
migrate(engine, Path(__file__).parent / "migrations")
with begin_write(engine) as connection: ...            # BEGIN IMMEDIATE on SQLite
write(engine, lambda connection: ...)                  # the same, and again after a deadlock
with accompanied(engine, lambda connection: ...): ...  # joins the first of them in the block
```
"""

from sql_engine.companions import Companion, accompanied
from sql_engine.engine import after_commit, begin_write, connect, is_conflict, write
from sql_engine.errors import DatabaseUrlError, DriverMissing, MigrationError
from sql_engine.insertion import Insertion
from sql_engine.migration import migrate
from sql_engine.types import ExactString, ExactText, JsonText, UtcDateTime, exact_float
from sql_engine.urls import engine_url

__all__ = [
    "Companion",
    "DatabaseUrlError",
    "DriverMissing",
    "ExactString",
    "ExactText",
    "Insertion",
    "JsonText",
    "MigrationError",
    "UtcDateTime",
    "accompanied",
    "after_commit",
    "begin_write",
    "connect",
    "engine_url",
    "exact_float",
    "is_conflict",
    "migrate",
    "write",
]
