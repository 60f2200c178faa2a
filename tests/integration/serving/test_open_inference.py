"""The Open Inference Protocol through the runtime: permissions, projects, audit, streams, and REST on the lane."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from onnx import TensorProto

from servers.serving.open_inference import contract
from tests.integration.serving.conftest import ServingMesh
from tests.small_mesh import onnx_models

X = np.arange(8, dtype="<f4").reshape(2, 4)
MODEL = onnx_models.linear()
ANSWER = onnx_models.run(MODEL, {"x": X})[0]
EVERYTHING = {"*": ["*"]}


@dataclass
class Served:
    """A serving server that speaks the protocol both ways."""

    mesh: ServingMesh
    channel: grpc.Channel
    rest: httpx.Client

    def call(self, method: str, request: Any, grants: dict[str, list[str]] | None = None, **headers: str) -> Any:
        answer_class = getattr(contract, type(request).__name__.replace("Request", "Response"))
        call = self.channel.unary_unary(
            f"/inference.GRPCInferenceService/{method}", type(request).SerializeToString, answer_class.FromString
        )
        return call(request, metadata=[*self.mesh.issuer.bearer(EVERYTHING if grants is None else grants), *headers.items()], timeout=30)

    def headers(self, grants: dict[str, list[str]] | None = None) -> dict[str, str]:
        return dict(self.mesh.issuer.bearer(EVERYTHING if grants is None else grants))


@pytest.fixture
def served(mesh: ServingMesh) -> Iterator[Served]:
    mesh.registry.save_onnx("linear", MODEL)
    mesh.registry.save_onnx("elsewhere", MODEL, project="fares")
    mesh.serve(lane=f"unix:{mesh.folder}/lane.sock")
    with (
        grpc.insecure_channel(mesh.servers[-1].address) as channel,
        httpx.Client(transport=httpx.HTTPTransport(uds=f"{mesh.folder}/lane.sock"), base_url="http://lane", timeout=30) as rest,
    ):
        yield Served(mesh, channel, rest)


def infer_request(model: str = "linear", **options: Any) -> Any:
    request = contract.ModelInferRequest(model_name=model, raw_input_contents=[X.tobytes()], **options)
    request.inputs.add(name="x", datatype="FP32", shape=X.shape)
    return request


def infer_json(**options: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "x", "datatype": "FP32", "shape": [2, 4], "data": X.reshape(-1).tolist()}], **options}


def code_of(call: Any) -> grpc.StatusCode:
    with pytest.raises(grpc.RpcError) as refused:
        call()
    code: grpc.StatusCode = refused.value.code()
    return code


def test_a_prediction_over_grpc_has_the_bits_of_onnx_runtime(served: Served) -> None:
    answer = served.call("ModelInfer", infer_request(id="7"))

    assert (answer.model_name, answer.model_version, answer.id) == ("linear", "1", "7")
    assert answer.raw_output_contents == [ANSWER.tobytes()]


def test_a_prediction_over_rest_has_the_bits_of_onnx_runtime(served: Served) -> None:
    answer = served.rest.post("/v2/models/linear/infer", json=infer_json(), headers=served.headers())

    assert answer.status_code == 200
    (output,) = answer.json()["outputs"]
    assert np.array(output["data"], dtype="<f4").tobytes() == ANSWER.tobytes()


def test_binary_tensors_come_behind_the_json_that_the_header_measures(served: Served) -> None:
    head = json.dumps(
        {
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [2, 4], "parameters": {"binary_data_size": 32}}],
            "parameters": {"binary_data_output": True},
        }
    ).encode()

    answer = served.rest.post(
        "/v2/models/linear/versions/1/infer",
        content=head + X.tobytes(),
        headers={**served.headers(), "inference-header-content-length": str(len(head))},
    )

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.content[int(answer.headers["inference-header-content-length"]) :] == ANSWER.tobytes()


def test_errors_over_rest_have_the_shape_that_clients_of_the_protocol_read(served: Served) -> None:
    answer = served.rest.post("/v2/models/unknown/infer", json=infer_json(), headers=served.headers())

    assert answer.status_code == 404
    body = answer.json()
    assert body["error"] == body["message"]
    assert body["details"][0]["reason"] == "MODEL_NOT_FOUND"


def test_to_predict_is_not_to_read_and_not_to_manage(served: Served) -> None:
    predict = {"default": ["serving.models.predict"]}
    denied = grpc.StatusCode.PERMISSION_DENIED

    served.call("ModelInfer", infer_request(), predict)

    assert code_of(lambda: served.call("ModelMetadata", contract.ModelMetadataRequest(name="linear"), predict)) is denied
    assert code_of(lambda: served.call("RepositoryModelLoad", contract.RepositoryModelLoadRequest(model_name="linear"), predict)) is denied
    assert served.rest.get("/v2/models/linear", headers=served.headers(predict)).status_code == 403


@pytest.mark.parametrize("way", ["header", "parameter"])
def test_another_project_takes_its_permission_over_grpc(served: Served, way: str) -> None:
    request = infer_request("elsewhere")
    headers = {"x-mlmesh-project": "fares"} if way == "header" else {}
    if way == "parameter":
        request.parameters["mlmesh_project"].string_param = "fares"

    served.call("ModelInfer", request, {"default": ["*"], "fares": ["serving.models.predict"]}, **headers)

    assert code_of(lambda: served.call("ModelInfer", request, {"default": ["*"]}, **headers)) is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize("way", ["header", "parameter", "query"])
def test_another_project_takes_its_permission_over_rest(served: Served, way: str) -> None:
    body = infer_json(parameters={"mlmesh_project": "fares"} if way == "parameter" else {})
    headers = {"x-mlmesh-project": "fares"} if way == "header" else {}
    query = {"project": "fares"} if way == "query" else {}

    def status(grants: dict[str, list[str]]) -> int:
        sent = served.rest.post("/v2/models/elsewhere/infer", json=body, params=query, headers={**served.headers(grants), **headers})
        return sent.status_code

    assert status({"default": ["*"], "fares": ["serving.models.predict"]}) == 200
    assert status({"default": ["*"]}) == 403


def test_health_needs_no_token(served: Served) -> None:
    assert served.rest.get("/v2/health/live").status_code == 200
    assert served.rest.get("/v2/health/ready").status_code == 200
    assert served.rest.get("/v2").status_code == 401


def test_a_model_is_ready_from_its_load_to_its_unload(served: Served) -> None:
    def ready() -> int:
        return served.rest.get("/v2/models/linear/ready", headers=served.headers()).status_code

    before = ready()
    loaded = served.rest.post("/v2/repository/models/linear/load", headers=served.headers())
    between = ready()
    unloaded = served.rest.post("/v2/repository/models/linear/unload", content=b"", headers=served.headers())

    assert (before, loaded.status_code, between, unloaded.status_code, ready()) == (400, 200, 200, 200, 400)


def test_statistics_stand_before_a_model_of_that_name(served: Served) -> None:
    served.call("ModelInfer", infer_request())

    (model,) = served.rest.get("/v2/models/stats", headers=served.headers()).json()["model_stats"]

    assert (model["name"], model["inference_count"], model["execution_count"]) == ("linear", 2, 1)


def test_a_stream_answers_each_request_by_itself_in_order(served: Served) -> None:
    stream = served.channel.stream_stream(
        "/inference.GRPCInferenceService/ModelStreamInfer",
        contract.ModelInferRequest.SerializeToString,
        contract.ModelStreamInferResponse.FromString,
    )
    requests = [infer_request(id="a"), infer_request("unknown", id="b"), infer_request(id="c")]

    first, failed, last = stream(iter(requests), metadata=served.mesh.issuer.bearer(), timeout=30)

    assert [answer.infer_response.id for answer in (first, failed, last)] == ["a", "b", "c"]
    assert first.infer_response.raw_output_contents == last.infer_response.raw_output_contents == [ANSWER.tobytes()]
    assert "unknown" in failed.error_message
    assert not failed.infer_response.outputs


def test_a_stream_takes_the_permission_too(served: Served) -> None:
    stream = served.channel.stream_stream(
        "/inference.GRPCInferenceService/ModelStreamInfer",
        contract.ModelInferRequest.SerializeToString,
        contract.ModelStreamInferResponse.FromString,
    )

    answers = stream(iter([infer_request()]), metadata=served.mesh.issuer.bearer({"default": ["serving.models.read"]}), timeout=30)

    assert code_of(lambda: next(answers)) is grpc.StatusCode.PERMISSION_DENIED


def test_strings_that_are_no_utf_8_are_the_callers_mistake(served: Served) -> None:
    served.mesh.registry.save_onnx("text", onnx_models.identity(TensorProto.STRING))
    request = contract.ModelInferRequest(model_name="text", raw_input_contents=[b"\1\0\0\0\xff"])
    request.inputs.add(name="x", datatype="BYTES", shape=[1])

    assert code_of(lambda: served.call("ModelInfer", request)) is grpc.StatusCode.INVALID_ARGUMENT
