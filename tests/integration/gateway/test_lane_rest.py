"""REST of bytes past the transcoder: what the gateway does for every call it does for these too, in the same shapes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import pytest
from google.api import httpbody_pb2
from mlops.registry.v1 import model_pb2

from servers.runtime.admission import REFUSED
from tests.integration.gateway.mesh_in_memory import GatewayUnderTest, bearer, by_status, short_folder, wait_until

PREDICT = "/mlops.serving.v1.ModelServingService/PredictJson"
UPLOAD = "/mlops.registry.v1.ModelRegistryService/UploadArtifact"
DOWNLOAD = "/mlops.registry.v1.ModelRegistryService/DownloadArtifact"
PREDICT_URL = "/api/v1/models/m/predict"
ARTIFACT_URL = "/api/v1/models/m/versions/3/artifact"
ORIGIN = "https://console.example.org"
RAW = [("POST", PREDICT_URL), ("PUT", f"{ARTIFACT_URL}?path=x"), ("GET", ARTIFACT_URL)]


@pytest.fixture(autouse=True)
def answers(gateway: GatewayUnderTest) -> None:
    gateway.answer("serving", PREDICT, lambda request, context: httpbody_pb2.HttpBody(content_type="application/json", data=b"[1]"))
    gateway.answer("registry", UPLOAD, _size_of)
    gateway.answer("registry", DOWNLOAD, lambda request, context: iter([httpbody_pb2.HttpBody(content_type="text/x", data=b"bytes")]))


def _size_of(requests: Iterator[Any], context: grpc.ServicerContext) -> model_pb2.ModelFile:
    return model_pb2.ModelFile(size_bytes=sum(len(request.body.data) for request in requests))


def _reason(response: httpx.Response) -> str:
    return str(next(detail["reason"] for detail in response.json()["details"] if "reason" in detail))


@pytest.mark.parametrize(("verb", "url"), RAW)
def test_a_call_without_a_token_or_with_a_bad_one_is_401_and_reaches_nobody(gateway: GatewayUnderTest, verb: str, url: str) -> None:
    none = gateway.client.request(verb, url)
    bad = gateway.client.request(verb, url, headers=bearer("a.b.c"))

    assert [(answer.status_code, answer.json()["code"]) for answer in (none, bad)] == [(401, 16)] * 2
    assert gateway.components["registry"].seen == gateway.components["serving"].seen == []


NOWHERE = [("GET", PREDICT_URL), ("DELETE", ARTIFACT_URL), ("POST", f"{PREDICT_URL}/more"), ("PUT", "/api/v1/x")]


@pytest.mark.parametrize(("verb", "url"), NOWHERE)
def test_another_verb_or_path_is_404(gateway: GatewayUnderTest, verb: str, url: str) -> None:
    response = gateway.client.request(verb, url, headers=gateway.auth)

    assert (response.status_code, response.json()["code"]) == (404, 5)


@pytest.mark.parametrize(("verb", "url"), [(verb, f"{url}{'&' if '?' in url else '?'}nonsense=1") for verb, url in RAW])
def test_an_unknown_query_parameter_is_400_and_names_it(gateway: GatewayUnderTest, verb: str, url: str) -> None:
    response = gateway.client.request(verb, url, headers=gateway.auth, content=b"{}" if verb == "POST" else None)

    assert (response.status_code, response.json()["code"], _reason(response)) == (400, 3, "MALFORMED_REQUEST")
    assert "nonsense" in response.text


def test_a_body_above_the_limit_is_413_and_one_of_a_stream_is_not(gateway: GatewayUnderTest) -> None:
    too_large = gateway.client.post(PREDICT_URL, headers=gateway.auth, content=bytes(3 << 20))
    streamed = gateway.client.put(f"{ARTIFACT_URL}?path=x", headers=gateway.auth, content=bytes(8 << 20))

    assert (too_large.status_code, too_large.json()["code"]) == (413, 8)
    assert streamed.json()["size_bytes"] == str(8 << 20)
    assert gateway.components["serving"].seen == []


def test_a_page_of_an_allowed_origin_may_read_and_another_may_not(gateway: GatewayUnderTest) -> None:
    asked = {"access-control-request-method": "PUT", "access-control-request-headers": "authorization"}
    preflight = gateway.client.options(ARTIFACT_URL, headers={"origin": ORIGIN, **asked})
    allowed = gateway.client.get(ARTIFACT_URL, headers={**gateway.auth, "origin": ORIGIN})
    refused = gateway.client.get(ARTIFACT_URL, headers={**gateway.auth, "origin": "https://evil.example.org"})

    assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (200, ORIGIN)
    assert allowed.headers["access-control-allow-origin"] == ORIGIN
    assert "access-control-allow-origin" not in refused.headers


def test_the_access_log_and_the_trace_know_the_call(gateway: GatewayUnderTest) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    headers = {**gateway.auth, "traceparent": trace, "x-request-id": "raw-call-1"}

    response = gateway.client.post("/api/v1/models/logged/predict", headers=headers, content=b"{}")
    wait_until(lambda: any("/logged/predict" in str(line) for line in gateway.access_log()))

    (call,) = gateway.components["serving"].calls(PREDICT)
    line = next(line for line in reversed(gateway.access_log()) if "/logged/predict" in str(line))
    assert {key: line[key] for key in ("method", "status", "subject", "rate_class", "trace_id", "request_id")} == {
        "method": "POST",
        "status": 200,
        "subject": "ada",
        "rate_class": "PREDICT",
        "trace_id": trace.split("-")[1],
        "request_id": response.headers["x-request-id"],
    }
    assert response.status_code == 200
    assert call.metadata["traceparent"].split("-")[1] == trace.split("-")[1]
    assert response.headers["x-request-id"] == call.metadata["x-request-id"]


def test_an_api_key_header_never_reaches_a_component(gateway: GatewayUnderTest) -> None:
    gateway.client.post(PREDICT_URL, headers={**gateway.auth, "x-mlmesh-subject": "root"}, content=b"{}")

    (call,) = gateway.components["serving"].calls(PREDICT)
    assert "x-api-key" not in call.metadata
    assert call.metadata.get("x-mlmesh-subject") in (None, "ada")


def test_what_a_stopping_server_refused_is_repeated(gateway: GatewayUnderTest) -> None:
    attempts: list[int] = []

    def refused_at_first(request: Any, context: grpc.ServicerContext) -> httpbody_pb2.HttpBody:
        attempts.append(1)
        if len(attempts) < 2:
            context.set_trailing_metadata(((REFUSED, "1"),))
            context.abort(grpc.StatusCode.UNAVAILABLE, "stopping")
        return httpbody_pb2.HttpBody(data=b"second")

    gateway.answer("serving", PREDICT, refused_at_first)

    response = gateway.client.post(PREDICT_URL, headers=gateway.auth, content=b"{}")

    assert (response.status_code, response.content, len(attempts)) == (200, b"second", 2)


def test_an_upload_that_failed_is_not_repeated(gateway: GatewayUnderTest) -> None:
    def fail(requests: Iterator[Any], context: grpc.ServicerContext) -> model_pb2.ModelFile:
        for _ in requests:
            context.abort(grpc.StatusCode.UNAVAILABLE, "no")
        return model_pb2.ModelFile()

    gateway.answer("registry", UPLOAD, fail)

    response = gateway.client.put(f"{ARTIFACT_URL}?path=x", headers=gateway.auth, content=b"bytes")

    assert (response.status_code, response.json()["code"]) == (503, 14)
    assert len(gateway.components["registry"].calls(UPLOAD)) == 1


@pytest.mark.parametrize("size", [1, 64 << 20], ids=["small", "large"])
def test_an_error_before_the_body_has_come_reaches_the_caller(gateway: GatewayUnderTest, size: int) -> None:
    def refuse(requests: Iterator[Any], context: grpc.ServicerContext) -> model_pb2.ModelFile:
        next(requests)
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not now")

    gateway.answer("registry", UPLOAD, refuse)
    piece = bytes(min(size, 1 << 20))

    # The library stops sending where it can, and a socket that is closed in the middle of sending is an answer that was lost.
    with httpx.Client(base_url=gateway.url, timeout=20, trust_env=False) as client:
        response = client.put(f"{ARTIFACT_URL}?path=x", headers=gateway.auth, content=(piece for _ in range(size // len(piece))))

    assert (response.status_code, response.json()["code"], response.json()["message"]) == (400, 9, "not now")


def test_a_download_that_fails_half_way_is_not_taken_for_a_whole_one(gateway: GatewayUnderTest) -> None:
    if not gateway.has_lanes:
        pytest.skip("the transcoder ends it as if it were whole")

    def fail(request: Any, context: grpc.ServicerContext) -> Iterator[httpbody_pb2.HttpBody]:
        yield httpbody_pb2.HttpBody(data=b"first")
        context.abort(grpc.StatusCode.DATA_LOSS, "gone")

    gateway.answer("registry", DOWNLOAD, fail)

    with pytest.raises(httpx.RemoteProtocolError):
        gateway.client.get(ARTIFACT_URL, headers=gateway.auth)


def test_limits_count_calls_of_bytes(has_lanes: bool) -> None:
    with short_folder() as folder:
        gateway = GatewayUnderTest(folder, has_lanes=has_lanes, rate_limits={"PREDICT": {"per_second": 1, "burst": 3}})
        try:
            gateway.start()
            answers = [gateway.client.post(PREDICT_URL, headers=gateway.auth, content=b"{}") for _ in range(8)]
        finally:
            gateway.stop()

    assert by_status(answers)[429] >= 4
    assert (answers[-1].json()["code"], _reason(answers[-1])) == (8, "RATE_LIMITED")
    assert answers[-1].headers["retry-after"] == "1"


def test_a_slow_servicer_of_an_upload_holds_the_client_back(gateway: GatewayUnderTest) -> None:
    release, sent, total = threading.Event(), [0], 200
    piece = bytes(1 << 20)

    def slow(requests: Iterator[Any], context: grpc.ServicerContext) -> model_pb2.ModelFile:
        size = len(next(requests).body.data)
        release.wait(30)
        return model_pb2.ModelFile(size_bytes=size + sum(len(request.body.data) for request in requests))

    def pieces() -> Iterator[bytes]:
        for number in range(total):
            sent[0] = number
            yield piece

    gateway.answer("registry", UPLOAD, slow)
    before = gateway.envoy.rss_mib()
    answers: list[httpx.Response] = []
    caller = threading.Thread(
        target=lambda: answers.append(gateway.client.put(f"{ARTIFACT_URL}?path=x", headers=gateway.auth, content=pieces()))
    )
    caller.start()
    wait_until(lambda: sent[0] > 0)
    stalled = _settled(lambda: sent[0])
    grown = gateway.envoy.rss_mib() - before
    release.set()
    caller.join(60)

    assert stalled < total / 4, "the client was not held back"
    assert grown < 64
    assert answers[0].json()["size_bytes"] == str(total << 20)


def _settled(value: Any) -> Any:
    """A number once it has stood still for a fifth of a second."""
    pause, last = threading.Event(), None
    while last != (last := value()):
        pause.wait(0.2)
    return last
