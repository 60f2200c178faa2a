"""Who may do what: logins, tokens, API keys, users, roles and the audit log."""
# Made by clients/python/make_sync.py. Change mlmesh/aio instead.

from __future__ import annotations

from collections.abc import Sequence

from mlops.users.v1 import user_pb2, users_service_pb2

from mlmesh.sync.accounts import AccountCalls
from mlmesh.sync.pages import Pager


class UsersClient(AccountCalls):
    """Logs in, keeps users, roles and API keys, and reads the audit log.

    Args:
        channel: Leads to the mesh.
        caller: Makes the calls.
    """

    def list_audit_events(
        self, *, filter: str = "", order_by: str = "", page_size: int = 0, timeout_s: float | None = None
    ) -> Pager[user_pb2.AuditEvent]:
        """Lists who changed what, or tried to.

        Args:
            filter: AIP-160 filter, for example `subject = "ada" AND status_code = 0`.
            order_by: Of `sequence`, `event_time`, each with ` desc` if wanted.
            page_size: Most items a page; 0 = 50.
            timeout_s: Deadline of each page, in seconds; None = the connection's.
        """
        request = users_service_pb2.ListAuditEventsRequest(filter=filter, order_by=order_by, page_size=page_size)
        return Pager(self._caller, self._stub.ListAuditEvents, request, "events", timeout_s)

    def verify_audit_log(
        self, *, checkpoint: users_service_pb2.AuditCheckpoint | None = None, timeout_s: float | None = None
    ) -> users_service_pb2.VerifyAuditLogResponse:
        """Checks the hash of every event.

        Args:
            checkpoint: Checkpoint of an earlier call: shows also that nothing was cut off since.
            timeout_s: Deadline, in seconds; None = the connection's.
        """
        request = users_service_pb2.VerifyAuditLogRequest(checkpoint=checkpoint)
        return self._caller.unary(self._stub.VerifyAuditLog, request, timeout_s=timeout_s)

    def append_audit_events(self, events: Sequence[user_pb2.AuditEvent], *, timeout_s: float | None = None) -> None:
        """Adds events to the audit log. Servers of the mesh do; it needs `users.audit.append`.

        Args:
            events: Events, oldest first, 1 to 1,000.
            timeout_s: Deadline, in seconds; None = the connection's.
        """
        request = users_service_pb2.AppendAuditEventsRequest(events=events)
        self._caller.unary(self._stub.AppendAuditEvents, request, timeout_s=timeout_s)
