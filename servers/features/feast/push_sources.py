"""Views by the name of the push source that their rows came from in Feast, which a label of theirs has."""

from __future__ import annotations

from sqlalchemy import Engine, select

from servers.features.definitions.records import ViewVersion
from servers.features.errors import ViewNotFound
from servers.features.feast.errors import PushSourceNotFound
from servers.features.store.definitions import Definitions
from servers.features.store.tables import view_labels, views

__all__ = ["LABEL", "PushSources"]

LABEL = "feast_push_source"
"""Label of views whose value is the name of a push source."""

_MOST_VIEWS = 100


class PushSources:
    """Knows the views of push sources.

    Args:
        engine: The component's database.
        definitions: Know the views.
    """

    def __init__(self, engine: Engine, definitions: Definitions) -> None:
        self._engine = engine
        self._definitions = definitions

    def views(self, project: str, name: str) -> list[ViewVersion]:
        """Returns the newest versions of the views that take the rows of a push source: those with its label, or else that of its name.

        Raises:
            PushSourceNotFound: NOT_FOUND: there are none.
        """
        query = (
            select(views.c.name)
            .select_from(views.join(view_labels, view_labels.c.owner_id == views.c.id))
            .where(views.c.project == project, views.c.is_deleted.is_(False), view_labels.c.key == LABEL, view_labels.c.value == name)
            .order_by(views.c.name)
            .limit(_MOST_VIEWS)
        )
        with self._engine.connect() as connection:
            labelled = list(connection.execute(query).scalars())
        try:
            found = self._definitions.view_versions(project, [(each, 0) for each in labelled or [name]])
        except ViewNotFound:
            raise PushSourceNotFound(project, name, LABEL) from None
        return list(found.values())
