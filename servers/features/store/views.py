"""Feature views with their versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Engine, and_, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from aip_filter.matching import ExactMatch
from servers.features.definitions.records import Entity, View, ViewVersion
from servers.features.errors import DefinitionChanged, ViewExists, ViewInUse, ViewNotFound, ViewVersionNotFound
from servers.features.store.entities import lock_entities
from servers.features.store.labels import add_labels, labels_of, replace_labels
from servers.features.store.tables import (
    service_versions,
    service_views,
    services,
    view_entities,
    view_features,
    view_labels,
    view_versions,
    views,
)
from servers.features.store.view_rows import (
    COLUMNS,
    LIST,
    VERSION_COLUMNS,
    VERSION_LIST,
    VERSIONS,
    is_view,
    keys_to_json,
    search_text,
    searchable,
    version_of,
    view_of,
)
from servers.runtime.pages import read_page
from servers.runtime.paging import Listing

_AS_THEY_STAND = ("id", "project", "name", "display_name", "description", "revision", "creator", "create_time", "update_time")


class Views:
    """The feature views of all projects. Where a method takes a `connection`, it is part of that transaction.

    Args:
        engine: The component's database, from `open_store`.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(self, connection: Connection, new: View, entities: Sequence[Entity]) -> None:
        """Adds a view with its first version.

        Args:
            connection: Within the transaction.
            new: The view; `shown` is the version.
            entities: Of the version.

        Raises:
            ViewExists: The project has one of the name, or one that is being deleted.
            DefinitionChanged: An entity was deleted meanwhile.
        """
        of_this_name = and_(views.c.project == new.project, views.c.name == new.name)
        if connection.execute(select(views.c.id).where(of_this_name)).first() is not None:
            raise ViewExists(new.project, new.name)
        row: dict[str, Any] = {name: getattr(new, name) for name in _AS_THEY_STAND}
        text = search_text(new.name, new.description, _names(new.shown))
        try:
            connection.execute(insert(views).values(**row, version=1, is_deleted=False, search_text=text))
        except IntegrityError:
            # Somebody was faster, in between.
            raise ViewExists(new.project, new.name) from None
        _add_version(connection, new.shown, entities)
        add_labels(connection, view_labels, new.id, new.labels)

    def get(self, project: str, name: str, version: int = 0) -> View:
        """Returns a view, described by a version; 0 = the newest.

        Raises:
            ViewNotFound: The project has none of this name.
            ViewVersionNotFound: It has no such version.
        """
        query = (
            select(*COLUMNS).select_from(VERSIONS).where(is_view(project, name), view_versions.c.version == (version or views.c.version))
        )
        with self._engine.connect() as connection:
            row = connection.execute(query).mappings().one_or_none()
            if row is not None:
                return view_of(row, labels_of(connection, view_labels, [row["id"]])[row["id"]])
            # Where the newest is wanted, this finds one that was made since the look before.
            newest = connection.execute(select(views.c.version).where(is_view(project, name))).scalar_one_or_none()
        raise ViewNotFound(project, name) if newest is None or not version else ViewVersionNotFound(name, version, newest)

    def page(self, project: str, query: str, listing: Listing) -> tuple[list[View], str]:
        """Returns a page of a project's views, and the token of the next one.

        Args:
            project: Whose.
            query: Text that has to be in the name, the description or the name of a feature, in any case; empty = all.
            listing: Which part of them.

        Raises:
            aip_filter.QueryError: Filter, order or page token is wrong.
        """
        conditions = [views.c.project == project, views.c.is_deleted.is_(False)]
        if query:
            conditions.append(ExactMatch(views.c.search_text, searchable(query), any_prefix=True, any_suffix=True))
        with self._engine.connect() as connection:
            rows, token = read_page(connection, LIST, listing, *conditions, scope=f"{project}\n{query}")
            labels = labels_of(connection, view_labels, [row["id"] for row in rows])
        return [view_of(row, labels[row["id"]]) for row in rows], token

    def versions(self, project: str, name: str, listing: Listing) -> tuple[list[ViewVersion], str]:
        """Returns a page of a view's versions, and the token of the next one.

        Raises:
            ViewNotFound: The project has none of this name.
            aip_filter.QueryError: Filter, order or page token is wrong.
        """
        with self._engine.connect() as connection:
            view_id = connection.execute(select(views.c.id).where(is_view(project, name))).scalar_one_or_none()
            if view_id is None:
                raise ViewNotFound(project, name)
            return read_page(connection, VERSION_LIST, listing, view_versions.c.owner_id == view_id, scope=view_id)

    def change(
        self, connection: Connection, before: View, changes: Mapping[str, Any], version: ViewVersion | None, entities: Sequence[Entity]
    ) -> None:
        """Changes a view, unless somebody else just did.

        Args:
            connection: Within the transaction.
            before: As it was read, with its newest version.
            changes: Columns that change, `update_time` with them; `labels` are replaced.
            version: Another version; None where there is none.
            entities: Of that version.

        Raises:
            DefinitionChanged: Somebody did, or an entity was deleted.
        """
        values = {name: value for name, value in changes.items() if name != "labels"} | {"revision": before.revision + 1}
        shown = before.shown if version is None else version
        values |= {"version": shown.version}
        values["search_text"] = search_text(before.name, changes.get("description", before.description), _names(shown))
        unchanged = and_(views.c.id == before.id, views.c.revision == before.revision, views.c.is_deleted.is_(False))
        if connection.execute(update(views).where(unchanged).values(values)).rowcount != 1:
            raise DefinitionChanged(f"the feature view {before.name!r}")
        if version is not None:
            _add_version(connection, version, entities)
        if "labels" in changes:
            replace_labels(connection, view_labels, before.id, changes["labels"])

    def begin_removal(self, connection: Connection, before: View) -> None:
        """Takes a view out of sight, so that nobody uses it any more while its vectors and pipelines are taken away.

        Raises:
            ViewInUse: A service has features of it.
            DefinitionChanged: Somebody changed it meanwhile.
        """
        unchanged = and_(views.c.id == before.id, views.c.revision == before.revision, views.c.is_deleted.is_(False))
        is_unchanged = connection.execute(update(views).where(unchanged).values(is_deleted=True)).rowcount == 1
        users = (
            select(services.c.name)
            .distinct()
            .select_from(service_views.join(view_versions, view_versions.c.id == service_views.c.view_version_id))
            .join(service_versions, service_versions.c.id == service_views.c.service_version_id)
            .join(services, services.c.id == service_versions.c.owner_id)
            .where(view_versions.c.owner_id == before.id)
            .order_by(services.c.name)
        )
        if names := list(connection.execute(users).scalars()):
            raise ViewInUse(before.name, names)
        if not is_unchanged:
            raise DefinitionChanged(f"the feature view {before.name!r}")

    def version_ids(self, connection: Connection, view_id: str) -> list[str]:
        """Returns the ids of the versions of a view."""
        return list(connection.execute(select(view_versions.c.id).where(view_versions.c.owner_id == view_id)).scalars())

    def being_removed(self, project: str, name: str) -> list[ViewVersion]:
        """Returns the versions of the view of a name whose removal has begun; none where there is no such view."""
        gone = and_(views.c.project == project, views.c.name == name, views.c.is_deleted.is_(True))
        query = select(*VERSION_COLUMNS).select_from(VERSIONS).where(gone).order_by(view_versions.c.version)
        with self._engine.connect() as connection:
            return list(map(version_of, connection.execute(query).mappings()))

    def remove(self, connection: Connection, view_id: str) -> None:
        """Removes a view that is out of sight, with its versions."""
        of_it = select(view_versions.c.id).where(view_versions.c.owner_id == view_id).scalar_subquery()
        for table in (view_features, view_entities):
            connection.execute(delete(table).where(table.c.view_version_id.in_(of_it)))
        for table in (view_labels, view_versions):
            connection.execute(delete(table).where(table.c.owner_id == view_id))
        connection.execute(delete(views).where(views.c.id == view_id, views.c.is_deleted.is_(True)))

    def has_pipeline(self, project: str, pipeline: str) -> bool:
        """Says whether a version of a view is computed by a pipeline."""
        query = select(view_versions.c.id).select_from(VERSIONS).where(views.c.project == project, view_versions.c.pipeline == pipeline)
        with self._engine.connect() as connection:
            return connection.execute(query.limit(1)).first() is not None


