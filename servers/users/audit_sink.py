"""The audit events of the users server's own calls: noted before the work, chained into the log right after it."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

import grpc
from sqlalchemy import Engine

from servers.runtime.audit import AuditEvent, AuditOutbox, AuditShipper
from servers.runtime.audit_events import Beginning
from servers.users.audit_log import AuditLog
from servers.users.store.audit_rows import Event

_LOGGER = logging.getLogger(__name__)
_UNKNOWN = grpc.StatusCode.UNKNOWN.value[0]


class LocalAuditSink:
    """Writes to the log itself instead of sending to the server that has it.

    A call whose process dies in between has left its beginning in the outbox, from where `collect` moves it into the log.

    Args:
        engine: The database of the users server.
        log: The audit log.
    """

    def __init__(self, engine: Engine, log: AuditLog) -> None:
        self._log = log
        self._outbox = AuditOutbox(engine)
        self._shipper = AuditShipper(engine, self._append)

    def begin(self, event: AuditEvent) -> None:
        """Notes that a call begins."""
        self._outbox.begin(without_typed_name(event))

    def begin_with_effect(self, event: AuditEvent) -> AbstractContextManager[Beginning]:
        """Notes that a call begins, together with what it changes."""
        return self._outbox.begin_with_effect(without_typed_name(event))

    def finish(self, event: AuditEvent, *, is_begun: bool) -> None:  # noqa: ARG002 - the log is right here, so it has the event at once
        """Adds the event to the log. A failure is logged: the call has had its effect, and the event of its beginning is in the outbox."""
        try:
            self._append([event])
        except Exception:
            _LOGGER.exception("the outcome of audit event %s is not recorded", event.event_id)

    def collect(self) -> None:
        """Moves events that never ended from the outbox into the log."""
        self._shipper.ship()

    def _append(self, events: Sequence[AuditEvent]) -> None:
        self._log.append([as_log_event(without_typed_name(event)) for event in events])


def without_typed_name(event: AuditEvent) -> AuditEvent:
    """Drops what somebody who is not logged in gave as a name: it may be a password in the wrong field.

    The identifier of a user, which a login names once it has found one, stays.
    """
    return event if event.subject or _is_uuid(event.resource) else replace(event, resource="")


def _is_uuid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


def as_log_event(event: AuditEvent) -> Event:
    """The event in the form and the lengths of the log."""
    return Event(
        id=event.event_id,
        event_time=event.event_time,
        subject=event.subject[:255],
        method=event.method[:255],
        project=event.project[:63],
        resource=event.resource[:512],
        status_code=_UNKNOWN if event.status_code is None else event.status_code,
        reason=event.reason[:63],
        trace_id=event.trace_id[:32],
    )
