"""A crash between a request's effect and the answer."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import Engine, func, select, update

from servers.runtime.replays import replays
from sql_engine import connect
from tests.integration.runtime.waiting import eventually

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


def lose_answers(engine: Engine) -> None:
    """Leaves a component as a crash does: with what it has done, and without its answers, once the leases of these have run out."""

    def unanswered() -> int:
        with engine.connect() as connection:
            return connection.execute(
                select(func.count()).where(replays.c.response.is_(None), replays.c.lease_time > LONG_AGO)
            ).scalar_one()

    # They are kept a moment later than they are given.
    eventually(lambda: not unanswered())
    with engine.begin() as connection:
        connection.execute(update(replays).values(response=None, lease_time=LONG_AGO))


def lose_answers_of(database_url: str, *components: str) -> None:
    """The same for components in a database."""
    for component in components:
        engine = connect(database_url, schema=component)
        lose_answers(engine)
        engine.dispose()
