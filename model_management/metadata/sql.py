"""Metadata in SQLite, PostgreSQL, MySQL or MariaDB. All SQL of the registry is here and in `sql_questions`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, Row, Select, Table, bindparam, delete, insert, select, text, update

from model_management.metadata import sql_questions
from model_management.metadata.backend import Purged
from model_management.metadata.collection_lock import database_lock
from model_management.metadata.database_errors import typed_errors
from model_management.metadata.records import Transaction
from model_management.metadata.rows import (
    attribute_rows,
    file_rows,
    model_from_row,
    model_values,
    parent_rows,
    tag_rows,
    version_from_row,
    version_values,
)
from model_management.metadata.tables import ATTRIBUTES, FILES, MODEL_TAGS, MODELS, PARENTS, RETIRED, VERSIONS
from model_management.model import LineageEdge, ModelVersion, Page, RegisteredModel, Stage, Statistics, VersionReference, VersionState
from model_management.query import ListQuery
from sql_engine import Insertion, migrate, write

__all__ = ["SqlStore"]

_Result = TypeVar("_Result")

_MODEL = select(MODELS).where(MODELS.c.project == bindparam("project"), MODELS.c.name == bindparam("name"))
_MODEL_LOCKED = _MODEL.with_for_update()
_RETIRED = select(RETIRED.c.last_version).where(RETIRED.c.project == bindparam("project"), RETIRED.c.name == bindparam("name"))
_VERSION = sql_questions.VERSION_ROWS.where(
    MODELS.c.project == bindparam("project"), MODELS.c.name == bindparam("name"), VERSIONS.c.version == bindparam("number")
)
_VERSION_OF_REQUEST = sql_questions.VERSION_ROWS.where(
    VERSIONS.c.project == bindparam("project"), VERSIONS.c.request_id == bindparam("request_id")
)
_READY = sql_questions.VERSION_ROWS.where(
    MODELS.c.project == bindparam("project"), MODELS.c.name == bindparam("name"), VERSIONS.c.state == VersionState.READY.value
).order_by(VERSIONS.c.version.desc())
# Built once: putting a statement together costs more than SQLite needs to run it.
_ADD_MODEL = insert(MODELS)
_ADD_VERSION = insert(VERSIONS)
_CHANGE_MODEL = update(MODELS).where(MODELS.c.id == bindparam("row_id"))
_CHANGE_VERSION = update(VERSIONS).where(VERSIONS.c.id == bindparam("row_id"))


class SqlStore:
    """A `RecordStore` in a database.

    Args:
        engine: The database, from `sql_engine.connect`. Its tables are made or migrated here.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._insertions = {table: Insertion(table, engine.dialect) for table in (ATTRIBUTES, FILES, MODEL_TAGS, PARENTS)}
        with typed_errors():
            migrate(engine, Path(__file__).with_name("migrations"), version_table="registry_schema_version")

    @property
    def engine(self) -> Engine:
        """Return the database."""
        return self._engine

    def read(self, work: Callable[[Transaction], _Result]) -> _Result:
        """Run a function in a transaction that only reads; see `RecordStore.read`."""
        with self._connection() as connection:
            return work(self._transaction(connection, locks=False))

    def write(self, work: Callable[[Transaction], _Result]) -> _Result:
        """Run a function in a transaction, and again where it lost; see `RecordStore.write`."""
        return self._write(lambda connection: work(self._transaction(connection, locks=True)))

    def list_models(self, query: ListQuery) -> Page[RegisteredModel]:
        """Return a page of models; see `RecordStore.list_models`."""
        with self._connection() as connection:
            return sql_questions.list_models(connection, query)

    def list_versions(self, query: ListQuery) -> Page[ModelVersion]:
        """Return a page of versions; see `RecordStore.list_versions`."""
        with self._connection() as connection:
            return sql_questions.list_versions(connection, query)

    def parents_of(self, project: str, children: Collection[VersionReference]) -> list[LineageEdge]:
        """Return the edges that lead to these versions."""
        with self._connection() as connection:
            return sql_questions.edges(connection, project, "child", children)

    def children_of(self, project: str, parents: Collection[VersionReference]) -> list[LineageEdge]:
        """Return the edges that lead from these versions."""
        with self._connection() as connection:
            return sql_questions.edges(connection, project, "parent", parents)

    def statistics(self, project: str | None) -> Statistics:
        """Return counts of a project, or of all."""
        with self._connection() as connection:
            return sql_questions.statistics(connection, project)

    def models_by_tag(self, key: str, value: str, project: str | None) -> list[RegisteredModel]:
        """Return the models with this tag, by project and name."""
        with self._connection() as connection:
            return sql_questions.models_by_tag(connection, key, value, project)

    def purge(self, *, before: datetime, pending_before: datetime, now: datetime, dry_run: bool) -> Purged:
        """Take away what was deleted or FAILED long ago; see `CollectableBackend.purge`."""
        return self._write(
            lambda connection: sql_questions.purge(
                connection, self._transaction(connection, locks=True), before, pending_before, now, dry_run=dry_run
            )
        )

    def referenced(self, digests: Collection[str], *, project: str | None, purged_before: datetime | None) -> frozenset[str]:
        """Return those digests that a version refers to; see `CollectableBackend.referenced`."""
        with self._connection() as connection:
            return sql_questions.referenced(connection, digests, project, purged_before)

    @contextmanager
    def collection_lock(self, *, exclusive: bool) -> Iterator[None]:
        """Hold off garbage collection; see `CollectableBackend.collection_lock`."""
        with typed_errors(), database_lock(self._engine, exclusive=exclusive):
            yield

    def check(self) -> None:
        """Find out whether the database answers."""
        with self._connection() as connection:
            connection.execute(text("SELECT 1"))

    def close(self) -> None:
        """Give back the connections."""
        self._engine.dispose()

    def _transaction(self, connection: Connection, *, locks: bool) -> SqlTransaction:
        return SqlTransaction(connection, self._insertions, locks=locks)

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        with typed_errors(), self._engine.connect() as connection:
            yield connection

    def _write(self, work: Callable[[Connection], _Result]) -> _Result:
        with typed_errors():
            return write(self._engine, work)


