"""A connection to a mesh."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc.aio

from mlmesh.aio.calls import Caller
from mlmesh.aio.data_uploads import UploadsClient
from mlmesh.aio.features import FeaturesClient
from mlmesh.aio.ingestion import IngestionClient
from mlmesh.aio.pipelines import PipelinesClient
from mlmesh.aio.processing import ProcessingClient
from mlmesh.aio.profiles import ProfilesClient
from mlmesh.aio.quarantine import QuarantineClient
from mlmesh.aio.registry import RegistryClient
from mlmesh.aio.schemas import SchemasClient
from mlmesh.aio.serving import ServingClient
from mlmesh.aio.streams import StreamsClient
from mlmesh.aio.subscriptions import SubscriptionsClient
from mlmesh.aio.system import SystemClient
from mlmesh.aio.tokens import Tokens
from mlmesh.aio.users import UsersClient
from mlmesh.channels import channel_credentials, channel_options
from mlmesh.configuration import Connection
from mlmesh.http_uploads import HttpUploads

DEFAULT_TIMEOUT_S = 60.0
DEFAULT_TRANSFER_TIMEOUT_S = 3600.0


class AsyncMesh:
    """A connection to a mesh. Made by `mlmesh.connect_async`; close it, or use it in an `async with`.

    Args:
        connection: Where to connect to and as whom.
        timeout_s: Deadline of a call that does not state one, in seconds.
        transfer_timeout_s: The same for calls that move bytes in bulk.
        ca_file: PEM authorities that verify the mesh's certificate; None = those of the system.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        transfer_timeout_s: float = DEFAULT_TRANSFER_TIMEOUT_S,
        ca_file: Path | None = None,
    ) -> None:
        self._connection = connection
        self._timeout_s = timeout_s
        self._transfer_timeout_s = transfer_timeout_s
        self._ca_file = ca_file

    @property
    def url(self) -> str:
        """Address of the mesh."""
        return self._connection.address.url

    @cached_property
    def users(self) -> UsersClient:
        """Users, roles, API keys and the audit log."""
        return UsersClient(self._channel, self._caller)

    @cached_property
    def registry(self) -> RegistryClient:
        """Models and their versions."""
        return RegistryClient(self._channel, self._caller, self._http_uploads)

    @cached_property
    def serving(self) -> ServingClient:
        """Predictions."""
        return ServingClient(self._channel, self._caller)

    @cached_property
    def ingestion(self) -> IngestionClient:
        """Data on their way into datasets, and the datasets."""
        return IngestionClient(self._channel, self._caller, self._http_uploads)

    @cached_property
    def uploads(self) -> UploadsClient:
        """Files on their way into the mesh that are larger than a request."""
        return UploadsClient(self._channel, self._caller, self._http_uploads)

    @cached_property
    def streams(self) -> StreamsClient:
        """Rows that are written into datasets as they come."""
        return StreamsClient(self._channel, self._caller)

    @cached_property
    def subscriptions(self) -> SubscriptionsClient:
        """Topics of Kafka that are written into datasets continuously."""
        return SubscriptionsClient(self._channel, self._caller)

    @cached_property
    def profiles(self) -> ProfilesClient:
        """What datasets have in them, and pages that show it."""
        return ProfilesClient(self._channel, self._caller)

    @cached_property
    def quarantine(self) -> QuarantineClient:
        """Rows that were left out of datasets."""
        return QuarantineClient(self._channel, self._caller)

    @cached_property
    def schemas(self) -> SchemasClient:
        """Schemas that datasets have had, and changes of columns."""
        return SchemasClient(self._channel, self._caller)

    @cached_property
    def processing(self) -> ProcessingClient:
        """Jobs that make rows of datasets into rows of datasets."""
        return ProcessingClient(self._channel, self._caller)

    @cached_property
    def pipelines(self) -> PipelinesClient:
        """Computations that run again and again, over what has changed alone."""
        return PipelinesClient(self._channel, self._caller)

    @cached_property
    def features(self) -> FeaturesClient:
        """Features of entities: as they are now, and as they were known in the past."""
        return FeaturesClient(self._channel, self._caller)

    @cached_property
    def system(self) -> SystemClient:
        """Health and metrics."""
        return SystemClient(self._channel, self._caller)

    async def token(self) -> str:
        """Returns a bearer token that is valid now, for other programs; empty where the connection has no credential.

        Raises:
            mlmesh.errors.Unauthenticated: The credential is refused.
        """
        return await self._tokens.current() if self._tokens is not None else ""

    async def close(self) -> None:
        """Closes the connection. Calls that run are cancelled."""
        if "_channel" in self.__dict__:
            await self._channel.close()

    async def __aenter__(self) -> Self:
        """Returns itself."""
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Closes the connection."""
        await self.close()

    @cached_property
    def _channel(self) -> grpc.aio.Channel:
        # Made on first use: an asyncio channel belongs to the event loop that runs then.
        address = self._connection.address
        if address.is_secure:
            return grpc.aio.secure_channel(address.target, channel_credentials(self._ca_file), options=channel_options(address))
        return grpc.aio.insecure_channel(address.target, options=channel_options(address))

    @cached_property
    def _http_uploads(self) -> HttpUploads:
        return HttpUploads(self._connection.address, self._ca_file)

    @cached_property
    def _tokens(self) -> Tokens | None:
        return Tokens(self._channel, self._connection.credential) if self._connection.credential is not None else None

    @cached_property
    def _caller(self) -> Caller:
        return Caller(self._tokens, timeout_s=self._timeout_s, transfer_timeout_s=self._transfer_timeout_s)
