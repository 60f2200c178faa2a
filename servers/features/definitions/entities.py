"""Entities as their callers handle them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine

from servers.features.definitions.changes import definition_etag, real_changes
from servers.features.definitions.records import Entity
from servers.features.errors import EntityNotFound, InvalidEntity
from servers.features.online import JoinKey
from servers.features.store.entities import Entities
from servers.features.store.revision import Revision
from servers.runtime.auth import Principal
from servers.runtime.effects import effect_id, made_before
from servers.runtime.etags import check_etag
from servers.runtime.paging import Listing
from sql_engine import write


class EntityManagement:
    """Makes, changes and deletes entities.

    Args:
        engine: The component's database.
        revision: Counts changes.
        clock: The time.
    """

    def __init__(self, engine: Engine, revision: Revision, clock: Callable[[], datetime]) -> None:
        self._engine = engine
        self._entities = Entities(engine)
        self._revision = revision
        self._clock = clock

    def create(
        self,
        project: str,
        name: str,
        join_keys: tuple[JoinKey, ...],
        caller: Principal,
        *,
        display_name: str = "",
        description: str = "",
        labels: Mapping[str, str] | None = None,
    ) -> Entity:
        """Makes an entity.

        Raises:
            EntityExists: The project has one of the name.
            InvalidEntity: Two join keys have one name.
        """
        for place, key in enumerate(join_keys):
            if key.name.casefold() in {other.name.casefold() for other in join_keys[:place]}:
                raise InvalidEntity(f"join_keys[{place}].name", f"{key.name!r} is there twice; case does not count. Give it another name")
        before = made_before(lambda _entity_id: self._entities.get(project, name), EntityNotFound)
        if before is not None and before.id == effect_id():
            return before
        now = self._clock()
        new = Entity(effect_id(), project, name, join_keys, display_name, description, dict(labels or {}), 1, caller.display_name, now, now)
        self._write(lambda connection: self._entities.add(connection, new))
        return self._entities.get(project, name)

    def get(self, project: str, name: str) -> Entity:
        """Returns an entity.

        Raises:
            EntityNotFound: The project has none of this name.
        """
        return self._entities.get(project, name)

    def page(self, project: str, listing: Listing) -> tuple[list[Entity], str]:
        """Returns a page of a project's entities, and the token of the next one."""
        return self._entities.page(project, listing)

    def update(self, project: str, name: str, changes: Mapping[str, Any], *, etag: str) -> Entity:
        """Changes what people read of an entity.

        Args:
            project: Its project.
            name: Its name.
            changes: Of `display_name`, `description` and `labels` those that change; `join_keys` have to be what they are.
            etag: Which was read; empty = whatever it is.

        Raises:
            EntityNotFound: The project has none of this name.
            InvalidEntity: The join keys are others.
            Aborted: It has changed since.
        """
        before = self._entities.get(project, name)
        check_etag(etag, definition_etag(before))
        if tuple(changes.get("join_keys", before.join_keys)) != before.join_keys:
            raise InvalidEntity(
                "entity.join_keys", f"the join keys of {name!r} never change, since its vectors are found by them; make another entity"
            )
        if changed := real_changes(before, changes):
            changed["update_time"] = self._clock()
            self._write(lambda connection: self._entities.change(connection, before, changed))
        return self._entities.get(project, name)

    def delete(self, project: str, name: str, *, etag: str) -> None:
        """Deletes an entity.

        Raises:
            EntityNotFound: The project has none of this name.
            EntityInUse: A view has it.
            Aborted: It has changed since.
        """
        before = self._entities.get(project, name)
        check_etag(etag, definition_etag(before))
        self._write(lambda connection: self._entities.remove(connection, before))

    def _write(self, change: Callable[[Connection], None]) -> None:
        def work(connection: Connection) -> None:
            change(connection)
            self._revision.bump(connection)

        write(self._engine, work)
