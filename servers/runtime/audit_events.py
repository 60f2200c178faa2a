"""Who changed what: the event of an audited call, and whoever takes it.

It names the caller, the method and the resource; what was sent is never in it.
"""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Protocol

_LOGGER = logging.getLogger("servers.audit")


@dataclass(frozen=True)
class AuditEvent:
    """One call that changed something, or tried to.

    Args:
        event_id: A UUID.
        event_time: When the call was served.
        subject: Identifier of the caller; empty where nobody was logged in.
        method: Full name of the method.
        project: Project of the call.
        resource: Name or identifier of what was changed.
        status_code: gRPC code of the answer; None while the call runs.
        reason: Reason of the error; empty where there was none.
        request_id: Identifier of the request, as in the logs.
        trace_id: Its trace, 32 hexadecimal digits.
    """

    event_id: str
    event_time: datetime
    subject: str
    method: str
    project: str
    resource: str = ""
    status_code: int | None = None
    reason: str = ""
    request_id: str = ""
    trace_id: str = ""


class Beginning(Protocol):
    """The note that a call begins."""

    @property
    def is_written(self) -> bool:
        """Whether it is kept for good."""


@dataclass(frozen=True)
class _Known:
    is_written: bool


WRITTEN: Beginning = _Known(is_written=True)
UNWRITTEN: Beginning = _Known(is_written=False)


class AuditSink(Protocol):
    """Takes audit events."""

    def begin(self, event: AuditEvent) -> None:
        """Takes note that a call begins. Where it raises, the call does not run: nothing happens unaudited."""

    def begin_with_effect(self, event: AuditEvent) -> AbstractContextManager[Beginning]:
        """Takes note that a call begins, in the first transaction that the block writes: a change and the note of it come together."""

    def finish(self, event: AuditEvent, *, is_begun: bool) -> None:
        """Takes note of how a call ended; also of one that never began because it was denied.

        Args:
            event: The event, with its outcome.
            is_begun: Whether its beginning is kept for good, so that its end may follow a moment later.
        """


class LogAuditSink:
    """Writes events to the log: for servers without a database."""

    def begin(self, event: AuditEvent) -> None:
        """The end of a call tells everything."""

    def begin_with_effect(self, event: AuditEvent) -> AbstractContextManager[Beginning]:  # noqa: ARG002
        """The end of a call tells everything."""
        return nullcontext(UNWRITTEN)

    def finish(self, event: AuditEvent, *, is_begun: bool) -> None:  # noqa: ARG002
        """Logs the event."""
        _LOGGER.info("audit", extra={"facts": {**asdict(event), "event_time": event.event_time.isoformat()}})
