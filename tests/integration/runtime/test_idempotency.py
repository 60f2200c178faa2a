from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from sqlalchemy import Column, Connection, Engine, Integer, MetaData, Table, func, insert, select

from servers.runtime.audit import events
from servers.runtime.effects import effect_id, made_before
from sql_engine import write
from tests.integration.runtime.lost_answers import lose_answers
from tests.integration.runtime.rich_errors import refused
from tests.integration.runtime.waiting import eventually

REQUEST_ID = "6f2c7c0e-3b0a-4a53-9d7e-0c6f3c1f7a11"


THINGS = Table("things", MetaData(), Column("number", Integer, primary_key=True))


class Things:
    """Things in the component's database, each made by a request."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        THINGS.create(engine)

    def create(self) -> int:
        def insert_one(connection: Connection) -> int:
            number = self._count(connection) + 1
            connection.execute(insert(THINGS).values(number=number))
            return number

        return write(self._engine, insert_one)

    @property
    def count(self) -> int:
        with self._engine.connect() as connection:
            return self._count(connection)

    def _count(self, connection: Connection) -> int:
        return connection.execute(select(func.count()).select_from(THINGS)).scalar_one()


@pytest.fixture
def things(database: Engine, echo: Any) -> Things:
    made = Things(database)
    echo.create = made.create
    return made


@pytest.fixture
def stub(serve: Callable[..., Any], connect: Callable[..., Any], database: Engine, things: Things) -> Any:
    return connect(serve(database=database).address)


def create(stub: Any, pb: Any, metadata: Any, name: str = "a", request_id: str = REQUEST_ID, **options: Any) -> Any:
    return stub.CreateThing(pb.CreateThingRequest(thing=pb.Thing(name=name), request_id=request_id), metadata=metadata, **options)


def test_a_repeated_request_id_gets_the_first_answer_and_has_no_second_effect(stub: Any, pb: Any, bearer: Any, things: Things) -> None:
    first = create(stub, pb, bearer())
    again = create(stub, pb, bearer())

    assert again == first
    assert things.count == 1


def test_without_a_request_id_every_request_has_its_effect(stub: Any, pb: Any, bearer: Any, things: Things) -> None:
    create(stub, pb, bearer(), request_id="")
    create(stub, pb, bearer(), request_id="")

    assert things.count == 2


def test_one_request_id_for_two_different_requests_is_refused(stub: Any, pb: Any, bearer: Any) -> None:
    create(stub, pb, bearer(), name="a")

    refusal = refused(lambda: create(stub, pb, bearer(), name="b"))

    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED")
    assert "request_id" in refusal.fields


def test_two_callers_may_choose_the_same_request_id(stub: Any, pb: Any, bearer: Any, things: Things) -> None:
    create(stub, pb, bearer(sub="ada"))
    create(stub, pb, bearer(sub="bob"))

    assert things.count == 2


def test_a_failed_request_may_be_repeated(stub: Any, pb: Any, bearer: Any, echo: Any) -> None:
    echo.fail_next = "bug"
    refused(lambda: create(stub, pb, bearer()))

    assert create(stub, pb, bearer()).number == 1


def test_a_request_that_failed_after_its_effect_may_be_repeated(stub: Any, pb: Any, bearer: Any, echo: Any, things: Things) -> None:
    echo.fail_after = "bug"
    refused(lambda: create(stub, pb, bearer()))

    assert create(stub, pb, bearer()).number == 2
    assert create(stub, pb, bearer()).number == 2


class Aware:
    """Makes things that are known by the ids of their requests."""

    def __init__(self) -> None:
        self.made: dict[str, int] = {}

    def create(self, things: Things) -> int:
        before = made_before(self.made.__getitem__, KeyError)
        if before is not None:
            return before
        number = things.create()
        self.made[effect_id()] = number
        return number


def test_what_was_made_is_found_by_a_repeat_after_a_failure(stub: Any, pb: Any, bearer: Any, echo: Any, things: Things) -> None:
    aware = Aware()
    echo.create = lambda: aware.create(things)
    echo.fail_after = "bug"
    refused(lambda: create(stub, pb, bearer()))

    assert create(stub, pb, bearer()).number == 1
    assert create(stub, pb, bearer()).number == 1
    assert create(stub, pb, bearer(), request_id=str(uuid.uuid4())).number == 2
    assert (things.count, len(aware.made)) == (2, 2)


@pytest.mark.parametrize("refuses", [False, True])
def test_what_was_made_is_found_by_a_repeat_after_a_crash(
    stub: Any, pb: Any, bearer: Any, echo: Any, things: Things, database: Engine, refuses: bool
) -> None:
    """Also where the repeat would be refused for what the first one did, before it writes."""
    aware = Aware()

    def make() -> int:
        if refuses and aware.made:
            return made_before(aware.made.__getitem__, KeyError) or int("the name is taken")
        return aware.create(things)

    echo.create = make
    first = create(stub, pb, bearer())
    lose_answers(database)

    assert create(stub, pb, bearer()) == first
    assert create(stub, pb, bearer()) == first
    assert (things.count, len(aware.made)) == (1, 1)


def test_a_repeat_that_would_be_refused_for_what_the_first_did_gets_the_answer(
    stub: Any, pb: Any, bearer: Any, echo: Any, things: Things
) -> None:
    first = create(stub, pb, bearer())
    echo.fail_next = "precondition"

    assert create(stub, pb, bearer()) == first
    assert things.count == 1


def test_a_request_that_changes_nothing_in_the_database_is_answered_again_too(stub: Any, pb: Any, bearer: Any, echo: Any) -> None:
    echo.create = lambda: 7
    create(stub, pb, bearer())
    echo.create = lambda: 8

    assert create(stub, pb, bearer()).number == 7


def test_a_repeat_is_no_second_event_of_the_audit_log(stub: Any, pb: Any, bearer: Any, database: Engine) -> None:
    for _ in range(3):
        create(stub, pb, bearer())
    create(stub, pb, bearer(), request_id="")

    def outcomes() -> list[int | None]:
        with database.connect() as connection:
            return list(connection.execute(select(events.c.status_code)).scalars())

    # How calls ended is written a moment later; that they began is there before the answer.
    eventually(lambda: None not in outcomes())
    assert outcomes() == [0, 0]


def test_a_duplicate_that_comes_while_the_first_runs_waits_for_its_answer(
    stub: Any, pb: Any, bearer: Any, echo: Any, things: Things
) -> None:
    echo.go_on.clear()
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(create, stub, pb, bearer())
        assert echo.entered.wait(60)
        duplicates = [pool.submit(create, stub, pb, bearer()) for _ in range(3)]
        echo.go_on.set()
        answers = [future.result(60) for future in [first, *duplicates]]

    assert things.count == 1
    assert all(answer == answers[0] for answer in answers)


def test_a_duplicate_that_cannot_wait_longer_is_told_to_come_back(
    stub: Any, pb: Any, bearer: Any, echo: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A refusal that a busy machine brings a second late is none: the caller has given up by then.
    monkeypatch.setattr("servers.runtime.interceptors.idempotency._TIME_TO_ANSWER_S", 5)
    echo.go_on.clear()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(create, stub, pb, bearer())
        assert echo.entered.wait(60)
        refusal = refused(lambda: create(stub, pb, bearer(), timeout=8))
        echo.go_on.set()
        first.result(60)

    assert (refusal.code, refusal.reason) == (grpc.StatusCode.ABORTED, "REQUEST_RUNNING")
    assert refusal.the(error_details_pb2.RetryInfo).retry_delay.seconds == 1


def test_many_threads_with_one_request_id_have_one_effect(stub: Any, pb: Any, bearer: Any, things: Things) -> None:
    barrier = threading.Barrier(8)

    def at_once() -> Any:
        barrier.wait(60)
        return create(stub, pb, bearer()).number

    with ThreadPoolExecutor(8) as pool:
        numbers = [future.result(60) for future in [pool.submit(at_once) for _ in range(8)]]

    assert numbers == [1] * 8
    assert things.count == 1