def lock_views(connection: Connection, found: Sequence[ViewVersion]) -> None:
    """Keeps views from being deleted until the end of the transaction.

    Raises:
        DefinitionChanged: One was deleted.
    """
    for view_id, name in sorted({(version.view_id, version.view) for version in found}):
        there = select(views.c.id).where(views.c.id == view_id, views.c.is_deleted.is_(False)).with_for_update(read=True)
        if connection.execute(there).first() is None:
            raise DefinitionChanged(f"the feature view {name!r}")


def _add_version(connection: Connection, new: ViewVersion, entities: Sequence[Entity]) -> None:
    lock_entities(connection, entities)
    row = {
        "id": new.id,
        "owner_id": new.view_id,
        "version": new.version,
        "spec": new.spec.SerializeToString(deterministic=True),
        "keys": keys_to_json(new.keys),
        "dataset": new.dataset,
        "pipeline": new.pipeline,
        "creator": new.creator,
        "create_time": new.create_time,
    }
    connection.execute(insert(view_versions).values(row))
    connection.execute(insert(view_features), [{"view_version_id": new.id, "name": name} for name in _names(new)])
    connection.execute(insert(view_entities), [{"view_version_id": new.id, "entity_id": entity.id} for entity in entities])


def _names(version: ViewVersion) -> list[str]:
    return [feature.name for feature in version.spec.features]
