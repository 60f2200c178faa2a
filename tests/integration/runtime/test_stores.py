"""The runtime's own tables, on every database that a component may have."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, select
from sqlalchemy.exc import OperationalError

from servers.runtime.audit import AuditOutbox, AuditShipper, OutboxAuditSink, events
from servers.runtime.audit_events import AuditEvent
from servers.runtime.database import open_database
from servers.runtime.outcomes import OutcomeWriter
from servers.runtime.replays import AlreadyClaimed, Replay, ReplayKey, ReplayState, ReplayStore, replays
from servers.runtime.settings import ServerSettings
from sql_engine import begin_write, write

START = datetime(2026, 11, 1, tzinfo=UTC)
EFFECT = "0b9f5a52-66a5-4a52-8f0e-9a1b8f0d2f11"
KEY = ReplayKey("ada", "/zoo.v1.Zoo/CreateLion", "6f2c7c0e-3b0a-4a53-9d7e-0c6f3c1f7a11")


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **duration: float) -> None:
        self.now += timedelta(**duration)


@pytest.fixture(scope="module", params=["sqlite", "postgresql", pytest.param("mariadb", marks=pytest.mark.system_package)])
def migrated(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder: Path = tmp_path_factory.mktemp("store")
    (folder / "migrations/versions").mkdir(parents=True)
    (folder / "migrations/versions/0001_nothing.py").write_text('revision = "0001"\ndown_revision = None\ndef upgrade(): pass\n')
    url = "" if request.param == "sqlite" else request.getfixturevalue(request.param).new_database()
    engine = open_database(ServerSettings(data_dir=folder, database_url=url), folder / "migrations")
    yield engine
    engine.dispose()


@pytest.fixture
def engine(migrated: Engine) -> Engine:
    with migrated.begin() as connection:
        connection.execute(delete(replays))
        connection.execute(delete(events))
    return migrated


@pytest.fixture
def clock() -> Clock:
    return Clock()


class Owner:
    """One life of a server: claims requests by transactions of its own, and keeps their answers at once."""

    def __init__(self, engine: Engine, name: str, clock: Clock) -> None:
        self._engine = engine
        self._outcomes = OutcomeWriter(engine)
        self.store = ReplayStore(engine, name, self._outcomes, clock)

    def claim(self, key: ReplayKey = KEY, content: str = "hash", effect_id: str = EFFECT) -> Replay:
        try:
            write(self._engine, lambda connection: self.store.claim(connection, key, content, effect_id))
        except AlreadyClaimed:
            return self.store.find(key, content)
        return CLAIMED

    def complete(self, response: bytes) -> None:
        self.store.complete(KEY, response)
        self._outcomes.flush()

    def abandon(self) -> None:
        self.store.abandon(KEY)


CLAIMED = Replay(ReplayState.FREE)
RUNNING = Replay(ReplayState.RUNNING)
OTHER_REQUEST = Replay(ReplayState.OTHER_REQUEST)


def left(effect_id: str) -> Replay:
    return Replay(ReplayState.FREE, effect_id=effect_id)


def done(response: bytes) -> Replay:
    return Replay(ReplayState.DONE, response)


@pytest.fixture
def owner(engine: Engine, clock: Clock) -> Owner:
    return Owner(engine, "owner-1", clock)


def test_the_first_claims_the_second_waits_and_the_third_gets_the_answer(owner: Owner) -> None:
    assert owner.claim() == CLAIMED
    assert owner.claim() == RUNNING
    owner.complete(b"\x00answer\xff")
    assert owner.claim() == done(b"\x00answer\xff")


def test_an_empty_answer_is_an_answer(owner: Owner) -> None:
    owner.claim()
    owner.complete(b"")

    assert owner.claim() == done(b"")


def test_the_answer_of_a_request_that_wrote_nothing_is_kept_and_the_first_one_stays(owner: Owner, engine: Engine, clock: Clock) -> None:
    owner.store.keep(KEY, "hash", b"first")
    Owner(engine, "owner-2", clock).store.keep(KEY, "hash", b"second")

    assert owner.claim() == done(b"first")


def test_a_claim_is_undone_with_the_transaction_that_it_is_part_of(owner: Owner, engine: Engine) -> None:
    def claim_and_fail() -> None:
        with begin_write(engine) as connection:
            owner.store.claim(connection, KEY, "hash", EFFECT)
            raise OSError("power")

    with pytest.raises(OSError, match="power"):
        claim_and_fail()

    assert owner.store.find(KEY, "hash").state is ReplayState.FREE


def test_another_content_is_told_apart_while_running_and_after(owner: Owner) -> None:
    owner.claim()
    assert owner.claim(content="other") == OTHER_REQUEST
    owner.complete(b"answer")
    assert owner.claim(content="other") == OTHER_REQUEST


def test_an_abandoned_request_can_be_claimed_again_for_what_it_has_made(owner: Owner) -> None:
    owner.claim()
    owner.abandon()

    assert owner.claim(effect_id="another") == left(EFFECT)
    assert owner.claim() == CLAIMED


def test_an_abandoned_request_can_be_claimed_with_another_content_for_something_else(owner: Owner) -> None:
    owner.claim()
    owner.abandon()

    assert owner.claim(content="other", effect_id="another") == CLAIMED
    assert owner.claim() == OTHER_REQUEST


def test_after_a_crash_the_answer_can_still_be_kept_by_whoever_finds_what_was_made(owner: Owner, engine: Engine, clock: Clock) -> None:
    owner.claim()
    after_restart = Owner(engine, "owner-2", clock)
    after_restart.store.keep(KEY, "hash", b"too early")
    clock.advance(seconds=6)

    assert after_restart.claim(effect_id="another") == left(EFFECT)
    after_restart.store.keep(KEY, "another hash", b"of another request")
    after_restart.store.keep(KEY, "hash", b"answer")

    assert after_restart.claim() == done(b"answer")


def test_a_request_id_counts_for_a_day_and_what_was_made_by_it_before_is_not_known_any_more(owner: Owner, clock: Clock) -> None:
    owner.claim()
    clock.advance(hours=24, seconds=1)

    assert owner.claim(effect_id="another") == CLAIMED
    clock.advance(seconds=6)
    assert owner.claim() == left("another")


def test_after_a_crash_the_next_takes_over_once_the_lease_has_run_out(owner: Owner, engine: Engine, clock: Clock) -> None:
    owner.claim()
    after_restart = Owner(engine, "owner-2", clock)

    clock.advance(seconds=4)
    assert after_restart.claim() == RUNNING
    clock.advance(seconds=2)
    assert after_restart.claim() == CLAIMED


def test_one_who_lost_the_lease_overwrites_neither_answer_nor_claim(owner: Owner, engine: Engine, clock: Clock) -> None:
    owner.claim()
    clock.advance(seconds=6)
    other = Owner(engine, "owner-2", clock)
    other.claim()

    owner.abandon()
    owner.complete(b"late")
    other.complete(b"answer")

    assert other.claim() == done(b"answer")


def test_a_lease_that_is_renewed_does_not_run_out(owner: Owner, engine: Engine, clock: Clock) -> None:
    owner.claim()
    for _ in range(5):
        clock.advance(seconds=4)
        owner.store.renew()

    assert Owner(engine, "owner-2", clock).claim() == RUNNING


def test_after_24_hours_the_request_id_is_free_again(owner: Owner, clock: Clock) -> None:
    owner.claim()
    owner.complete(b"answer")
    clock.advance(hours=23, minutes=59)
    assert owner.claim() == done(b"answer")

    clock.advance(minutes=2)

    assert owner.claim(content="other") == CLAIMED


def test_purging_deletes_what_is_old_and_nothing_else(owner: Owner, clock: Clock, engine: Engine) -> None:
    for number in range(3):
        owner.claim(replace(KEY, request_id=f"old-{number}"))
    clock.advance(hours=25)
    owner.claim()

    assert owner.store.purge() == 3
    with engine.connect() as connection:
        assert connection.execute(select(replays.c.request_id)).scalars().all() == [KEY.request_id]


def test_of_many_at_once_one_claims(engine: Engine, clock: Clock) -> None:
    owners = [Owner(engine, f"owner-{number}", clock) for number in range(8)]
    for round_number in range(5):
        key, barrier = replace(KEY, request_id=f"round-{round_number}"), threading.Barrier(8)

        def claim(owner: Owner, key: ReplayKey = key, barrier: threading.Barrier = barrier) -> Replay:
            barrier.wait(60)
            return owner.claim(key)

        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(claim, owners))

        assert sorted(found, key=lambda one: one.state.value) == [CLAIMED] + [RUNNING] * 7


steps = st.lists(
    st.tuples(st.sampled_from(["claim", "complete", "abandon", "renew", "wait", "crash"]), st.integers(0, 1), st.sampled_from(["a", "b"])),
    max_size=25,
)


@given(steps)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_whatever_happens_no_request_has_two_owners_at_once_and_an_answer_never_changes(
    engine: Engine, taken: Sequence[tuple[str, int, str]]
) -> None:
    with engine.begin() as connection:
        connection.execute(delete(replays))
    clock = Clock()
    lives = [0, 0]
    owners = [Owner(engine, f"owner-{number}", clock) for number in range(2)]
    # Who works on the request, by its own lights, and until when its lease protects it.
    holders: dict[int, datetime] = {}
    answer: bytes | None = None
    for action, who, content in taken:
        if action == "claim" and who not in holders:
            claim = owners[who].claim(content=content)
            if claim == CLAIMED:
                assert answer is None
                assert all(until <= clock.now for until in holders.values())
                holders = {who: clock.now + timedelta(seconds=5)}
            elif claim.state is ReplayState.DONE:
                assert claim.response == answer
        elif action == "complete" and who in holders:
            owners[who].complete(content.encode())
            del holders[who]
            answer = content.encode()
        elif action == "abandon" and who in holders:
            owners[who].abandon()
            del holders[who]
        elif action == "renew":
            owners[who].store.renew()
            if who in holders:
                holders[who] = clock.now + timedelta(seconds=5)
        elif action == "wait":
            clock.advance(seconds=3)
        elif action == "crash":
            lives[who] += 1
            owners[who] = Owner(engine, f"owner-{who}-{lives[who]}", clock)
            if who in holders:
                # Nobody works any more; the lease of the dead one still keeps others out.
                holders[-1 - who - 10 * lives[who]] = holders.pop(who)


def event(number: int, **fields: object) -> AuditEvent:
    made = AuditEvent(f"event-{number}", START + timedelta(seconds=number), "ada", "/zoo.v1.Zoo/CreateLion", "default", f"lion-{number}")
    return replace(made, **fields)  # type: ignore[arg-type]


def sink_of(engine: Engine) -> OutboxAuditSink:
    return OutboxAuditSink(engine, OutcomeWriter(engine))


def test_an_event_is_kept_exactly_where_the_change_is(engine: Engine, clock: Clock) -> None:
    outbox = AuditOutbox(engine)

    with outbox.begin_with_effect(event(0)) as kept, begin_write(engine):
        pass
    with pytest.raises(OSError, match="power"), outbox.begin_with_effect(event(1)) as lost, begin_write(engine):
        raise OSError("power")
    with outbox.begin_with_effect(event(2)) as unused:
        pass

    with engine.connect() as connection:
        assert list(connection.execute(select(events.c.event_id)).scalars()) == ["event-0"]
    assert (kept.is_written, lost.is_written, unused.is_written) == (True, False, False)


def test_how_begun_calls_ended_is_written_in_the_order_they_ended(engine: Engine, clock: Clock) -> None:
    outcomes = OutcomeWriter(engine)
    sink, shipped = OutboxAuditSink(engine, outcomes), list[AuditEvent]()
    for number in range(3):
        sink.begin(event(number))
        sink.finish(event(number, status_code=number), is_begun=True)
    assert AuditShipper(engine, shipped.extend, clock).ship() == 0

    outcomes.close()

    AuditShipper(engine, shipped.extend, clock).ship()
    assert [sent.status_code for sent in shipped] == [0, 1, 2]


def test_outcomes_wait_while_the_database_is_away(engine: Engine, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = OutcomeWriter(engine)
    sink, shipped = OutboxAuditSink(engine, outcomes), list[AuditEvent]()
    for number in range(2):
        sink.begin(event(number))

    def away(*_: object) -> None:
        raise OperationalError("BEGIN", {}, Exception("the disk is full"))

    with monkeypatch.context() as patch:
        patch.setattr("servers.runtime.outcomes.write", away)
        sink.finish(event(0, status_code=0), is_begun=True)
        outcomes.flush()
        sink.finish(event(1, status_code=0), is_begun=True)
        outcomes.flush()
    outcomes.flush()

    AuditShipper(engine, shipped.extend, clock).ship()
    assert [sent.event_id for sent in shipped] == ["event-0", "event-1"]


def test_what_the_database_refuses_holds_up_nothing_that_comes_after(engine: Engine, clock: Clock) -> None:
    outcomes = OutcomeWriter(engine)
    sink, shipped = OutboxAuditSink(engine, outcomes), list[AuditEvent]()
    sink.begin(event(0))

    def refused(*_: object) -> None:
        raise ValueError("no such column")

    outcomes.add(refused, {})
    outcomes.flush()
    sink.finish(event(0, status_code=0), is_begun=True)
    outcomes.flush()

    AuditShipper(engine, shipped.extend, clock).ship()
    assert [sent.event_id for sent in shipped] == ["event-0"]


def test_a_duplicate_does_not_end_the_lease_of_the_first(owner: Owner, engine: Engine, clock: Clock) -> None:
    with owner.store.claiming(KEY, "hash", EFFECT):
        with begin_write(engine):
            pass
        with pytest.raises(AlreadyClaimed), owner.store.claiming(KEY, "hash", EFFECT), begin_write(engine):
            pass
        clock.advance(seconds=4)
        owner.store.renew()
        clock.advance(seconds=4)

        assert owner.store.find(KEY, "hash") == RUNNING


def test_only_finished_events_are_shipped_oldest_first(engine: Engine, clock: Clock) -> None:
    outcomes = OutcomeWriter(engine)
    sink, shipped = OutboxAuditSink(engine, outcomes), list[AuditEvent]()
    for number in (2, 0, 1, 3):
        sink.begin(event(number))
    for number in (1, 0, 2):
        sink.finish(event(number, status_code=0), is_begun=True)
    outcomes.flush()

    assert AuditShipper(engine, shipped.extend, clock).ship() == 3

    assert [sent.event_id for sent in shipped] == ["event-0", "event-1", "event-2"]
    assert shipped[0] == event(0, status_code=0)
    assert AuditShipper(engine, shipped.extend, clock).ship() == 0


def test_more_events_than_a_batch_are_shipped_in_one_go(engine: Engine, clock: Clock) -> None:
    sink, batches = sink_of(engine), list[int]()
    for number in range(600):
        sink.finish(event(number, status_code=0), is_begun=False)

    assert AuditShipper(engine, lambda batch: batches.append(len(batch)), clock).ship() == 600
    assert batches == [500, 100]


def test_what_did_not_arrive_stays(engine: Engine, clock: Clock) -> None:
    def away(batch: Sequence[AuditEvent]) -> None:
        raise grpc.RpcError("away")

    sink_of(engine).finish(event(0, status_code=0), is_begun=False)
    assert AuditShipper(engine, away, clock).ship() == 0

    shipped: list[AuditEvent] = []
    AuditShipper(engine, shipped.extend, clock).ship()
    assert [sent.event_id for sent in shipped] == ["event-0"]


def test_texts_longer_than_the_contract_allows_are_cut(engine: Engine, clock: Clock) -> None:
    shipped: list[AuditEvent] = []
    sink_of(engine).finish(event(0, status_code=5, resource="ü" * 2000, subject="s" * 999, reason="R" * 99), is_begun=False)

    AuditShipper(engine, shipped.extend, clock).ship()

    assert (len(shipped[0].resource), len(shipped[0].subject), len(shipped[0].reason)) == (512, 255, 63)
