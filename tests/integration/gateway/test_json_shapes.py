"""What REST callers see, byte for byte: this is a contract, and clients are written against it."""

from __future__ import annotations

import json
import threading
from typing import Any, NoReturn

import grpc
import httpx
import pytest
from google.protobuf import json_format, timestamp_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status
from mlops.common.v1 import component_service_pb2
from mlops.registry.v1 import model_pb2
from mlops.registry.v1 import registry_service_pb2 as pb
from mlops.system.v1 import system_service_pb2

from gateway.typed import any_of
from tests.integration.gateway.mesh_in_memory import CREATE_MODEL, GET_MODEL, GatewayUnderTest, short_folder
from tests.integration.runtime.waiting import eventually

GET_HEALTH = "/mlops.system.v1.SystemMonitorService/GetHealth"


def _fail(*details: Any, code: int, message: str) -> Any:
    def answer(request: Any, context: grpc.ServicerContext) -> NoReturn:
        status = status_pb2.Status(code=code, message=message, details=[any_of(detail) for detail in details])
        context.abort_with_status(rpc_status.to_status(status))

    return answer


def test_a_resource_has_every_plain_field_in_snake_case_and_64_bit_integers_as_strings(gateway: GatewayUnderTest) -> None:
    gateway.answer(
        "system",
        GET_HEALTH,
        lambda request, context: system_service_pb2.GetHealthResponse(
            state=component_service_pb2.HEALTH_STATE_HEALTHY,
            version="0.1.0",
            check_time=timestamp_pb2.Timestamp(seconds=1_767_225_600, nanos=5_000_000),
        ),
    )
    gateway.answer("registry", GET_MODEL, lambda request, context: model_pb2.Model(name="m"))

    health = gateway.client.get("/api/v1/health")
    model = gateway.client.get("/api/v1/models/m", headers=gateway.auth)

    assert health.json() == {
        "state": "HEALTH_STATE_HEALTHY",
        "version": "0.1.0",
        "check_time": "2026-01-01T00:00:00.005Z",
        "components": [],
    }
    expected = json_format.MessageToDict(
        model_pb2.Model(name="m"), preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    assert model.json() == expected


def test_an_error_of_a_server_keeps_its_details(gateway: GatewayUnderTest) -> None:
    gateway.answer(
        "registry",
        CREATE_MODEL,
        _fail(
            error_details_pb2.ErrorInfo(reason="INVALID_ARGUMENT", domain="mlmesh", metadata={"field": "model.name"}),
            error_details_pb2.BadRequest(
                field_violations=[error_details_pb2.BadRequest.FieldViolation(field="model.name", description="too long")]
            ),
            code=code_pb2.INVALID_ARGUMENT,
            message="The name is too long.",
        ),
    )

    response = gateway.client.post("/api/v1/models", headers=gateway.auth, json={"name": "m"})

    assert response.status_code == 400
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    violation = body["details"][1]["field_violations"][0]
    assert (violation["field"], violation["description"]) == ("model.name", "too long")
    assert {key: body[key] for key in ("code", "message")} == {"code": 3, "message": "The name is too long."}
    assert body["details"][0] == {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "INVALID_ARGUMENT",
        "domain": "mlmesh",
        "metadata": {"field": "model.name"},
    }


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (code_pb2.NOT_FOUND, 404),
        (code_pb2.ALREADY_EXISTS, 409),
        (code_pb2.ABORTED, 409),
        (code_pb2.FAILED_PRECONDITION, 400),
        (code_pb2.PERMISSION_DENIED, 403),
        (code_pb2.UNAUTHENTICATED, 401),
        (code_pb2.RESOURCE_EXHAUSTED, 429),
        (code_pb2.INTERNAL, 500),
        (code_pb2.UNAVAILABLE, 503),
        (code_pb2.DEADLINE_EXCEEDED, 504),
        (code_pb2.UNIMPLEMENTED, 501),
    ],
)
def test_codes_of_servers_become_http_statuses(gateway: GatewayUnderTest, code: int, status: int) -> None:
    info = error_details_pb2.ErrorInfo(reason="WHY", domain="mlmesh")
    gateway.answer("registry", CREATE_MODEL, _fail(info, code=code, message="because"))

    response = gateway.client.post("/api/v1/models", headers=gateway.auth, json={"name": "m"})

    assert response.status_code == status
    assert response.json()["code"] == code
    assert response.json()["message"] == "because"


def test_an_error_of_the_gateway_and_one_of_a_server_have_the_same_keys(gateway: GatewayUnderTest) -> None:
    info = error_details_pb2.ErrorInfo(reason="TOKEN_MISSING", domain="mlmesh")
    gateway.answer("registry", CREATE_MODEL, _fail(info, code=code_pb2.UNAUTHENTICATED, message="no"))

    of_server = gateway.client.post("/api/v1/models", headers=gateway.auth, json={"name": "m"}).json()
    of_gateway = gateway.client.post("/api/v1/models", json={"name": "m"}).json()

    assert {**of_gateway, "message": "no"} == of_server


def _small_body(gateway: GatewayUnderTest) -> httpx.Response:
    return gateway.client.post("/api/v1/models", headers=gateway.auth, json={"description": "x" * (3 << 20)})


