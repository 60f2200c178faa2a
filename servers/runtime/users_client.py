"""What servers ask of the users server in the background."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import grpc
from mlops.users.v1 import user_pb2
from mlops.users.v1 import users_service_pb2 as pb
from mlops.users.v1.users_service_pb2_grpc import UserServiceStub

from servers.runtime.audit_events import AuditEvent
from servers.runtime.keys import RemoteKeys
from servers.runtime.peers import Identity, open_channel
from servers.runtime.settings import ServerSettings

_TIMEOUT_S = 3.0


class _FetchingKeys(RemoteKeys):
    """`RemoteKeys` that closes the channel it fetches through."""

    def __init__(self, channel: grpc.Channel, interval_s: float) -> None:
        self._channel = channel
        self._users = UserServiceStub(channel)
        super().__init__(self._jwks, self._revoked_sessions, interval_s=interval_s)

    def close(self) -> None:
        """Stops fetching and closes the channel."""
        super().close()
        self._channel.close()

    def _jwks(self) -> bytes:
        document: bytes = self._users.GetJwks(pb.GetJwksRequest()).data
        return document

    def _revoked_sessions(self) -> Collection[str]:
        return self._users.ListRevocations(pb.ListRevocationsRequest()).session_ids


def remote_keys(settings: ServerSettings) -> RemoteKeys:
    """Keys and revocations of the users server at `settings.users_address`."""
    return _FetchingKeys(
        open_channel(settings.users_address, settings=settings, timeout_s=_TIMEOUT_S, patience_s=0), settings.key_refresh_interval_s
    )


class AuditClient:
    """Sends audit events to the users server.

    Args:
        settings: Where it is.
        identity: Who sends.
    """

    def __init__(self, settings: ServerSettings, identity: Identity) -> None:
        self._channel = open_channel(settings.users_address, identity=identity, settings=settings, timeout_s=_TIMEOUT_S, patience_s=0)
        self._users = UserServiceStub(self._channel)

    def append(self, events: Sequence[AuditEvent]) -> None:
        """Sends events, oldest first.

        Raises:
            grpc.RpcError: They did not arrive, or were refused.
        """
        self._users.AppendAuditEvents(pb.AppendAuditEventsRequest(events=[_message(event) for event in events]))

    def close(self) -> None:
        """Closes the channel."""
        self._channel.close()


def _message(event: AuditEvent) -> user_pb2.AuditEvent:
    message = user_pb2.AuditEvent(
        id=event.event_id,
        subject=event.subject,
        method=event.method,
        project=event.project,
        resource=event.resource,
        status_code=event.status_code or 0,
        reason=event.reason,
        trace_id=event.trace_id,
    )
    message.event_time.FromDatetime(event.event_time)
    return message
