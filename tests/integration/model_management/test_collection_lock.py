"""The lock between garbage collection and whoever refers to old blobs."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from sqlalchemy import text

from model_management.metadata.collection_lock import database_lock
from sql_engine import connect

POOL_SIZE = 3
CALLERS = 12


def test_many_holders_leave_each_other_the_connections_that_they_need(postgres_url: str) -> None:
    # Were all connections of the pool at holders, each would wait for another one of them.
    engine = connect(postgres_url, pool_size=POOL_SIZE)
    all_connections = threading.Barrier(2 * POOL_SIZE)

    def refer(_caller: int) -> int:
        with database_lock(engine, exclusive=False):
            with suppress(threading.BrokenBarrierError):
                all_connections.wait(2)
            with engine.connect() as connection:
                return int(connection.execute(text("SELECT 1")).scalar_one())

    with ThreadPoolExecutor(CALLERS) as pool:
        assert list(pool.map(refer, range(CALLERS))) == [1] * CALLERS
    engine.dispose()