class SqlTransaction:
    """A `Transaction` on a connection.

    Args:
        connection: Within the transaction of the database.
        insertions: How to add rows to the side tables.
        locks: Whether `model` locks its row, as it has to where something is written.
    """

    def __init__(self, connection: Connection, insertions: Mapping[Table, Insertion], *, locks: bool) -> None:
        self._connection = connection
        self._insertions = insertions
        self._model_query = _MODEL_LOCKED if locks else _MODEL
        self._models: dict[tuple[str, str], Row[Any]] = {}
        self._model_ids: dict[tuple[str, str], int] = {}
        self._numbers: dict[tuple[str, str], int] = {}
        self._version_ids: dict[tuple[str, str, int], int] = {}

    def model(self, project: str, name: str) -> RegisteredModel | None:
        """Return a model, also a deleted one; None where there is none."""
        row = self._connection.execute(self._model_query, {"project": project, "name": name}).first()
        if row is None:
            return None
        self._models[project, name] = row
        self._model_ids[project, name] = row.id
        self._numbers[project, name] = row.last_version
        return model_from_row(row)

    def model_request_id(self, project: str, name: str) -> str | None:
        """Return the request id that made a model that `model` returned."""
        return self._models[project, name].request_id  # type: ignore[no-any-return]

    def add_model(self, model: RegisteredModel, request_id: str | None) -> None:
        """Keep a new model."""
        key = {"project": model.project, "name": model.name}
        last_version = self._connection.execute(_RETIRED, key).scalar()
        if last_version is not None:
            self._connection.execute(delete(RETIRED).where(RETIRED.c.project == model.project, RETIRED.c.name == model.name))
        values = {**model_values(model), "last_version": last_version or 0, "request_id": request_id}
        added = self._connection.execute(_ADD_MODEL, values)
        model_id = _new_id(added.inserted_primary_key)
        self._model_ids[model.project, model.name] = model_id
        self._numbers[model.project, model.name] = last_version or 0
        self._insert(MODEL_TAGS, tag_rows(model_id, model.tags))

    def replace_model(self, before: RegisteredModel, after: RegisteredModel) -> None:
        """Keep a model as it is now; writes what has changed."""
        key = (before.project, before.name)
        model_id = self._model_ids[key]
        was = model_values(before)
        changed = {name: value for name, value in model_values(after).items() if value != was[name]}
        self._connection.execute(_CHANGE_MODEL, {**changed, "last_version": self._numbers[key], "row_id": model_id})
        if before.tags != after.tags:
            self._connection.execute(delete(MODEL_TAGS).where(MODEL_TAGS.c.model_id == model_id))
            self._insert(MODEL_TAGS, tag_rows(model_id, after.tags))

    def take_number(self, project: str, name: str) -> int:
        """Return the next version number of a model that `model` returned."""
        self._numbers[project, name] += 1
        return self._numbers[project, name]

    def version(self, project: str, model: str, number: int) -> ModelVersion | None:
        """Return a version, also a deleted one; None where there is none."""
        return self._one(_VERSION, {"project": project, "name": model, "number": number})

    def version_of_request(self, project: str, request_id: str) -> ModelVersion | None:
        """Return the version that a request id made."""
        return self._one(_VERSION_OF_REQUEST, {"project": project, "request_id": request_id})

    def newest_ready(self, project: str, model: str, stage: Stage | None = None) -> ModelVersion | None:
        """Return the READY version with the highest number."""
        query = _READY if stage is None else _READY.where(VERSIONS.c.stage == stage.value)
        return self._one(query.limit(1), {"project": project, "name": model})

    def ready_in_stage(self, project: str, model: str, stage: Stage) -> list[ModelVersion]:
        """Return all READY versions in a stage."""
        rows = self._connection.execute(_READY.where(VERSIONS.c.stage == stage.value), {"project": project, "name": model})
        return [self._seen(row) for row in rows]

    def add_version(self, version: ModelVersion, request_id: str | None) -> None:
        """Keep a new version of a model that this transaction has seen."""
        model_id = self._model_ids[version.project, version.model]
        values = {**version_values(version), "model_id": model_id, "request_id": request_id}
        added = self._connection.execute(_ADD_VERSION, values)
        version_id = _new_id(added.inserted_primary_key)
        self._version_ids[version.project, version.model, version.version] = version_id
        self._insert(FILES, file_rows(version_id, version))
        self._insert(ATTRIBUTES, attribute_rows(version_id, version))
        self._insert(PARENTS, parent_rows(version_id, version))

    def replace_version(self, before: ModelVersion, after: ModelVersion) -> None:
        """Keep a version as it is now; side tables are rewritten where they have changed."""
        version_id = self._version_ids[before.project, before.model, before.version]
        was = version_values(before)
        changed = {name: value for name, value in version_values(after).items() if value != was[name]}
        self._connection.execute(_CHANGE_VERSION, {**changed, "row_id": version_id})
        if before.files != after.files:
            self._connection.execute(delete(FILES).where(FILES.c.version_id == version_id))
            self._insert(FILES, file_rows(version_id, after))
        if (before.tags, before.metrics, before.parameters) != (after.tags, after.metrics, after.parameters):
            self._connection.execute(delete(ATTRIBUTES).where(ATTRIBUTES.c.version_id == version_id))
            self._insert(ATTRIBUTES, attribute_rows(version_id, after))

    def _one(self, query: Select[Any], values: dict[str, Any]) -> ModelVersion | None:
        row = self._connection.execute(query, values).first()
        return None if row is None else self._seen(row)

    def _seen(self, row: Row[Any]) -> ModelVersion:
        version = version_from_row(row)
        self._version_ids[version.project, version.model, version.version] = row.id
        return version

    def _insert(self, table: Table, rows: Sequence[dict[str, Any]]) -> None:
        if rows:
            self._insertions[table].run(self._connection, rows)


def _new_id(key: Row[Any] | None) -> int:
    if key is None:  # pragma: no cover - every database returns the key of a row that was inserted
        raise AssertionError("the database returned no key")
    return int(key[0])
