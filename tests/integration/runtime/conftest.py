from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from sqlalchemy import Engine

from servers.runtime.auth import LocalKeys, TokenVerifier
from servers.runtime.database import open_database
from servers.runtime.server import Registration, Server, build_server
from servers.runtime.settings import ServerSettings

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
KEY_ID = "test-key"


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stubs of the test contract, importable in this process."""
    folder = tmp_path_factory.mktemp("generated")
    subprocess.run(
        [
            sys.executable,
            "-m",
            "grpc_tools.protoc",
            f"-I{HERE / 'contracts'}",
            f"--descriptor_set_in={ROOT / 'gen/descriptors/mlops.binpb'}",
            f"--python_out={folder}",
            f"--grpc_python_out={folder}",
            "mlmesh_test/v1/echo.proto",
        ],
        check=True,
    )
    sys.path.insert(0, str(folder))
    return folder


@pytest.fixture(scope="session")
def pb(generated: Path) -> Any:
    from mlmesh_test.v1 import echo_pb2

    return echo_pb2


@pytest.fixture(scope="session")
def echo_grpc(generated: Path) -> Any:
    from mlmesh_test.v1 import echo_pb2_grpc

    return echo_pb2_grpc


@pytest.fixture(scope="session")
def signing_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@pytest.fixture(scope="session")
def make_token(signing_key: rsa.RSAPrivateKey) -> Callable[..., str]:
    def make(grants: dict[str, list[str]] | None = None, **claims: Any) -> str:
        now = int(time.time())
        given = {"*": ["*"]} if grants is None else grants
        payload = {
            "iss": "mlmesh",
            "aud": "mlmesh",
            "sub": "ada",
            "name": "Ada",
            "iat": now,
            "exp": now + 900,
            "sid": "s1",
            "grants": given,
        }
        return jwt.encode(payload | claims, signing_key, "RS256", headers={"kid": KEY_ID})

    return make


@pytest.fixture
def bearer(make_token: Callable[..., str]) -> Callable[..., list[tuple[str, str]]]:
    """Metadata of a caller with the given grants; without any, of one who may do everything."""
    return lambda grants=None, **claims: [("authorization", f"Bearer {make_token(grants, **claims)}")]


@pytest.fixture
def verifier(signing_key: rsa.RSAPrivateKey) -> TokenVerifier:
    return TokenVerifier(LocalKeys(lambda: {KEY_ID: signing_key.public_key()}), "mlmesh", "mlmesh")


@pytest.fixture
def echo(generated: Path) -> Any:
    from tests.integration.runtime.echo_servicer import EchoServicer

    return EchoServicer()


@pytest.fixture
def serve(tmp_path: Path, verifier: TokenVerifier, echo: Any, echo_grpc: Any) -> Iterator[Callable[..., Server]]:
    """Starts a server with the test contract; stops it after the test."""
    servers: list[Server] = []

    def start(*, settings: dict[str, Any] | None = None, component: str = "echo", **options: Any) -> Server:
        given = {"data_dir": tmp_path, "drain_s": 0, "grace_s": 2} | (settings or {})
        registrations = options.pop("servicers", [Registration(echo_grpc.add_EchoServiceServicer_to_server, echo)])
        options.setdefault("verifier", verifier)
        server = build_server(ServerSettings(**given), registrations, component=component, **options)
        server.start()
        servers.append(server)
        return server

    yield start
    for server in reversed(servers):
        server.stop()


@pytest.fixture
def connect(echo_grpc: Any) -> Iterator[Callable[..., Any]]:
    """Gives a stub of the test contract for an address."""
    channels: list[grpc.Channel] = []

    def to(address: str) -> Any:
        channels.append(grpc.insecure_channel(address))
        return echo_grpc.EchoServiceStub(channels[-1])

    yield to
    for channel in channels:
        channel.close()


@pytest.fixture
def stub(serve: Callable[..., Server], connect: Callable[..., Any]) -> Any:
    return connect(serve().address)


@pytest.fixture
def fake_users(signing_key: rsa.RSAPrivateKey, make_token: Callable[..., str]) -> Any:
    from tests.integration.runtime.fake_users import FakeUsers

    return FakeUsers(signing_key, KEY_ID, make_token)


@pytest.fixture
def serve_users(serve: Callable[..., Server], fake_users: Any) -> Callable[..., Server]:
    """Starts what other servers need of the users server."""
    from mlops.users.v1.users_service_pb2_grpc import add_UserServiceServicer_to_server

    def start(**settings: Any) -> Server:
        return serve(servicers=[Registration(add_UserServiceServicer_to_server, fake_users)], component="users", settings=settings)

    return start


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Engine]:
    """A database with the tables of the runtime, and none of a component's own."""
    (tmp_path / "migrations/versions").mkdir(parents=True)
    (tmp_path / "migrations/versions/0001_nothing.py").write_text('revision = "0001"\ndown_revision = None\ndef upgrade(): pass\n')
    engine = open_database(ServerSettings(data_dir=tmp_path), tmp_path / "migrations")
    yield engine
    engine.dispose()


@pytest.fixture
def service_key_file(tmp_path: Path) -> Path:
    file = tmp_path / "mesh.key"
    file.write_text("mlm_1_good\n")
    return file


@pytest.fixture
def serve_audited(
    serve: Callable[..., Server], connect: Callable[..., Any], database: Engine, service_key_file: Path
) -> Callable[..., Any]:
    """Starts a server whose audit events go to the users server at an address; gives a stub of it."""

    def start(users_address: str) -> Any:
        settings = {"users_address": users_address, "service_key_file": service_key_file}
        return connect(serve(database=database, settings=settings).address)

    return start
