"""Who changed what: the event of an audited call, and whoever takes it.

It names the caller, the method and the resource; what was sent is never in it.
"""

from __future__ import annotations

import logging
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


class AuditSink(Protocol):
    """Takes audit events."""

    def begin(self, event: AuditEvent) -> None:
        """Takes note that a call begins. Where it raises, the call does not run: nothing happens unaudited."""

    def finish(self, event: AuditEvent) -> None:
        """Takes note of how a call ended; also of one that never began because it was denied."""


class LogAuditSink:
    """Writes events to the log: for servers without a database."""

    def begin(self, event: AuditEvent) -> None:
        """The end of a call tells everything."""

    def finish(self, event: AuditEvent) -> None:
        """Logs the event."""
        _LOGGER.info("audit", extra={"facts": {**asdict(event), "event_time": event.event_time.isoformat()}})
