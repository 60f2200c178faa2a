from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from sqlalchemy import Engine, func, select

from servers.runtime.audit import AuditOutbox, AuditShipper, events
from servers.runtime.audit_events import WRITTEN, AuditEvent, Beginning
from tests.integration.runtime.rich_errors import refused
from tests.integration.runtime.waiting import eventually

CREATE = "/mlmesh_test.v1.EchoService/CreateThing"
TRACE = "0af7651916cd43dd8448eb211c80319c"


class RecordingSink:
    def __init__(self) -> None:
        self.begun: list[AuditEvent] = []
        self.finished: list[AuditEvent] = []
        self.is_broken = False

    def begin(self, event: AuditEvent) -> None:
        if self.is_broken:
            raise OSError("disk full")
        self.begun.append(event)

    def begin_with_effect(self, event: AuditEvent) -> AbstractContextManager[Beginning]:
        self.begin(event)
        return nullcontext(WRITTEN)

    def finish(self, event: AuditEvent, *, is_begun: bool) -> None:
        self.finished.append(event)


@pytest.fixture
def sink() -> RecordingSink:
    return RecordingSink()


@pytest.fixture
def audited(serve: Callable[..., Any], connect: Callable[..., Any], sink: RecordingSink) -> Any:
    return connect(serve(audit=sink).address)


def test_an_audited_call_says_who_did_what_to_which_resource(audited: Any, pb: Any, bearer: Any, sink: RecordingSink) -> None:
    metadata = [*bearer(), ("x-request-id", "req-1"), ("traceparent", f"00-{TRACE}-b7ad6b7169203331-01")]

    audited.CreateThing(pb.CreateThingRequest(thing=pb.Thing(name="cat", project="zoo")), metadata=metadata)

    (begun,), (finished,) = sink.begun, sink.finished
    assert begun.status_code is None
    assert begun.event_id == finished.event_id
    assert (finished.subject, finished.method, finished.project, finished.resource) == ("ada", CREATE, "zoo", "cat")
    assert (finished.status_code, finished.reason, finished.request_id, finished.trace_id) == (0, "", "req-1", TRACE)


def test_a_name_that_the_server_chose_comes_from_the_answer(audited: Any, pb: Any, bearer: Any, sink: RecordingSink) -> None:
    audited.CreateThing(pb.CreateThingRequest(thing=pb.Thing()), metadata=bearer())

    assert sink.finished[0].resource == "thing-1"


def test_a_failed_call_is_recorded_with_its_reason(audited: Any, pb: Any, bearer: Any, sink: RecordingSink, echo: Any) -> None:
    echo.fail_next = "not_found"
    refused(lambda: audited.CreateThing(pb.CreateThingRequest(thing=pb.Thing(name="cat")), metadata=bearer()))

    (finished,) = sink.finished
    assert (finished.status_code, finished.reason) == (grpc.StatusCode.NOT_FOUND.value[0], "ECHO_NOT_FOUND")


def test_a_denied_attempt_is_recorded(audited: Any, pb: Any, bearer: Any, sink: RecordingSink) -> None:
    refused(lambda: audited.CreateThing(pb.CreateThingRequest(thing=pb.Thing(name="cat", project="zoo")), metadata=bearer({})))

    (finished,) = sink.finished
    assert (finished.project, finished.resource, finished.reason) == ("zoo", "cat", "PERMISSION_DENIED")
    assert sink.begun == []


def test_reads_are_not_recorded(audited: Any, pb: Any, bearer: Any, sink: RecordingSink) -> None:
    audited.Echo(pb.EchoRequest(), metadata=bearer())

    assert sink.begun == sink.finished == []


def test_nothing_happens_that_cannot_be_recorded(audited: Any, pb: Any, bearer: Any, sink: RecordingSink, echo: Any) -> None:
    sink.is_broken = True
    refusal = refused(lambda: audited.CreateThing(pb.CreateThingRequest(thing=pb.Thing(name="cat")), metadata=bearer()))

    assert refusal.code is grpc.StatusCode.INTERNAL
    assert echo.things_created == 0


def test_an_audited_client_stream_is_recorded_once(audited: Any, pb: Any, bearer: Any, sink: RecordingSink) -> None:
    audited.Collect(iter([pb.EchoRequest(text="a", project="zoo"), pb.EchoRequest(text="b", project="zoo")]), metadata=bearer())

    (finished,) = sink.finished
    assert (finished.project, finished.status_code) == ("zoo", 0)


def kept(database: Engine) -> int:
    with database.connect() as connection:
        return connection.execute(select(func.count()).select_from(events)).scalar_one()


def test_events_reach_the_users_server_once_and_leave_the_outbox(
    serve_audited: Any, serve_users: Any, fake_users: Any, database: Engine, pb: Any, bearer: Any
) -> None:
    stub = serve_audited(serve_users().address)

    for name in ("a", "b", "c"):
        stub.CreateThing(pb.CreateThingRequest(thing=pb.Thing(name=name)), metadata=bearer())
    eventually(lambda: len(fake_users.events) == 3)

    assert [event.resource for event in fake_users.events.values()] == ["a", "b", "c"]
    assert {event.subject for event in fake_users.events.values()} == {"ada"}
    eventually(lambda: kept(database) == 0)


def test_events_wait_in_the_outbox_while_the_users_server_is_away(
    serve_audited: Any, serve_users: Any, fake_users: Any, database: Engine, pb: Any, bearer: Any, tmp_path: Path
) -> None:
    address = f"unix:{tmp_path}/users.sock"
    stub = serve_audited(address)

    stub.CreateThing(pb.CreateThingRequest(thing=pb.Thing(name="early")), metadata=bearer())
    assert kept(database) == 1
    serve_users(listen=address)

    eventually(lambda: fake_users.events)
    eventually(lambda: kept(database) == 0)


def test_one_event_that_is_refused_does_not_hold_up_the_others(
    serve_audited: Any, serve_users: Any, fake_users: Any, database: Engine, pb: Any, bearer: Any, tmp_path: Path
) -> None:
    address = f"unix:{tmp_path}/users.sock"
    fake_users.refused_methods.add("/mlmesh_test.v1.EchoService/Collect")
    stub = serve_audited(address)

    stub.Collect(iter([pb.EchoRequest()]), metadata=bearer())
    stub.CreateThing(pb.CreateThingRequest(thing=pb.Thing(name="late")), metadata=bearer())
    serve_users(listen=address)

    eventually(lambda: [event.resource for event in fake_users.events.values()] == ["late"])
    eventually(lambda: kept(database) == 0)


def test_a_call_that_never_ended_is_shipped_with_its_outcome_unknown(database: Engine) -> None:
    now = datetime(2026, 11, 1, tzinfo=UTC)
    crashed = AuditEvent("e1", now - timedelta(minutes=20), "ada", CREATE, "default", "cat")
    AuditOutbox(database).begin(crashed)
    AuditOutbox(database).begin(replace(crashed, event_id="e2", event_time=now))
    shipped: list[AuditEvent] = []

    AuditShipper(database, shipped.extend, clock=lambda: now).ship()

    (event,) = shipped
    assert (event.event_id, event.status_code, event.reason) == ("e1", grpc.StatusCode.UNKNOWN.value[0], "OUTCOME_UNKNOWN")
    assert kept(database) == 1
