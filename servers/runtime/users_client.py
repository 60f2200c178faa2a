"""What servers ask of the users server in the background."""

from __future__ import annotations

from collections.abc import Collection

import grpc
from mlops.users.v1 import users_service_pb2 as pb
from mlops.users.v1.users_service_pb2_grpc import UserServiceStub

from servers.runtime.keys import RemoteKeys
from servers.runtime.peers import open_channel
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
    return _FetchingKeys(open_channel(settings.users_address, settings=settings, timeout_s=_TIMEOUT_S), settings.key_refresh_interval_s)
