"""Lists, counts and the end of things, in SQL."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import ColumnElement, Connection, Select, and_, delete, func, insert, or_, select, tuple_, update

from aip_filter import Field, Schema, keyset_after, order_columns, parse, side_table, to_sql
from model_management.metadata.backend import Purged
from model_management.metadata.rows import model_from_row, version_from_row
from model_management.metadata.tables import ATTRIBUTES, FILES, MODEL_TAGS, MODELS, PARENTS, RETIRED, VERSIONS
from model_management.metadata.transitions import failed
from model_management.model import (
    LineageEdge,
    ModelVersion,
    Page,
    RegisteredModel,
    Stage,
    Statistics,
    VersionError,
    VersionReference,
    VersionState,
)
from model_management.query import MODEL_FIELDS, VERSION_FIELDS, ListQuery

if TYPE_CHECKING:
    from model_management.metadata.sql import SqlTransaction

__all__ = ["VERSION_ROWS", "edges", "list_models", "list_versions", "models_by_tag", "purge", "referenced", "statistics"]

BATCH = 500
"""How many values stand in one IN (…); SQLite takes 32,766."""

VERSION_ROWS = select(VERSIONS, MODELS.c.name.label("model"), MODELS.c.aliases).join_from(VERSIONS, MODELS)
"""Versions with what `rows.version_from_row` needs of their model."""

_MODEL_COLUMNS: Mapping[str, ColumnElement[Any]] = {column.name: column for column in MODELS.c}
_VERSION_COLUMNS: Mapping[str, ColumnElement[Any]] = {**{column.name: column for column in VERSIONS.c}, "model": MODELS.c.name}


def _attributes(kind: str, value: str) -> Any:
    return side_table(ATTRIBUTES, ATTRIBUTES.c.version_id == VERSIONS.c.id, ATTRIBUTES.c.kind == kind, value=value)


def _with_columns(fields: Mapping[str, Field], columns: Mapping[str, ColumnElement[Any]], maps: Mapping[str, Any]) -> Schema:
    return Schema(
        {
            name: replace(field, entries=maps[name]) if field.kind == "map" else replace(field, column=columns[name])
            for name, field in fields.items()
        }
    )


_MODEL_SCHEMA = _with_columns(MODEL_FIELDS, _MODEL_COLUMNS, {"tags": side_table(MODEL_TAGS, MODEL_TAGS.c.model_id == MODELS.c.id)})
_VERSION_SCHEMA = _with_columns(
    VERSION_FIELDS,
    _VERSION_COLUMNS,
    {
        "tags": _attributes("tag", "text"),
        "parameters": _attributes("parameter", "text"),
        "metrics": _attributes("metric", "number"),
    },
)


def list_models(connection: Connection, query: ListQuery) -> Page[RegisteredModel]:
    """Return a page of models; one statement."""
    order = [(_MODEL_COLUMNS[name], descends) for name, descends in query.model_order()]
    statement = select(MODELS).where(to_sql(parse(query.filter), _MODEL_SCHEMA))
    if not query.include_deleted:
        statement = statement.where(MODELS.c.delete_time.is_(None))
    statement = _page(statement, query, "models", order)
    models = [model_from_row(row) for row in connection.execute(statement)]
    if len(models) <= query.limit():
        return Page(tuple(models))
    last = models[query.limit() - 1]
    return Page(tuple(models[:-1]), query.next_token("models", [getattr(last, name) for name, _ in query.model_order()]))


def list_versions(connection: Connection, query: ListQuery) -> Page[ModelVersion]:
    """Return a page of versions; one statement."""
    order = [(_VERSION_COLUMNS[name], descends) for name, descends in query.version_order()]
    statement = VERSION_ROWS.where(to_sql(parse(query.filter), _VERSION_SCHEMA))
    if query.model:
        statement = statement.where(MODELS.c.name == query.model)
    if not query.include_deleted:
        statement = statement.where(MODELS.c.delete_time.is_(None), VERSIONS.c.state != VersionState.DELETED.value)
    statement = _page(statement, query, "versions", order)
    versions = [version_from_row(row) for row in connection.execute(statement)]
    if len(versions) <= query.limit():
        return Page(tuple(versions))
    last = versions[query.limit() - 1]
    return Page(tuple(versions[:-1]), query.next_token("versions", [getattr(last, name) for name, _ in query.version_order()]))


def _page(statement: Select[Any], query: ListQuery, kind: str, order: list[tuple[ColumnElement[Any], bool]]) -> Select[Any]:
    """Return the statement for one page and one row more, which tells whether another page follows."""
    if query.projects is not None:
        statement = statement.where(MODELS.c.project.in_(sorted(query.projects)))
    last = query.last_seen(kind)
    if last is not None:
        statement = statement.where(keyset_after(order, last))
    return statement.order_by(*order_columns(order)).limit(query.limit() + 1)


def edges(connection: Connection, project: str, end: Literal["child", "parent"], ends: Collection[VersionReference]) -> list[LineageEdge]:
    """Return the edges of lineage that have one of these versions as child, or as parent."""
    pair = tuple_(PARENTS.c[f"{end}_model"], PARENTS.c[f"{end}_version"])
    found = []
    for batch in _batches(sorted(ends)):
        wanted = pair.in_([(reference.model, reference.version) for reference in batch])
        for row in connection.execute(select(PARENTS).where(PARENTS.c.project == project, wanted)):
            parent = VersionReference(row.parent_model, row.parent_version)
            found.append(LineageEdge(parent, VersionReference(row.child_model, row.child_version)))
    return found


def statistics(connection: Connection, project: str | None) -> Statistics:
    """Return counts of a project, or of all."""
    conditions = [MODELS.c.delete_time.is_(None)] + ([] if project is None else [MODELS.c.project == project])
    model_count = connection.execute(select(func.count()).select_from(MODELS).where(*conditions)).scalar_one()
    groups = connection.execute(
        select(VERSIONS.c.stage, VERSIONS.c.format, func.count().label("versions"), func.sum(VERSIONS.c.size_bytes).label("size_bytes"))
        .join_from(VERSIONS, MODELS)
        .where(*conditions, VERSIONS.c.state == VersionState.READY.value)
        .group_by(VERSIONS.c.stage, VERSIONS.c.format)
    ).all()
    by_stage: dict[str, int] = {}
    by_format: dict[str, int] = {}
    for group in groups:
        stage = Stage(group.stage).value
        by_stage[stage] = by_stage.get(stage, 0) + group.versions
        by_format[group.format] = by_format.get(group.format, 0) + group.versions
    return Statistics(
        model_count=model_count,
        version_count=sum(by_stage.values()),
        total_size_bytes=sum(int(group.size_bytes) for group in groups),
        versions_by_stage=by_stage,
        versions_by_format=by_format,
    )


def models_by_tag(connection: Connection, key: str, value: str, project: str | None) -> list[RegisteredModel]:
    """Return the models with this tag, by project and name."""
    statement = (
        select(MODELS)
        .join_from(MODELS, MODEL_TAGS)
        .where(MODEL_TAGS.c.key == key, MODEL_TAGS.c.value == value, MODELS.c.delete_time.is_(None))
        .order_by(MODELS.c.project, MODELS.c.name)
    )
    if project is not None:
        statement = statement.where(MODELS.c.project == project)
    return [model_from_row(row) for row in connection.execute(statement)]


def referenced(connection: Connection, digests: Collection[str], project: str | None, purged_before: datetime | None) -> frozenset[str]:
    """Return those digests that a version refers to."""
    found: set[str] = set()
    for batch in _batches(sorted(digests)):
        statement = select(FILES.c.digest).distinct().where(FILES.c.digest.in_(batch))
        if project is not None:
            statement = statement.join_from(FILES, VERSIONS).where(VERSIONS.c.project == project)
        if purged_before is not None:
            # Through a subquery of ids, since NOT over a NULL delete_time would drop the row.
            gone = select(VERSIONS.c.id).join_from(VERSIONS, MODELS).where(_is_purgeable(purged_before))
            statement = statement.where(FILES.c.version_id.not_in(gone))
        found.update(connection.execute(statement).scalars())
    return frozenset(found)


def purge(
    connection: Connection, transaction: SqlTransaction, before: datetime, pending_before: datetime, now: datetime, *, dry_run: bool
) -> Purged:
    """Take away what was deleted or FAILED long ago, and give up what has been PENDING for too long."""
    gone = connection.execute(select(VERSIONS.c.id, VERSIONS.c.model_id).join_from(VERSIONS, MODELS).where(_is_purgeable(before))).all()
    ids = {row.id for row in gone}
    for batch in _batches(sorted({row.model_id for row in gone})):
        # Whoever adds or restores a version has its model, too: so what is counted stays.
        connection.execute(select(MODELS.c.id).where(MODELS.c.id.in_(batch)).order_by(MODELS.c.id).with_for_update()).all()
    models = connection.execute(select(MODELS).where(MODELS.c.delete_time < before).with_for_update()).all()
    is_stale = and_(VERSIONS.c.state == VersionState.PENDING.value, VERSIONS.c.update_time < pending_before)
    stale = [row for row in connection.execute(VERSION_ROWS.where(is_stale)).all() if row.id not in ids]
    if not dry_run:
        for row in stale:
            _give_up(transaction, row.project, row.model, row.version, pending_before, now)
        for model in models:
            connection.execute(insert(RETIRED).values(project=model.project, name=model.name, last_version=model.last_version))
            connection.execute(delete(MODELS).where(MODELS.c.id == model.id))
        for batch in _batches(sorted(ids)):
            # Asked again, since a restore may have come between.
            still = or_(
                VERSIONS.c.delete_time < before, and_(VERSIONS.c.state == VersionState.FAILED.value, VERSIONS.c.update_time < before)
            )
            connection.execute(delete(VERSIONS).where(VERSIONS.c.id.in_(batch), still))
        for batch in _batches(sorted({row.model_id for row in gone})):
            count = select(func.count()).where(VERSIONS.c.model_id == MODELS.c.id, VERSIONS.c.state != VersionState.DELETED.value)
            connection.execute(update(MODELS).where(MODELS.c.id.in_(batch)).values(version_count=count.scalar_subquery()))
    return Purged(len(gone), len(models), len(stale))


def _give_up(transaction: SqlTransaction, project: str, model: str, number: int, pending_before: datetime, now: datetime) -> None:
    transaction.model(project, model)
    version = transaction.version(project, model, number)
    if version is not None and version.state is VersionState.PENDING and version.update_time < pending_before:
        transaction.replace_version(version, failed(version, VersionError("ABANDONED", "its files did not arrive"), now))


def _is_purgeable(before: datetime) -> ColumnElement[bool]:
    is_failed = and_(VERSIONS.c.state == VersionState.FAILED.value, VERSIONS.c.update_time < before)
    return or_(MODELS.c.delete_time < before, VERSIONS.c.delete_time < before, is_failed)


def _batches(values: list[Any]) -> Iterator[list[Any]]:
    iterator = iter(values)
    while batch := list(islice(iterator, BATCH)):
        yield batch
