from __future__ import annotations

import dataclasses
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from servers.runtime.audit import AuditEvent
from servers.runtime.paging import Listing
from servers.users.audit_log import GENESIS, AuditLog, Checkpoint, event_hash
from servers.users.audit_sink import LocalAuditSink
from servers.users.composition import Domain
from servers.users.store.audit_rows import Event
from servers.users.store.tables import audit_events as table
from tests.users_under_test import ROOT, START, caller_with


def event(number: int, **changes: object) -> Event:
    made = Event(str(uuid.UUID(int=number)), START + timedelta(seconds=number, microseconds=123), "ada", "/m", "default", "r", 0, "", "")
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


@pytest.fixture
def log(domain: Domain) -> AuditLog:
    return domain.audit_log


def test_events_are_chained_without_gaps(log: AuditLog) -> None:
    log.append([event(1), event(2)])
    log.append([event(3)])

    entries, _ = log.page(ROOT, Listing(order_by="sequence"))
    assert [entry.sequence for entry in entries] == [1, 2, 3]
    assert [entry.event for entry in entries] == [event(1), event(2), event(3)]
    assert entries[0].hash == event_hash(GENESIS, 1, event(1))
    verdict = log.verify()
    assert (verdict.is_intact, verdict.event_count, verdict.checkpoint) == (True, 3, log.end())


def test_an_event_that_comes_again_is_stored_once(log: AuditLog) -> None:
    log.append([event(1), event(2)])
    log.append([event(2), event(3), event(3)])

    assert log.verify().event_count == 3


def test_batches_that_come_at_the_same_time_make_one_chain(log: AuditLog) -> None:
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda batch: log.append([event(1 + batch * 5 + number) for number in range(5)]), range(32)))

    verdict = log.verify()
    assert (verdict.is_intact, verdict.event_count) == (True, 160)


def test_text_of_any_script_survives_the_database(log: AuditLog) -> None:
    log.append([event(1, subject='Zoë "O\'N" \\ 日本 🚀', resource="\t\n\u2028" * 10)])

    assert log.verify().is_intact


@pytest.mark.parametrize(
    ("column", "value"),
    [("subject", "eve"), ("method", "/x"), ("status_code", 7), ("event_time", START), ("hash", "0" * 64), ("resource", "")],
)
def test_a_changed_event_is_found(domain: Domain, log: AuditLog, column: str, value: object) -> None:
    log.append([event(number) for number in range(1, 6)])
    with domain.engine.begin() as connection:
        connection.execute(table.update().where(table.c.sequence == 3).values({column: value}))

    verdict = log.verify()

    assert not verdict.is_intact
    assert verdict.first_bad_sequence == 3


def test_a_removed_event_is_found(domain: Domain, log: AuditLog) -> None:
    log.append([event(number) for number in range(1, 6)])
    with domain.engine.begin() as connection:
        connection.execute(table.delete().where(table.c.sequence == 2))

    assert log.verify().first_bad_sequence == 3


def test_a_rewritten_tail_passes_the_chain_and_fails_the_checkpoint(domain: Domain, log: AuditLog) -> None:
    log.append([event(number) for number in range(1, 6)])
    kept = log.end()
    with domain.engine.begin() as connection:
        connection.execute(table.delete().where(table.c.sequence >= 4))
    log.append([event(number) for number in range(10, 12)])

    assert log.verify().is_intact
    assert log.verify(kept).first_bad_sequence == 5


def test_a_truncated_log_fails_the_checkpoint_that_a_caller_kept(domain: Domain, log: AuditLog) -> None:
    log.append([event(number) for number in range(1, 6)])
    kept = log.end()
    with domain.engine.begin() as connection:
        connection.execute(table.delete().where(table.c.sequence > 3))

    assert log.verify().is_intact
    verdict = log.verify(kept)
    assert (verdict.is_intact, verdict.first_bad_sequence, verdict.event_count) == (False, 4, 3)


def test_a_truncated_log_fails_the_checkpoints_that_the_server_kept(domain: Domain, log: AuditLog) -> None:
    log.append([event(number) for number in range(1, 6)])
    domain.checkpoints.add(log.end())
    assert log.verify().is_intact

    with domain.engine.begin() as connection:
        connection.execute(table.delete())

    assert log.verify().first_bad_sequence == 1


