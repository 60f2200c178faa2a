"""What only a PostgreSQL does: it cuts connections, locks, and has many of them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine, text

from servers.features.online import OnlineRow, OnlineStore, Written, open_online_store
from servers.features.online.errors import OnlineStoreUnavailable
from servers.features.online.postgresql_store import PostgresqlOnlineStore
from sql_engine import connect
from tests.integration.features.online.writer import vector_of

ROWS = [OnlineRow(b"a", vector_of(1, 1, 1)), OnlineRow(b"b", vector_of(1, 1, 2))]


@pytest.fixture
def store(postgresql_store_url: str) -> Iterator[OnlineStore]:
    opened = open_online_store(postgresql_store_url, timeout_s=60)
    yield opened
    opened.close()


@pytest.fixture
def admin(postgresql_store_url: str) -> Iterator[Engine]:
    engine = connect(postgresql_store_url)
    yield engine
    engine.dispose()


def test_connections_that_were_cut_are_replaced(store: OnlineStore, admin: Engine, view: str) -> None:
    store.write(view, ROWS)
    assert store.read(view, [b"a"]) == [ROWS[0].vector]
    others = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
    for _ in range(2):
        with admin.connect() as connection:
            assert len(connection.execute(others).all()) >= 1
        assert store.read(view, [b"a", b"b"]) == [ROWS[0].vector, ROWS[1].vector]
        with admin.connect() as connection:
            connection.execute(others)
        assert store.write(view, ROWS) == Written(0, 2)


def test_a_read_that_has_to_wait_is_given_up_and_the_next_goes_on(postgresql_store_url: str, admin: Engine, view: str) -> None:
    store = PostgresqlOnlineStore(postgresql_store_url, timeout_s=60)
    store.write(view, ROWS)
    store._timeout_ms = 200  # only of reads: a busy machine may take longer to connect
    with admin.begin() as connection:
        connection.execute(text("LOCK TABLE features_online.online_vectors IN ACCESS EXCLUSIVE MODE"))
        with pytest.raises(OnlineStoreUnavailable, match="does not answer in time; try again"):
            store.read(view, [b"a"])
    store._timeout_ms = 60_000
    assert store.read(view, [b"a"]) == [ROWS[0].vector]
    store.close()


def test_more_threads_than_connections_take_turns(store: OnlineStore, view: str) -> None:
    store.write(view, ROWS)

    def read_and_write(number: int) -> object:
        store.write(view, [OnlineRow(b"c", vector_of(number, 1, 1))])
        return store.read(view, [b"a", b"b"])

    with ThreadPoolExecutor(40) as threads:
        assert list(threads.map(read_and_write, range(200))) == [[ROWS[0].vector, ROWS[1].vector]] * 200
    assert store.read(view, [b"c"]) == [vector_of(199, 1, 1)]


def test_two_processes_that_open_it_first_make_one_table(postgresql_store_url: str, admin: Engine) -> None:
    with admin.begin() as connection:
        connection.execute(text("DROP SCHEMA features_online CASCADE"))
    with ThreadPoolExecutor(4) as threads:
        stores = list(threads.map(lambda url: open_online_store(url, timeout_s=60), [postgresql_store_url] * 4))
    stores[0].write("v", ROWS)
    assert [store.count("v") for store in stores] == [2] * 4
    for store in stores:
        store.close()
