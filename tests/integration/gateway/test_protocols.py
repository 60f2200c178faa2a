"""One port: REST, gRPC and gRPC-Web, pages of other origins, and bodies that are streams."""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import pytest
from google.api import httpbody_pb2
from mlops.registry.v1 import model_pb2
from mlops.registry.v1 import registry_service_pb2 as pb
from mlops.registry.v1.registry_service_pb2_grpc import ModelRegistryServiceStub
from mlops.serving.v1 import serving_service_pb2

from tests.integration.gateway.mesh_in_memory import GET_MODEL, GatewayUnderTest

LIST_MODELS = "/mlops.registry.v1.ModelRegistryService/ListModels"
UPLOAD = "/mlops.registry.v1.ModelRegistryService/UploadArtifact"
DOWNLOAD = "/mlops.registry.v1.ModelRegistryService/DownloadArtifact"
PREDICT_JSON = "/mlops.serving.v1.ModelServingService/PredictJson"
ORIGIN = "https://console.example.org"
CHUNK = 1 << 20


def _echo_name(request: Any, context: grpc.ServicerContext) -> model_pb2.Model:
    return model_pb2.Model(name=request.name)


def _metadata(gateway: GatewayUnderTest) -> list[tuple[str, str]]:
    return list(gateway.auth.items())


def test_native_grpc_and_rest_reach_the_same_method(gateway: GatewayUnderTest) -> None:
    gateway.answer("registry", GET_MODEL, _echo_name)

    with gateway.channel() as channel:
        over_grpc = ModelRegistryServiceStub(channel).GetModel(pb.GetModelRequest(name="flights"), metadata=_metadata(gateway))
    over_rest = gateway.client.get("/api/v1/models/flights", headers=gateway.auth).json()

    assert over_grpc.name == over_rest["name"] == "flights"
    assert len(gateway.components["registry"].calls(GET_MODEL)) == 2


@pytest.mark.parametrize("is_text", [False, True], ids=["binary", "text"])
def test_grpc_web_calls_and_their_trailers(gateway: GatewayUnderTest, is_text: bool) -> None:
    gateway.answer("registry", GET_MODEL, _echo_name)
    message = pb.GetModelRequest(name="flights").SerializeToString()
    body = struct.pack(">BI", 0, len(message)) + message
    kind = "application/grpc-web-text" if is_text else "application/grpc-web+proto"

    response = gateway.client.post(
        GET_MODEL,
        headers={**gateway.auth, "content-type": kind, "accept": kind, "x-grpc-web": "1"},
        content=base64.b64encode(body) if is_text else body,
    )

    # Each part of a text answer is padded by itself.
    parts = re.findall(rb"[A-Za-z0-9+/]+=*", response.content)
    content = b"".join(base64.b64decode(part) for part in parts) if is_text else response.content
    flags, length = struct.unpack(">BI", content[:5])
    assert (response.status_code, flags) == (200, 0)
    assert model_pb2.Model.FromString(content[5 : 5 + length]).name == "flights"
    assert b"grpc-status:0" in content[5 + length :]


def test_grpc_web_refusals_carry_a_grpc_status(gateway: GatewayUnderTest) -> None:
    response = gateway.client.post(GET_MODEL, headers={"content-type": "application/grpc-web+proto"}, content=b"\0\0\0\0\0")

    assert response.headers["grpc-status"] == "16"
    assert "token" in response.headers["grpc-message"]


def test_a_preflight_of_an_allowed_origin_needs_no_token(gateway: GatewayUnderTest) -> None:
    asked = {"origin": ORIGIN, "access-control-request-method": "PATCH", "access-control-request-headers": "authorization"}

    response = gateway.client.options("/api/v1/models/m", headers=asked)

    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == ORIGIN
    assert "PATCH" in response.headers["access-control-allow-methods"]
    assert "authorization" in response.headers["access-control-allow-headers"]
    assert gateway.components["registry"].seen == []


