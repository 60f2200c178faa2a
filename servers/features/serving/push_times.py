"""When pushes were first seen, so that a push that is repeated writes the very same rows."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Column, Connection, Engine, Index, Table, delete, insert, select

from servers.features.store.tables import METADATA
from sql_engine import ExactString, UtcDateTime, write

__all__ = ["PushTimes"]

_KEPT = timedelta(days=2)
"""Twice as long as a request id counts."""

_push_times = Table(
    "features_push_times",
    METADATA,
    Column("push_id", ExactString(36), primary_key=True),
    Column("time", UtcDateTime, nullable=False),
    Index("features_push_times_by_time", "time"),
)


class PushTimes:
    """The times of pushes that may be repeated.

    Args:
        engine: The component's database.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def first_seen(self, push_id: str, now: datetime) -> datetime:
        """Returns when a push was first seen: now, unless it was before.

        Args:
            push_id: UUID of the push.
            now: The time.
        """

        def keep(connection: Connection) -> datetime:
            found = select(_push_times.c.time).where(_push_times.c.push_id == push_id)
            known: datetime | None = connection.execute(found).scalar_one_or_none()
            if known is not None:
                return known
            connection.execute(delete(_push_times).where(_push_times.c.time < now - _KEPT))
            connection.execute(insert(_push_times).values(push_id=push_id, time=now))
            return now

        return write(self._engine, keep)
