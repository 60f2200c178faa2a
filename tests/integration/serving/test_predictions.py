"""Predictions over real sockets: the same bits as ONNX Runtime in process, by every way of asking."""

from __future__ import annotations

import json
import uuid

import grpc
import numpy as np
import pytest
from mlops.serving.v1 import serving_service_pb2 as pb

from tests.integration.serving.calls import details_of, json_request, selector, tensor
from tests.small_mesh import onnx_models
from tests.small_mesh.registry import digest_of


def test_a_typed_prediction_has_the_bits_of_onnx_runtime_and_says_who_answered(mesh):
    model = onnx_models.linear()
    mesh.registry.save_onnx("flights", model)
    stub = mesh.serve()
    x = np.random.default_rng(1).normal(size=(5, 4)).astype("f4")

    answer = stub.Predict(pb.PredictRequest(model=selector("flights"), inputs=[tensor("x", x)]))

    assert answer.outputs[0].raw == onnx_models.run(model, {"x": x})[0].tobytes()
    assert list(answer.outputs[0].shape) == [5, 3]
    assert (answer.model.name, answer.model.version, answer.model.digest) == ("flights", 1, digest_of(model))
    assert uuid.UUID(answer.prediction_id).version == 7


@pytest.mark.parametrize("form", ["instances", "objects", "inputs", "bare inputs", "tensors"])
def test_every_json_form_gives_the_numbers_of_onnx_runtime(mesh, form):
    model = onnx_models.linear()
    mesh.registry.save_onnx("flights", model)
    stub = mesh.serve()
    x = np.random.default_rng(2).normal(size=(3, 4)).astype("f4")
    rows = x.tolist()
    body = {
        "instances": {"instances": rows},
        "objects": {"instances": [{"x": row} for row in rows]},
        "inputs": {"inputs": {"x": rows}},
        "bare inputs": {"inputs": rows},
        "tensors": {"tensors": [{"name": "x", "datatype": "FP32", "shape": [3, 4], "data": x.reshape(-1).tolist()}]},
    }[form]

    answer = json.loads(stub.PredictJson(json_request(body, model="flights")).data)

    assert answer["predictions"] == onnx_models.run(model, {"x": x})[0].tolist()
    assert answer["model"] == {"name": "flights", "version": 1, "digest": digest_of(model)}
    assert uuid.UUID(answer["prediction_id"]).version == 7


def test_rows_of_a_table_answer_objects_keyed_by_output(mesh):
    mesh.registry.save_onnx("table", onnx_models.row_of_table())
    stub = mesh.serve()
    rows = [{"carrier": "AA", "distance": 100.5, "month": 2}, {"carrier": "Ü", "distance": 1, "month": 12}]

    answer = json.loads(stub.PredictJson(json_request({"instances": rows}, model="table")).data)

    assert answer["predictions"] == [{"label": ["AA"], "score": [102.5]}, {"label": ["Ü"], "score": [13.0]}]


def test_the_body_may_name_the_model_and_its_version(mesh):
    mesh.registry.save_onnx("flights", onnx_models.linear(seed=1))
    mesh.registry.save_onnx("flights", onnx_models.linear(seed=2))
    stub = mesh.serve()

    answer = json.loads(stub.PredictJson(json_request({"model": "flights", "version": 1, "instances": [[1, 2, 3, 4]]})).data)

    assert answer["model"]["version"] == 1


def test_a_wrong_shape_is_refused_naming_tensor_expectation_and_what_came(mesh):
    mesh.registry.save_onnx("flights", onnx_models.linear())
    stub = mesh.serve()

    with pytest.raises(grpc.RpcError) as raised:
        stub.Predict(pb.PredictRequest(model=selector("flights"), inputs=[tensor("x", np.zeros((2, 3), "f4"))]))

    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "input `x` expects FP32 [-1, 4]; got FP32 [2, 3]" in raised.value.details()
    details = details_of(raised.value)
    assert details["ErrorInfo"].reason == "INVALID_TENSOR"
    assert details["BadRequest"].field_violations[0].field == "inputs[0].shape"


def test_a_wrong_row_in_json_is_refused_naming_its_place(mesh):
    mesh.registry.save_onnx("flights", onnx_models.linear())
    stub = mesh.serve()

    with pytest.raises(grpc.RpcError) as raised:
        stub.PredictJson(json_request({"instances": [[1, 2, 3, 4], [1, 2, "three", 4]]}, model="flights"))

    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert details_of(raised.value)["BadRequest"].field_violations[0].field == "instances[1][2]"


def test_an_unknown_model_is_not_found_and_named(mesh):
    stub = mesh.serve()

    with pytest.raises(grpc.RpcError) as raised:
        stub.PredictJson(json_request({"instances": [[1]]}, model="nobody"))

    assert raised.value.code() is grpc.StatusCode.NOT_FOUND
    details = details_of(raised.value)
    assert details["ErrorInfo"].reason == "MODEL_NOT_FOUND"
    assert details["ResourceInfo"].resource_name == "nobody"


def test_a_version_without_onnx_says_what_to_do(mesh):
    mesh.registry.save("pickled", {"model.pkl": b"\x80\x04."}, onnx_path="")
    stub = mesh.serve()

    with pytest.raises(grpc.RpcError) as raised:
        stub.PredictJson(json_request({"instances": [[1]]}, model="pickled"))

    assert raised.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "skl2onnx" in raised.value.details()
