from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from servers.runtime.errors import Unavailable
from servers.runtime.peers import open_channel
from servers.runtime.server import Registration
from servers.runtime.service_identity import IssuedToken, ServiceCredentials
from servers.runtime.settings import ServerSettings
from tests.integration.runtime.rich_errors import refused
from tests.integration.runtime.waiting import eventually


@pytest.fixture
def behind_users(serve: Callable[..., Any], serve_users: Any, connect: Any) -> Any:
    """A stub of a server that gets its keys from the users server."""
    settings = {"users_address": serve_users().address, "key_refresh_interval_s": 0.05}
    return connect(with_keys(serve(verifier=None, settings=settings)).address)


def with_keys(server: Any) -> Any:
    # A call that comes before them waits for a second and a half, which is not long on a busy machine.
    eventually(lambda: server.is_ready)
    return server


def test_tokens_are_verified_with_the_keys_of_the_users_server(behind_users: Any, pb: Any, bearer: Any) -> None:
    assert behind_users.WhoAmI(pb.WhoAmIRequest(), metadata=bearer()).subject == "ada"


def test_a_revoked_session_is_refused_within_a_refresh(behind_users: Any, pb: Any, bearer: Any, fake_users: Any) -> None:
    metadata = bearer(sid="stolen")
    behind_users.WhoAmI(pb.WhoAmIRequest(), metadata=metadata)

    fake_users.revoked.add("stolen")

    def is_refused() -> bool:
        try:
            behind_users.WhoAmI(pb.WhoAmIRequest(), metadata=metadata)
        except grpc.RpcError:
            return True
        return False

    eventually(is_refused, 5)
    assert refused(lambda: behind_users.WhoAmI(pb.WhoAmIRequest(), metadata=metadata)).reason == "TOKEN_REVOKED"
    assert behind_users.WhoAmI(pb.WhoAmIRequest(), metadata=bearer(sid="another")).subject == "ada"


def test_tokens_of_a_withdrawn_key_are_refused(
    behind_users: Any, pb: Any, bearer: Any, fake_users: Any, signing_key: rsa.RSAPrivateKey
) -> None:
    metadata = bearer()
    behind_users.WhoAmI(pb.WhoAmIRequest(), metadata=metadata)

    fake_users.keys = {"new-key": signing_key}

    def is_refused() -> bool:
        try:
            behind_users.WhoAmI(pb.WhoAmIRequest(), metadata=metadata)
        except grpc.RpcError:
            return True
        return False

    eventually(is_refused, 5)
    assert refused(lambda: behind_users.WhoAmI(pb.WhoAmIRequest(), metadata=metadata)).reason == "TOKEN_SIGNATURE"


def test_known_tokens_work_on_while_the_users_server_is_away(
    serve: Callable[..., Any], serve_users: Any, connect: Any, pb: Any, bearer: Any
) -> None:
    users = serve_users()
    stub = connect(with_keys(serve(verifier=None, settings={"users_address": users.address, "key_refresh_interval_s": 0.05})).address)
    metadata = bearer()
    stub.WhoAmI(pb.WhoAmIRequest(), metadata=metadata)

    users.stop()

    assert stub.WhoAmI(pb.WhoAmIRequest(), metadata=metadata).subject == "ada"
    assert stub.WhoAmI(pb.WhoAmIRequest(), metadata=bearer(sub="eve")).subject == "eve"


def test_before_any_key_has_arrived_a_token_cannot_be_judged(serve: Callable[..., Any], connect: Any, pb: Any, bearer: Any) -> None:
    stub = connect(serve(verifier=None, settings={"users_address": "unix:/nowhere/users.sock"}).address)

    refusal = refused(lambda: stub.WhoAmI(pb.WhoAmIRequest(), metadata=bearer()))

    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "KEYS_UNAVAILABLE")


@pytest.fixture
def credentials(serve_users: Any, service_key_file: Path) -> ServiceCredentials:
    settings = ServerSettings(users_address=serve_users().address, service_key_file=service_key_file)
    return ServiceCredentials.from_settings(settings)


def test_a_server_calls_its_peers_as_the_service_account(
    behind_users: Any, credentials: ServiceCredentials, serve: Callable[..., Any], echo_grpc: Any, pb: Any, fake_users: Any
) -> None:
    with open_channel(serve().address, identity=credentials) as channel:
        stub = echo_grpc.EchoServiceStub(channel)
        answers = [stub.WhoAmI(pb.WhoAmIRequest()) for _ in range(5)]

    assert {(answer.subject, answer.kind) for answer in answers} == {("mesh", "service")}
    assert fake_users.exchanges == 1


def test_a_token_that_a_peer_refuses_is_exchanged_anew_once(
    service_key_file: Path, serve: Any, echo_grpc: Any, pb: Any, make_token: Any
) -> None:
    tokens = iter([make_token(aud="wrong"), make_token(sub="mesh")])
    credentials = ServiceCredentials("", service_key_file, exchange=lambda _key: IssuedToken(next(tokens), 900))

    with open_channel(serve().address, identity=credentials) as channel:
        assert echo_grpc.EchoServiceStub(channel).WhoAmI(pb.WhoAmIRequest()).subject == "mesh"


