from __future__ import annotations

import threading

import pytest
from sqlalchemy import Column, Engine, Integer, MetaData, Table, select
from sqlalchemy.exc import IntegrityError

from sql_engine import ExactString, Insertion, accompanied, begin_write, connect, write

NOTES = Table("notes", MetaData(), Column("id", Integer, primary_key=True), Column("text", ExactString(20)))


@pytest.fixture
def engine(tmp_path):
    engine = connect(f"sqlite:///{tmp_path}/notes.db")
    NOTES.create(engine)
    yield engine
    engine.dispose()


def add(connection, number: int, text: str = "") -> None:
    Insertion(NOTES, connection.dialect).run(connection, [{"id": number, "text": text}])


def ids(engine: Engine) -> list[int]:
    with engine.connect() as connection:
        return list(connection.execute(select(NOTES.c.id).order_by(NOTES.c.id)).scalars())


def test_a_companion_is_committed_with_the_first_transaction_and_only_with_it(engine):
    with accompanied(engine, lambda connection: add(connection, 1)) as companion:
        write(engine, lambda connection: add(connection, 2))
        assert companion.is_written
        write(engine, lambda connection: add(connection, 3))

    assert ids(engine) == [1, 2, 3]


def test_a_companion_is_undone_with_its_transaction_and_joins_the_next(engine):
    def fail(connection) -> None:
        raise OSError("power")

    with accompanied(engine, lambda connection: add(connection, 1)) as companion:
        with pytest.raises(OSError, match="power"):
            write(engine, fail)
        assert (companion.is_written, ids(engine)) == (False, [])
        write(engine, lambda connection: add(connection, 2))

    assert ids(engine) == [1, 2]


def test_a_companion_that_fails_undoes_what_it_was_to_accompany(engine):
    def refuse(connection) -> None:
        raise OSError("no room for the note")

    with accompanied(engine, refuse), pytest.raises(OSError, match="no room"):
        write(engine, lambda connection: add(connection, 2))

    assert ids(engine) == []


def test_a_transaction_that_runs_again_takes_its_companion_along(engine):
    runs: list[int] = []

    def lose_once(connection) -> None:
        runs.append(1)
        if len(runs) == 1:
            raise IntegrityError("INSERT", {}, Exception("somebody was faster"))
        add(connection, 2)

    with accompanied(engine, lambda connection: add(connection, 1)):
        write(engine, lose_once)

    assert ids(engine) == [1, 2]


def test_several_companions_are_written_in_the_order_they_were_announced(engine):
    written: list[str] = []
    with accompanied(engine, lambda _: written.append("outer")), accompanied(engine, lambda _: written.append("inner")):
        write(engine, lambda connection: add(connection, 1))

    assert written == ["outer", "inner"]


def test_nothing_is_written_for_a_block_that_writes_nothing_or_elsewhere(engine, tmp_path):
    other = connect(f"sqlite:///{tmp_path}/other.db")
    with accompanied(engine, lambda connection: add(connection, 1)) as companion, begin_write(other):
        pass
    with accompanied(engine, lambda connection: add(connection, 2)):
        thread = threading.Thread(target=lambda: write(engine, lambda connection: add(connection, 3)))
        thread.start()
        thread.join()

    assert (companion.is_written, ids(engine)) == (False, [3])
    other.dispose()


def test_a_row_whose_key_is_taken_is_left_out_where_that_is_asked_for(engine):
    insertion = Insertion(NOTES, engine.dialect, if_absent=True)
    with begin_write(engine) as connection:
        assert insertion.run(connection, [{"id": 1, "text": "first"}]) == 1
        assert insertion.run(connection, [{"id": 1, "text": "second"}]) == 0
        assert insertion.run(connection, []) == 0
        assert connection.execute(select(NOTES.c.text)).scalars().all() == ["first"]


def test_writers_of_one_process_take_turns(engine):
    inside, most = 0, 0
    lock = threading.Lock()

    def work(connection, number: int) -> None:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        add(connection, number)
        with lock:
            inside -= 1

    threads = [threading.Thread(target=lambda n=n: write(engine, lambda c: work(c, n))) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (most, ids(engine)) == (1, list(range(16)))
