"""How the online store stands against the dataset of each version of a view."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Engine,
    ForeignKey,
    Index,
    RowMapping,
    Table,
    case,
    delete,
    insert,
    or_,
    select,
    update,
)

from servers.features.definitions.records import OnlineState
from servers.features.store.revision import Revision
from servers.features.store.tables import METADATA
from servers.runtime.work import LeaseLost
from sql_engine import ExactString, UtcDateTime, write

__all__ = ["OnlineStates", "online_states"]

online_states = Table(
    "features_online_states",
    METADATA,
    Column("view_version_id", ExactString(36), ForeignKey("features_view_versions.id", ondelete="CASCADE"), primary_key=True),
    # Of the vectors that are read, of those that a full materialisation is making, and of those that were begun last.
    Column("generation", BigInteger, nullable=False),
    Column("building", BigInteger),
    Column("newest_generation", BigInteger, nullable=False),
    Column("dataset_version", BigInteger),
    Column("table_id", ExactString(255), nullable=False),
    Column("has_skipped_rows", Boolean, nullable=False),
    Column("materialize_time", UtcDateTime),
    Column("newest_event_time", UtcDateTime),
    Column("written_rows", BigInteger, nullable=False),
    Column("next_materialize_time", UtcDateTime),
    Index("features_online_states_by_next_time", "next_materialize_time"),
)


class OnlineStates:
    """The online states of all versions of views. Where a method takes a `connection`, it is part of that transaction.

    Args:
        engine: The component's database.
        revision: Told of every change of a generation that is read.
    """

    def __init__(self, engine: Engine, revision: Revision) -> None:
        self._engine = engine
        self._revision = revision

    def add(self, connection: Connection, view_version_id: str, next_materialize_time: datetime | None) -> None:
        """Adds the state of a version that is made.

        Args:
            connection: The transaction that makes it.
            view_version_id: The version.
            next_materialize_time: When the schedule materialises it first; None where there is no schedule.
        """
        new = {
            "view_version_id": view_version_id,
            "generation": 0,
            "newest_generation": 0,
            "table_id": "",
            "has_skipped_rows": False,
            "written_rows": 0,
            "next_materialize_time": next_materialize_time,
        }
        connection.execute(insert(online_states).values(new))

    def remove(self, connection: Connection, view_version_ids: Iterable[str]) -> None:
        """Forgets versions that are deleted: pushes that are under way take back what they have written."""
        connection.execute(delete(online_states).where(online_states.c.view_version_id.in_(list(view_version_ids))))

    def get(self, view_version_id: str) -> OnlineState:
        """Returns the state of a version; that of a new one where it is not known."""
        return self.of([view_version_id]).get(view_version_id, OnlineState())

    def of(self, view_version_ids: Iterable[str]) -> dict[str, OnlineState]:
        """Returns the states of several versions, as far as they are known."""
        found = select(online_states).where(online_states.c.view_version_id.in_(list(view_version_ids)))
        with self._engine.connect() as connection:
            return {row["view_version_id"]: _state_of(row) for row in connection.execute(found).mappings()}

    def begin_building(self, connection: Connection, view_version_id: str) -> int:
        """Begins a full materialisation: once it is committed, pushes are also written to the generation that it makes.

        Returns:
            The generation, which nobody had before. Where another one was being built, it is not any more: the caller drops its vectors.

        Raises:
            LeaseLost: The version was deleted.
        """
        known = select(online_states.c.newest_generation).where(online_states.c.view_version_id == view_version_id).with_for_update()
        newest = connection.execute(known).scalar_one_or_none()
        if newest is None:
            raise LeaseLost(f"the version {view_version_id!r} of a view was deleted")
        _change(connection, view_version_id, {"building": newest + 1, "newest_generation": newest + 1})
        return int(newest) + 1

    def stop_building(self, connection: Connection, view_version_id: str, generation: int) -> None:
        """Ends a full materialisation that comes to nothing: pushes no longer go there. The caller drops its vectors."""
        _change(connection, view_version_id, {"building": None}, online_states.c.building == generation)

    def end_materialization(
        self,
        connection: Connection,
        view_version_id: str,
        *,
        generation: int | None,
        dataset_version: int,
        table_id: str,
        has_skipped_rows: bool,
        newest_event_time: datetime | None,
        rows: int,
        now: datetime,
    ) -> None:
        """Keeps what a materialisation has done. Where it built a generation, it is read from the commit on.

        Args:
            connection: The transaction in which it ends.
            view_version_id: What was materialised.
            generation: The generation that is read from now on; None where rows were added to the one that is.
            dataset_version: Version of the dataset that the online store has now.
            table_id: Of the dataset's table.
            has_skipped_rows: Whether rows with event times in the future were left out.
            newest_event_time: Of the rows that were written; None where there were none.
            rows: How many were written.
            now: The time.

        Raises:
            LeaseLost: Another full materialisation has begun, or the version was deleted.
        """
        values: dict[str, Any] = {
            **_written(rows, newest_event_time),
            "dataset_version": dataset_version,
            "table_id": table_id,
            "has_skipped_rows": has_skipped_rows,
            "materialize_time": now,
        }
        conditions = []
        if generation is not None:
            values |= {"generation": generation, "building": None}
            conditions.append(online_states.c.building == generation)
        if not _change(connection, view_version_id, values, *conditions):
            raise LeaseLost(f"the version {view_version_id!r} of a view was deleted, or another materialisation of it has begun")
        if generation is not None:
            self._revision.bump(connection)

    def count_push(self, view_version_id: str, rows: int, newest_event_time: datetime | None) -> None:
        """Keeps what a push has written: one UPDATE, which adds, so that pushes at the same time all count.

        Args:
            view_version_id: Where.
            rows: How many rows.
            newest_event_time: Of the rows.
        """
        write(self._engine, lambda connection: _change(connection, view_version_id, _written(rows, newest_event_time)))

    def due(self, now: datetime, limit: int) -> list[str]:
        """Returns the versions that the schedule materialises by now, those that wait longest first."""
        next_time = online_states.c.next_materialize_time
        found = (
            select(online_states.c.view_version_id)
            .where(next_time <= now)
            .order_by(next_time, online_states.c.view_version_id)
            .limit(limit)
        )
        with self._engine.connect() as connection:
            return list(connection.execute(found).scalars())

    def schedule(self, connection: Connection, view_version_id: str, next_time: datetime | None) -> None:
        """Keeps when a version is materialised next by itself; None where it no longer is."""
        _change(connection, view_version_id, {"next_materialize_time": next_time})

    def take_due(self, connection: Connection, view_version_id: str, now: datetime, next_time: datetime | None) -> bool:
        """Keeps when a version whose time has come is materialised after that; returns False where somebody else did."""
        is_due = online_states.c.next_materialize_time <= now
        return _change(connection, view_version_id, {"next_materialize_time": next_time}, is_due)


def _written(rows: int, newest_event_time: datetime | None) -> dict[str, Any]:
    values: dict[str, Any] = {"written_rows": online_states.c.written_rows + rows}
    if newest_event_time is not None:
        known = online_states.c.newest_event_time
        values["newest_event_time"] = case((or_(known.is_(None), known < newest_event_time), newest_event_time), else_=known)
    return values


def _change(connection: Connection, view_version_id: str, values: dict[str, Any], *conditions: ColumnElement[bool]) -> bool:
    is_it = online_states.c.view_version_id == view_version_id
    return connection.execute(update(online_states).where(is_it, *conditions).values(values)).rowcount > 0


def _state_of(row: RowMapping) -> OnlineState:
    return OnlineState(
        generation=row["generation"],
        building=row["building"],
        dataset_version=row["dataset_version"],
        table_id=row["table_id"],
        has_skipped_rows=row["has_skipped_rows"],
        materialize_time=row["materialize_time"],
        newest_event_time=row["newest_event_time"],
        written_rows=row["written_rows"],
        next_materialize_time=row["next_materialize_time"],
    )
