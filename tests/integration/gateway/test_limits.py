"""Limits: how often, how many, how long."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import pytest
from mlops.registry.v1 import model_pb2
from mlops.registry.v1 import registry_service_pb2 as pb

from tests.integration.gateway.mesh_in_memory import CREATE_MODEL, GET_MODEL, GatewayUnderTest, bearer, by_status, short_folder, wait_until

SLOW = {"per_second": 1, "burst": 3}


@pytest.fixture(scope="module")
def strict(has_lanes: bool) -> Iterator[GatewayUnderTest]:
    with short_folder() as folder:
        gateway = GatewayUnderTest(
            folder,
            has_lanes=has_lanes,
            rate_limits={"READ": SLOW, "AUTH": SLOW},
            max_connections=12,
            header_timeout_s=0.3,
            time_limits={"WRITE": {"answer_s": 0.4, "idle_s": 0.3}},
        )
        try:
            yield gateway.start()
        finally:
            gateway.stop()


def test_a_caller_over_the_limit_gets_429_and_others_do_not(strict: GatewayUnderTest) -> None:
    ada, bob = bearer(strict.keys.token("ada")), bearer(strict.keys.token("bob"))

    answers = [strict.client.get("/api/v1/models/m", headers=ada) for _ in range(8)]
    of_bob = strict.client.get("/api/v1/models/m", headers=bob)

    counts = by_status(answers)
    assert 3 <= counts[200] <= 4
    assert counts[429] >= 4
    assert of_bob.status_code == 200
    refused = answers[-1]
    assert refused.headers["retry-after"] == "1"
    assert refused.json()["code"] == 8
    assert [detail["@type"].rpartition(".")[2] for detail in refused.json()["details"]] == ["ErrorInfo", "RetryInfo"]
    assert refused.json()["details"][0]["reason"] == "RATE_LIMITED"


def test_another_token_of_the_same_caller_does_not_help_but_time_does(strict: GatewayUnderTest) -> None:
    def ask() -> int:
        return strict.client.get("/api/v1/models/m", headers=bearer(strict.keys.token("cleo", sid=str(next(sessions))))).status_code

    sessions = iter(range(10_000))
    wait_until(lambda: ask() == 429)

    wait_until(lambda: ask() == 200, timeout_s=5)


def test_other_rate_classes_have_buckets_of_their_own(strict: GatewayUnderTest) -> None:
    dan = bearer(strict.keys.token("dan"))
    wait_until(lambda: strict.client.get("/api/v1/models/m", headers=dan).status_code == 429)

    assert strict.client.post("/api/v1/models", headers=dan, json={"name": "m"}).status_code == 200


def test_logins_are_limited_by_address_whoever_they_claim_to_be(strict: GatewayUnderTest) -> None:
    answers = [strict.client.post("/api/v1/auth/login", json={"username": f"user{number}", "password": "guess"}) for number in range(8)]

    assert by_status(answers)[429] >= 4
    assert len(strict.components["users"].calls("/mlops.users.v1.UserService/Login")) <= 4


def test_a_grpc_caller_over_the_limit_gets_resource_exhausted(strict: GatewayUnderTest) -> None:
    token = list(bearer(strict.keys.token("eve")).items())
    codes = []
    with strict.channel() as channel:
        call = channel.unary_unary(GET_MODEL, pb.GetModelRequest.SerializeToString, model_pb2.Model.FromString)
        for _ in range(8):
            try:
                call(pb.GetModelRequest(name="m"), metadata=token)
                codes.append(grpc.StatusCode.OK)
            except grpc.RpcError as error:
                codes.append(error.code())

    assert codes[0] is grpc.StatusCode.OK
    assert codes[-1] is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_headers_that_do_not_come_end_the_connection(strict: GatewayUnderTest) -> None:
    with socket.create_connection(("127.0.0.1", strict.settings.port)) as slow:
        slow.settimeout(5)
        slow.sendall(b"GET /api/v1/health HTTP/1.1\r\nhost: x\r\n")
        answer = slow.recv(65536)

    assert b"408" in answer.split(b"\r\n")[0]
    assert b"REQUEST_TIMEOUT" in answer


def test_a_body_that_does_not_come_ends_the_request(strict: GatewayUnderTest) -> None:
    token = strict.keys.token("fay")
    with socket.create_connection(("127.0.0.1", strict.settings.port)) as slow:
        slow.settimeout(5)
        head = f"POST /api/v1/models HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n"
        slow.sendall(f"{head}content-length: 100\r\n\r\n{{".encode())
        answer = slow.recv(65536)

    assert answer.split(b"\r\n")[0].split()[1] in (b"408", b"504")
    assert b'"code":4' in answer
    assert strict.components["registry"].calls(CREATE_MODEL) == [] or strict.components["registry"].calls(CREATE_MODEL)[-1].request


def test_connections_over_the_limit_are_closed_and_the_others_live_on(strict: GatewayUnderTest) -> None:
    crowd = []
    try:
        crowd.extend(socket.create_connection(("127.0.0.1", strict.settings.port)) for _ in range(40))
        wait_until(lambda: strict.envoy.admin.stat(f"listener.127.0.0.1_{strict.settings.port}.downstream_global_cx_overflow") > 0)
    finally:
        for each in crowd:
            each.close()

    def works() -> bool:
        try:
            return httpx.post(f"{strict.url}/api/v1/models", headers=strict.auth, json={}, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    wait_until(works)


def test_calls_over_the_circuit_breaker_are_refused_at_once(has_lanes: bool) -> None:
    with short_folder() as folder:
        gateway = GatewayUnderTest(folder, has_lanes=has_lanes, max_upstream_requests=2)
        try:
            gateway.start()
            release = threading.Event()
            arrived = threading.Semaphore(0)

            def create(request: Any, context: Any) -> model_pb2.Model | None:
                arrived.release()
                return model_pb2.Model() if release.wait(20) else None

            gateway.answer("registry", CREATE_MODEL, create)
            answers: list[httpx.Response] = []

            def ask() -> None:
                answers.append(httpx.post(f"{gateway.url}/api/v1/models", headers=gateway.auth, json={}, timeout=20, trust_env=False))

            threads = [threading.Thread(target=ask) for _ in range(6)]
            # Requests wait for a connection that is being made, too: those that may be under way have to be before others come.
            for thread in threads[:2]:
                thread.start()
            assert all(arrived.acquire(timeout=20) for _ in range(2))
            for thread in threads[2:]:
                thread.start()
            # HTTP/1.1 has as many requests that wait for a connection besides.
            served = 4 if has_lanes else 2
            wait_until(lambda: len(answers) == 6 - served)
            release.set()
            for thread in threads:
                thread.join()

            assert by_status(answers) == {503: 6 - served, 200: served}
            assert answers[0].json()["details"][0]["reason"] == "COMPONENT_OVERLOADED"
            assert answers[0].headers["retry-after"] == "1"
        finally:
            gateway.stop()
