"""Entities."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, RowMapping, and_, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from aip_filter import Field, Schema, side_table
from servers.features.definitions.records import Entity
from servers.features.errors import DefinitionChanged, EntityExists, EntityInUse, EntityNotFound
from servers.features.online import JoinKey, JoinKeyType
from servers.features.store.labels import add_labels, labels_of, replace_labels
from servers.features.store.tables import entities, entity_labels, view_entities, view_versions, views
from servers.runtime.pages import Collection, read_page
from servers.runtime.paging import Listing

_AS_THEY_STAND = ("id", "project", "name", "display_name", "description", "revision", "creator", "create_time", "update_time")

_LIST: Collection[RowMapping] = Collection(
    name="entities",
    source=entities,
    columns=tuple(entities.c),
    schema=Schema(
        {
            "name": Field("string", entities.c.name),
            "display_name": Field("string", entities.c.display_name),
            "labels": Field("map", entries=side_table(entity_labels, entity_labels.c.owner_id == entities.c.id)),
            "creator": Field("string", entities.c.creator),
            "create_time": Field("timestamp", entities.c.create_time),
            "update_time": Field("timestamp", entities.c.update_time),
        }
    ),
    order_fields={"name": entities.c.name, "create_time": entities.c.create_time, "update_time": entities.c.update_time},
    default_order="name",
    tie_breaker=entities.c.id,
    read=lambda row: row,
)


class Entities:
    """The entities of all projects. Where a method takes a `connection`, it is part of that transaction.

    Args:
        engine: The component's database, from `open_store`.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(self, connection: Connection, new: Entity) -> None:
        """Adds an entity.

        Raises:
            EntityExists: The project has one of the name.
        """
        if connection.execute(select(entities.c.id).where(_is(new.project, new.name))).first() is not None:
            raise EntityExists(new.project, new.name)
        row: dict[str, Any] = {name: getattr(new, name) for name in _AS_THEY_STAND}
        row["join_keys"] = [[key.name, key.type.value] for key in new.join_keys]
        try:
            connection.execute(insert(entities).values(row))
        except IntegrityError:
            # Somebody was faster, in between.
            raise EntityExists(new.project, new.name) from None
        add_labels(connection, entity_labels, new.id, new.labels)

    def get(self, project: str, name: str) -> Entity:
        """Returns an entity.

        Raises:
            EntityNotFound: The project has none of this name.
        """
        return self.named(project, [name])[0]

    def named(self, project: str, names: Iterable[str]) -> list[Entity]:
        """Returns entities in the order of their names here.

        Raises:
            EntityNotFound: The project has none of a name.
        """
        wanted = list(names)
        with self._engine.connect() as connection:
            rows = connection.execute(select(entities).where(entities.c.project == project, entities.c.name.in_(wanted))).mappings().all()
            labels = labels_of(connection, entity_labels, [row["id"] for row in rows])
        found = {row["name"]: _entity_of(row, labels[row["id"]]) for row in rows}
        for name in wanted:
            if name not in found:
                raise EntityNotFound(project, name)
        return [found[name] for name in wanted]

    def page(self, project: str, listing: Listing) -> tuple[list[Entity], str]:
        """Returns a page of a project's entities, and the token of the next one.

        Raises:
            aip_filter.QueryError: Filter, order or page token is wrong.
        """
        with self._engine.connect() as connection:
            rows, token = read_page(connection, _LIST, listing, entities.c.project == project, scope=project)
            labels = labels_of(connection, entity_labels, [row["id"] for row in rows])
        return [_entity_of(row, labels[row["id"]]) for row in rows], token

    def change(self, connection: Connection, before: Entity, changes: Mapping[str, Any]) -> None:
        """Changes an entity, unless somebody else just did.

        Args:
            connection: Within the transaction.
            before: As it was read.
            changes: Columns that change, `update_time` with them; `labels` are replaced.

        Raises:
            DefinitionChanged: Somebody did.
        """
        values = {name: value for name, value in changes.items() if name != "labels"} | {"revision": before.revision + 1}
        unchanged = and_(entities.c.id == before.id, entities.c.revision == before.revision)
        if connection.execute(update(entities).where(unchanged).values(values)).rowcount != 1:
            raise DefinitionChanged(f"the entity {before.name!r}")
        if "labels" in changes:
            replace_labels(connection, entity_labels, before.id, changes["labels"])

    def remove(self, connection: Connection, before: Entity) -> None:
        """Removes an entity.

        Raises:
            EntityInUse: A view has it.
            DefinitionChanged: Somebody changed it meanwhile.
        """
        users = (
            select(views.c.name)
            .distinct()
            .select_from(view_entities.join(view_versions, view_versions.c.id == view_entities.c.view_version_id))
            .join(views, views.c.id == view_versions.c.owner_id)
            .where(view_entities.c.entity_id == before.id)
            .order_by(views.c.name)
        )
        # Who makes a view of it locks it, too.
        found = select(entities.c.revision).where(entities.c.id == before.id).with_for_update()
        is_unchanged = connection.execute(found).scalar_one_or_none() == before.revision
        if names := list(connection.execute(users).scalars()):
            raise EntityInUse(before.name, names)
        if not is_unchanged:
            raise DefinitionChanged(f"the entity {before.name!r}")
        connection.execute(delete(entity_labels).where(entity_labels.c.owner_id == before.id))
        connection.execute(delete(entities).where(entities.c.id == before.id))


def lock_entities(connection: Connection, found: Iterable[Entity]) -> None:
    """Keeps entities from being deleted until the end of the transaction.

    Raises:
        DefinitionChanged: One was deleted.
    """
    for entity in sorted(found, key=lambda each: each.id):
        there = select(entities.c.id).where(entities.c.id == entity.id).with_for_update(read=True)
        if connection.execute(there).first() is None:
            raise DefinitionChanged(f"the entity {entity.name!r}")


def _is(project: str, name: str) -> ColumnElement[bool]:
    return and_(entities.c.project == project, entities.c.name == name)


def _entity_of(row: RowMapping, labels: Mapping[str, str]) -> Entity:
    values: dict[str, Any] = {name: row[name] for name in _AS_THEY_STAND}
    return Entity(**values, labels=labels, join_keys=tuple(JoinKey(name, JoinKeyType(kind)) for name, kind in row["join_keys"]))