LOCAL_REPLIES = {
    "unknown path": (lambda g: g.client.get("/api/v1/nothing", headers=g.auth), 404, 5, "ROUTE_NOT_FOUND"),
    "unknown path outside of the API": (lambda g: g.client.get("/robots.txt"), 404, 5, "ROUTE_NOT_FOUND"),
    "wrong HTTP method": (lambda g: g.client.delete("/api/v1/health"), 404, 5, "ROUTE_NOT_FOUND"),
    "unknown query parameter": (lambda g: g.client.get("/api/v1/models?nope=1", headers=g.auth), 400, 3, "MALFORMED_REQUEST"),
    "wrong type in the query": (lambda g: g.client.get("/api/v1/models?page_size=x", headers=g.auth), 400, 3, "MALFORMED_REQUEST"),
    "broken JSON": (lambda g: g.client.post("/api/v1/models", headers=g.auth, content="{"), 400, 3, "MALFORMED_REQUEST"),
    "wrong type in the body": (
        lambda g: g.client.post("/api/v1/models", headers=g.auth, content='{"name": {}}'),
        400,
        3,
        "MALFORMED_REQUEST",
    ),
    "body too large": (_small_body, 413, 8, "REQUEST_TOO_LARGE"),
    "headers too large": (lambda g: g.client.get("/api/v1/health", headers={"x-big": "x" * 40_000}), 431, 8, "HEADERS_TOO_LARGE"),
    "JSON to a gRPC path": (
        lambda g: g.client.post("/mlops.users.v1.UserService/GetMe", json={}),
        404,
        5,
        "ROUTE_NOT_FOUND",
    ),
}


@pytest.mark.parametrize(("ask", "status", "code", "reason"), LOCAL_REPLIES.values(), ids=LOCAL_REPLIES)
def test_answers_of_the_gateway_itself_have_the_same_shape(
    gateway: GatewayUnderTest, ask: Any, status: int, code: int, reason: str
) -> None:
    response = ask(gateway)

    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert "x-request-id" in response.headers or status == 431  # refused before it was a request
    body = response.json()
    assert set(body) == {"code", "message", "details"}
    assert body["code"] == code
    assert body["details"] == [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "mlmesh", "metadata": {}}]
    assert body["message"]
    assert gateway.components["registry"].seen == []


def test_a_component_that_is_away_is_503_with_a_time_to_come_back(has_lanes: bool) -> None:
    with short_folder() as folder:
        gateway = GatewayUnderTest(folder, has_lanes=has_lanes, retries=0)
        try:
            gateway.start()
            gateway.components["registry"].stop()

            response = gateway.client.get("/api/v1/models/m", headers=gateway.auth)

            assert response.status_code == 503
            assert response.headers["retry-after"] == "1"
            assert response.json()["code"] == 14
            assert response.json()["details"] == [
                {
                    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                    "reason": "COMPONENT_UNAVAILABLE",
                    "domain": "mlmesh",
                    "metadata": {},
                },
                {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retry_delay": "1s"},
            ]
        finally:
            gateway.stop()


def test_a_component_that_hangs_is_504_and_deadline_exceeded(has_lanes: bool) -> None:
    with short_folder() as folder:
        gateway = GatewayUnderTest(folder, has_lanes=has_lanes, time_limits={"READ": {"answer_s": 0.3, "idle_s": 5}})
        try:
            gateway.start()
            gateway.answer("registry", GET_MODEL, lambda request, context: _wait_for_the_caller_to_leave(context))

            def is_told_by_the_gateway() -> bool:
                response = gateway.client.get("/api/v1/models/m", headers=gateway.auth)
                assert response.status_code == 504
                assert response.json()["code"] == 4
                # The component is told the same time limit. Where its clock strikes first, its own answer comes, which has no details.
                return [detail["reason"] for detail in response.json()["details"]] == ["COMPONENT_TIMEOUT"]

            eventually(is_told_by_the_gateway)
            with gateway.channel() as channel, pytest.raises(grpc.RpcError) as refused:
                channel.unary_unary(GET_MODEL, pb.GetModelRequest.SerializeToString)(
                    pb.GetModelRequest(name="m"), metadata=list(gateway.auth.items())
                )
            assert refused.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        finally:
            gateway.stop()


def test_a_component_that_is_not_deployed_is_501(has_lanes: bool) -> None:
    with short_folder() as folder:
        gateway = GatewayUnderTest(folder, has_lanes=has_lanes)
        try:
            gateway.start()
            without = type(gateway.mesh)({name: up for name, up in gateway.mesh.upstreams.items() if name != "serving"})
            gateway.publish(without)

            response = gateway.client.get("/api/v1/serving/models", headers=gateway.auth)

            assert response.status_code == 501
            assert response.json()["code"] == 12
            assert response.json()["details"][0]["reason"] == "COMPONENT_NOT_DEPLOYED"
            assert gateway.client.get("/api/v1/models/m", headers=gateway.auth).status_code == 200
        finally:
            gateway.stop()


def test_a_list_with_unicode_and_a_duration_survives_the_way_there_and_back(gateway: GatewayUnderTest) -> None:
    seen: list[Any] = []

    def answer(request: Any, context: grpc.ServicerContext) -> model_pb2.Model:
        seen.append(request)
        return model_pb2.Model(name=request.model.name, description=request.model.description, tags=request.model.tags)

    gateway.answer("registry", CREATE_MODEL, answer)
    sent = {"name": "m", "description": "Verspätung 遅延 \u0000?", "tags": {"ü": "ß"}}

    received = gateway.client.post("/api/v1/models", headers=gateway.auth, content=json.dumps(sent)).json()

    assert received["description"] == sent["description"]
    assert received["tags"] == sent["tags"]
    assert seen[0].model.name == "m"


def test_an_unknown_field_in_a_json_body_is_dropped_which_clients_must_know(gateway: GatewayUnderTest) -> None:
    assert gateway.client.post("/api/v1/models", headers=gateway.auth, json={"name": "m", "nmae": "typo"}).status_code == 200


def _wait_for_the_caller_to_leave(context: grpc.ServicerContext) -> model_pb2.Model:
    left = threading.Event()
    context.add_callback(left.set)
    left.wait(10)
    return model_pb2.Model()