def test_another_origin_is_not_allowed(gateway: GatewayUnderTest) -> None:
    asked = {"origin": "https://evil.example.org", "access-control-request-method": "GET"}

    preflight = gateway.client.options("/api/v1/models/m", headers=asked)
    simple = gateway.client.get("/api/v1/health", headers={"origin": "https://evil.example.org"})

    assert "access-control-allow-origin" not in preflight.headers
    assert "access-control-allow-origin" not in simple.headers


def test_a_page_may_read_ids_and_errors_also_of_refusals(gateway: GatewayUnderTest) -> None:
    response = gateway.client.get("/api/v1/models/m", headers={"origin": ORIGIN})

    assert response.status_code == 401
    assert response.headers["access-control-allow-origin"] == ORIGIN
    assert "x-request-id" in response.headers["access-control-expose-headers"]


def test_long_json_is_compressed_and_short_json_is_not(gateway: GatewayUnderTest) -> None:
    models = [model_pb2.Model(name=f"model-{number}") for number in range(200)]
    gateway.answer("registry", LIST_MODELS, lambda request, context: pb.ListModelsResponse(models=models))
    gateway.answer("registry", GET_MODEL, _echo_name)
    asked = {**gateway.auth, "accept-encoding": "gzip"}

    with gateway.client.stream("GET", "/api/v1/models", headers=asked) as response:
        raw = b"".join(response.iter_raw())
    short = gateway.client.get("/api/v1/models/m", headers=asked)

    assert response.headers["content-encoding"] == "gzip"
    assert b"model-199" in gzip.decompress(raw)
    assert "content-encoding" not in short.headers


def test_a_unary_answer_may_be_larger_than_the_buffer_of_a_connection(gateway: GatewayUnderTest) -> None:
    gateway.answer("registry", GET_MODEL, lambda request, context: model_pb2.Model(description="x" * 1_800_000))

    response = gateway.client.get("/api/v1/models/m", headers={**gateway.auth, "accept-encoding": "identity"})

    assert len(response.json()["description"]) == 1_800_000


def test_a_predict_body_passes_as_it_is_and_its_answer_too(gateway: GatewayUnderTest) -> None:
    bodies: list[httpbody_pb2.HttpBody] = []

    def answer(request: serving_service_pb2.PredictJsonRequest, context: grpc.ServicerContext) -> httpbody_pb2.HttpBody:
        bodies.append(request.body)
        return httpbody_pb2.HttpBody(content_type="application/json", data=b'{"predictions": [NaN]}')

    gateway.answer("serving", PREDICT_JSON, answer)
    sent = b'{"instances":[[1.0, 2],  [3e5,-0.0]]}'
    headers = {**gateway.auth, "content-type": "application/json"}

    response = gateway.client.post("/api/v1/models/flights/predict?alias=champion", headers=headers, content=sent)

    assert response.content == b'{"predictions": [NaN]}'
    assert response.headers["content-type"] == "application/json"
    assert (bodies[0].data, bodies[0].content_type) == (sent, "application/json")
    (call,) = gateway.components["serving"].calls(PREDICT_JSON)
    assert (call.request.model, call.request.alias) == ("flights", "champion")