def test_a_checkpoint_that_contradicts_the_log_is_found(log: AuditLog) -> None:
    log.append([event(number) for number in range(1, 6)])

    assert log.verify(Checkpoint(2, "f" * 64)).first_bad_sequence == 2
    assert log.verify(Checkpoint(2, log.page(ROOT, Listing(order_by="sequence"))[0][1].hash)).is_intact
    assert log.verify(Checkpoint(0, "")).is_intact


def test_a_long_log_is_verified_in_batches(log: AuditLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("servers.users.audit_log._VERIFY_BATCH", 7)
    log.append([event(number) for number in range(1, 51)])

    assert log.verify().event_count == 50


def test_an_empty_log_is_intact(log: AuditLog) -> None:
    verdict = log.verify()

    assert (verdict.is_intact, verdict.event_count, verdict.checkpoint) == (True, 0, Checkpoint(0, ""))


def test_events_are_listed_newest_first_in_pages_and_by_filter(log: AuditLog) -> None:
    log.append([event(number, subject="ada" if number % 2 else "bob", status_code=number % 3) for number in range(1, 11)])

    first, token = log.page(ROOT, Listing(page_size=6))
    rest, end = log.page(ROOT, Listing(page_size=6, page_token=token))
    assert [entry.sequence for entry in (*first, *rest)] == list(range(10, 0, -1))
    assert end == ""
    found, _ = log.page(ROOT, Listing(filter='subject = "ada" AND status_code = 0 AND sequence > 3'))
    assert [entry.sequence for entry in found] == [9]


def test_events_are_listed_where_the_caller_may_read_them(log: AuditLog) -> None:
    log.append([event(1, project="team"), event(2, project="secret")])

    entries, _ = log.page(caller_with("users.audit.read", project="team"), Listing())
    assert [entry.event.project for entry in entries] == ["team"]


class TestOwnCalls:
    @pytest.fixture
    def sink(self, domain: Domain) -> LocalAuditSink:
        return LocalAuditSink(domain.engine, domain.audit_log)

    def test_a_call_is_in_the_log_when_it_has_ended(self, domain: Domain, sink: LocalAuditSink) -> None:
        from servers.runtime.audit import events as outbox

        call = AuditEvent(str(uuid.uuid4()), START, "ada", "/m", "default")
        sink.begin(call)
        assert domain.audit_log.end().sequence == 0
        sink.finish(dataclasses.replace(call, status_code=5, reason="NOT_FOUND", resource="r" * 600), is_begun=True)

        (entry,) = domain.audit_log.page(ROOT, Listing())[0]
        assert (entry.event.status_code, entry.event.reason, len(entry.event.resource)) == (5, "NOT_FOUND", 512)
        with domain.engine.connect() as connection:
            assert connection.execute(select(func.count()).select_from(outbox)).scalar_one() == 0

    def test_a_name_that_was_typed_is_kept_nowhere_not_even_while_the_call_runs(self, domain: Domain, sink: LocalAuditSink) -> None:
        from servers.runtime.audit import events as outbox

        call = AuditEvent(str(uuid.uuid4()), START, "", "/mlops.users.v1.UserService/Login", "default", resource="my-secret-password")
        sink.begin(call)

        with domain.engine.connect() as connection:
            assert connection.execute(select(outbox.c.resource)).scalar_one() == ""
        sink.finish(dataclasses.replace(call, status_code=8), is_begun=True)
        assert domain.audit_log.page(ROOT, Listing())[0][0].event.resource == ""

    def test_a_call_whose_process_died_is_in_the_log_with_an_unknown_outcome(self, domain: Domain, sink: LocalAuditSink) -> None:
        sink.begin(AuditEvent(str(uuid.uuid4()), START, "ada", "/m", "default"))

        sink.collect()

        (entry,) = domain.audit_log.page(ROOT, Listing())[0]
        assert (entry.event.status_code, entry.event.reason) == (2, "OUTCOME_UNKNOWN")
