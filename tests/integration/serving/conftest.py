from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from mlops.serving.v1.serving_service_pb2_grpc import ModelServingServiceStub

from servers.runtime.peers import open_channel
from servers.runtime.server import Server
from servers.serving.__main__ import build
from servers.serving.settings import ServingSettings
from tests.small_mesh.identity import Issuer, SmallUsers, StaticToken, small_users
from tests.small_mesh.registry import SmallRegistry, small_registry_server


@dataclass
class ServingMesh:
    """A serving server with a users server and a registry beside it, all on Unix sockets."""

    folder: Path
    issuer: Issuer
    users: SmallUsers
    registry: SmallRegistry
    registry_server: Server
    key_file: Path
    servers: list[Server] = field(default_factory=list)
    channels: list[grpc.Channel] = field(default_factory=list)

    def settings(self, **changes: Any) -> ServingSettings:
        known: dict[str, Any] = {
            "data_dir": self.folder / "data",
            "listen": f"unix:{self.folder}/serving.sock",
            "users_address": f"unix:{self.folder}/users.sock",
            "registry_address": f"unix:{self.folder}/registry.sock",
            "service_key_file": self.key_file,
            "resolve_ttl_s": 0.2,
            "refresh_timeout_s": 0.3,
            "drain_s": 0,
        }
        return ServingSettings(**{**known, **changes})

    def serve(self, **changes: Any) -> ModelServingServiceStub:
        server = build(self.settings(**changes), verifier=self.issuer.verifier())
        server.start()
        self.servers.append(server)
        return ModelServingServiceStub(self.channel(server.address))

    def channel(self, address: str, token: str | None = None) -> grpc.Channel:
        channel = open_channel(address, identity=StaticToken(self.issuer.token() if token is None else token))
        self.channels.append(channel)
        return channel

    def stop_registry(self) -> None:
        self.registry_server.stop()

    def close(self) -> None:
        for channel in self.channels:
            channel.close()
        for server in reversed(self.servers):
            server.stop()


@pytest.fixture(scope="session")
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
def mesh(issuer: Issuer) -> Iterator[ServingMesh]:
    folder = Path(tempfile.mkdtemp(prefix="mlm-"))  # short: sockets have a limit of 100 bytes
    users_server, users, key_file = small_users(issuer, folder)
    registry = SmallRegistry()
    registry_server = small_registry_server(registry, issuer, folder)
    users_server.start()
    registry_server.start()
    mesh = ServingMesh(folder, issuer, users, registry, registry_server, key_file, servers=[users_server, registry_server])
    yield mesh
    mesh.close()
    shutil.rmtree(folder, ignore_errors=True)
