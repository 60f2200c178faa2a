"""Labels of entities, views and services, each in a table of its own with the same columns."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from sqlalchemy import Connection, Table, delete, insert, select


def add_labels(connection: Connection, table: Table, owner_id: str, labels: Mapping[str, str]) -> None:
    """Adds the labels of what has none yet."""
    if labels:
        connection.execute(insert(table), [{"owner_id": owner_id, "key": key, "value": value} for key, value in labels.items()])


def replace_labels(connection: Connection, table: Table, owner_id: str, labels: Mapping[str, str]) -> None:
    """Makes these the labels."""
    connection.execute(delete(table).where(table.c.owner_id == owner_id))
    add_labels(connection, table, owner_id, labels)


def labels_of(connection: Connection, table: Table, owner_ids: Iterable[str]) -> Mapping[str, dict[str, str]]:
    """Returns the labels of each owner; none where it has none."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for row in connection.execute(select(table).where(table.c.owner_id.in_(list(owner_ids)))):
        found[row.owner_id][row.key] = row.value
    return found