def test_a_peer_that_refuses_every_token_is_not_asked_for_ever(
    service_key_file: Path, serve: Any, echo_grpc: Any, pb: Any, make_token: Any
) -> None:
    exchanged = []

    def exchange(_key: str) -> IssuedToken:
        exchanged.append(None)
        return IssuedToken(make_token(aud="wrong"), 900)

    with open_channel(serve().address, identity=ServiceCredentials("", service_key_file, exchange=exchange)) as channel:
        refusal = refused(lambda: echo_grpc.EchoServiceStub(channel).WhoAmI(pb.WhoAmIRequest()))

    assert refusal.reason == "TOKEN_AUDIENCE"
    assert len(exchanged) == 2


def test_the_token_is_renewed_before_it_expires_and_outlives_a_users_server_that_is_away(service_key_file: Path) -> None:
    now, issued = [0.0], []

    def exchange(_key: str) -> IssuedToken:
        if now[0] > 1000:
            raise Unavailable("away")
        issued.append(now[0])
        return IssuedToken(f"token-{len(issued)}", 900)

    credentials = ServiceCredentials("", service_key_file, exchange=exchange, clock=lambda: now[0])

    assert credentials.token() == "token-1"
    now[0] = 600
    assert credentials.token() == "token-1"
    now[0] = 700
    assert credentials.token() == "token-2"
    now[0] = 1500
    assert credentials.token() == "token-2"
    now[0] = 1700
    with pytest.raises(Unavailable):
        credentials.token()


def test_a_missing_key_file_is_a_clean_error_until_it_is_there(tmp_path: Path) -> None:
    file = tmp_path / "mesh.key"
    credentials = ServiceCredentials("", file, exchange=lambda key: IssuedToken(f"for {key}", 900))
    with pytest.raises(Unavailable, match="key of the mesh's service account"):
        credentials.token()

    file.write_text("mlm_1_good\n")

    assert credentials.token() == "for mlm_1_good"


def test_a_peers_refusal_reaches_the_caller_where_it_concerns_the_caller(
    serve: Callable[..., Any], connect: Any, echo: Any, echo_grpc: Any, pb: Any, bearer: Any
) -> None:
    channel = open_channel(serve(component="back").address)
    metadata = bearer()

    class Front(type(echo)):  # type: ignore[misc]
        def Echo(self, request: Any, context: Any) -> Any:
            as_whom = metadata if request.text != "unknown" else None
            return echo_grpc.EchoServiceStub(channel).Echo(pb.EchoRequest(fail=request.fail), metadata=as_whom)

    front = connect(serve(component="front", servicers=[Registration(echo_grpc.add_EchoServiceServicer_to_server, Front())]).address)
    missing = refused(lambda: front.Echo(pb.EchoRequest(fail="not_found"), metadata=metadata))
    ours = refused(lambda: front.Echo(pb.EchoRequest(text="unknown"), metadata=metadata))
    channel.close()

    assert (missing.code, missing.reason) == (grpc.StatusCode.NOT_FOUND, "ECHO_NOT_FOUND")
    assert (ours.code, ours.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")


def test_a_peer_that_is_too_slow_is_told_from_one_that_is_away(
    serve: Any, connect: Any, echo: Any, echo_grpc: Any, pb: Any, bearer: Any
) -> None:
    channel = open_channel(serve(component="back").address, timeout_s=0.1)

    class Front(type(echo)):  # type: ignore[misc]
        def Echo(self, request: Any, context: Any) -> Any:
            return echo_grpc.EchoServiceStub(channel).Ping(pb.PingRequest(work_ms=1000))

    front = connect(serve(servicers=[Registration(echo_grpc.add_EchoServiceServicer_to_server, Front())]).address)
    refusal = refused(lambda: front.Echo(pb.EchoRequest(), metadata=bearer()))
    channel.close()

    assert (refusal.code, refusal.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "PEER_TIMEOUT")


def test_a_peer_that_is_away_makes_a_call_unavailable(serve: Any, connect: Any, echo: Any, echo_grpc: Any, pb: Any, bearer: Any) -> None:
    channel = open_channel("unix:/nowhere/peer.sock", patience_s=0.1)

    class Front(type(echo)):  # type: ignore[misc]
        def Echo(self, request: Any, context: Any) -> Any:
            return echo_grpc.EchoServiceStub(channel).Echo(pb.EchoRequest())

    front = connect(serve(servicers=[Registration(echo_grpc.add_EchoServiceServicer_to_server, Front())]).address)
    refusal = refused(lambda: front.Echo(pb.EchoRequest(), metadata=bearer()))
    channel.close()

    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "PEER_UNAVAILABLE")