def test_an_upload_is_streamed_through_with_its_path_and_query(gateway: GatewayUnderTest) -> None:
    size = 24 * CHUNK  # far above the limit of a body that is not a stream
    digest, messages = hashlib.sha256(), []

    def answer(requests: Iterator[Any], context: grpc.ServicerContext) -> model_pb2.ModelFile:
        for request in requests:
            digest.update(request.body.data)
            messages.append((len(request.body.data), request.model, request.path))
        return model_pb2.ModelFile(size_bytes=sum(length for length, _, _ in messages))

    gateway.answer("registry", UPLOAD, answer)
    block = bytes(range(256)) * (CHUNK // 256)

    response = gateway.client.put(
        "/api/v1/models/m/versions/3/artifact?path=weights.bin",
        headers={**gateway.auth, "content-type": "application/octet-stream"},
        content=(block for _ in range(size // CHUNK)),
    )

    assert response.status_code == 200, response.text
    assert response.json()["size_bytes"] == str(size)
    assert digest.digest() == hashlib.sha256(block * (size // CHUNK)).digest()
    assert max(length for length, _, _ in messages) <= 2 * CHUNK
    assert messages[0][1:] == ("m", "weights.bin")


def test_a_download_is_streamed_through_with_its_type(gateway: GatewayUnderTest) -> None:
    block = bytes(range(256)) * (CHUNK // 256)

    def answer(request: Any, context: grpc.ServicerContext) -> Iterator[httpbody_pb2.HttpBody]:
        for number in range(24):
            yield httpbody_pb2.HttpBody(content_type="application/octet-stream" if number == 0 else "", data=block)

    gateway.answer("registry", DOWNLOAD, answer)
    digest = hashlib.sha256()
    headers = {**gateway.auth, "accept-encoding": "gzip"}

    with gateway.client.stream("GET", "/api/v1/models/m/versions/3/artifact", headers=headers) as response:
        for part in response.iter_raw():
            digest.update(part)

    assert response.headers["content-type"] == "application/octet-stream"
    assert "content-encoding" not in response.headers
    assert digest.digest() == hashlib.sha256(block * 24).digest()


def test_the_first_part_of_a_download_arrives_before_the_last_was_made(gateway: GatewayUnderTest) -> None:
    first_has_arrived = threading.Event()

    def answer(request: Any, context: grpc.ServicerContext) -> Iterator[httpbody_pb2.HttpBody]:
        yield httpbody_pb2.HttpBody(content_type="application/octet-stream", data=b"first")
        assert first_has_arrived.wait(10)
        yield httpbody_pb2.HttpBody(data=b"last")

    gateway.answer("registry", DOWNLOAD, answer)

    with gateway.client.stream("GET", "/api/v1/models/m/versions/3/artifact", headers=gateway.auth) as response:
        parts = response.iter_raw()
        assert next(parts) == b"first"
        first_has_arrived.set()
        assert b"".join(parts) == b"last"


def test_a_slow_reader_slows_the_server_down_instead_of_filling_the_gateway(gateway: GatewayUnderTest) -> None:
    block, total = bytes(CHUNK), 256
    sent = []

    def answer(request: Any, context: grpc.ServicerContext) -> Iterator[httpbody_pb2.HttpBody]:
        for number in range(total):
            sent.append(number)
            yield httpbody_pb2.HttpBody(content_type="application/octet-stream", data=block)

    gateway.answer("registry", DOWNLOAD, answer)
    before = gateway.envoy.rss_mib()

    with gateway.client.stream("GET", "/api/v1/models/m/versions/3/artifact", headers=gateway.auth) as response:
        parts = response.iter_raw(64 * 1024)
        next(parts)
        stalled = _settled(lambda: len(sent))
        grown = gateway.envoy.rss_mib() - before
        received = 64 * 1024 + sum(len(part) for part in parts)

    assert stalled < total / 4, "the server was not slowed down"
    assert grown < 64
    assert received == total * CHUNK


def _settled(value: Any) -> Any:
    """A number once it has stood still for a fifth of a second."""
    pause, last = threading.Event(), None
    while last != (last := value()):
        pause.wait(0.2)
    return last


def test_http_1_0_and_rubbish_do_not_disturb_others(gateway: GatewayUnderTest) -> None:
    with socket.create_connection(("127.0.0.1", gateway.settings.port)) as raw:
        raw.sendall(b"\x16\x03\x01 rubbish \r\n\r\n")
        assert raw.recv(65536)[:12] in (b"HTTP/1.1 400", b"")

    assert httpx.get(f"{gateway.url}/api/v1/health", trust_env=False).status_code == 200
