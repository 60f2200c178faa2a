"""Which version answers, who may ask, and what is loaded."""

from __future__ import annotations

import json

import grpc
import numpy as np
import pytest
from mlops.serving.v1 import served_model_pb2
from mlops.serving.v1 import serving_service_pb2 as pb
from mlops.serving.v1.serving_service_pb2_grpc import ModelServingServiceStub

from tests.integration.serving.calls import details_of, json_request, predict_version, selector, tensor, until
from tests.small_mesh import onnx_models


@pytest.fixture
def flights(mesh):
    """Three versions; the second is in production, the first has the alias `champion`."""
    for seed, stage in enumerate(("NONE", "PRODUCTION", "STAGING")):
        mesh.registry.save_onnx("flights", onnx_models.linear(seed=seed), stage=stage)
    mesh.registry.aliases["default", "flights", "champion"] = 1
    return mesh.serve()


@pytest.mark.parametrize(("choice", "expected"), [({}, 3), ({"version": 2}, 2), ({"alias": "champion"}, 1), ({"stage": "production"}, 2)])
def test_version_alias_stage_or_default_choose_in_path_query_and_body(flights, choice, expected):
    row = [[1, 2, 3, 4]]
    by_query = json.loads(flights.PredictJson(json_request({"instances": row}, model="flights", **choice)).data)
    by_body = json.loads(flights.PredictJson(json_request({"instances": row, "model": "flights", **choice})).data)
    typed = flights.Predict(pb.PredictRequest(model=selector("flights", **choice), inputs=[tensor("x", np.array(row, "f4"))]))

    assert (by_query["model"]["version"], by_body["model"]["version"], typed.model.version) == (expected,) * 3


def test_the_alias_default_answers_before_the_newest_version(mesh, flights):
    mesh.registry.aliases["default", "flights", "default"] = 2

    assert predict_version(flights, "flights") == 2


def test_a_moved_alias_takes_effect_within_the_ttl(mesh, flights):
    assert predict_version(flights, "flights", alias="champion") == 1
    mesh.registry.aliases["default", "flights", "champion"] = 3

    until(lambda: predict_version(flights, "flights", alias="champion") == 3, within_s=2)


def test_more_than_one_choice_is_refused(flights):
    with pytest.raises(grpc.RpcError) as raised:
        predict_version(flights, "flights", version=1, alias="champion")

    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert details_of(raised.value)["ErrorInfo"].reason == "INVALID_MODEL_CHOICE"


def test_a_version_that_is_not_there_is_not_found(flights):
    with pytest.raises(grpc.RpcError) as raised:
        predict_version(flights, "flights", version=9)

    assert raised.value.code() is grpc.StatusCode.NOT_FOUND
    assert details_of(raised.value)["ResourceInfo"].resource_name == "flights/9"


def test_permission_is_checked_in_the_project_of_the_request(mesh):
    mesh.registry.save_onnx("flights", onnx_models.linear(), project="team-a")
    mesh.serve()
    token = mesh.issuer.token({"team-a": ["serving.models.predict"]})
    stub = ModelServingServiceStub(mesh.channel(mesh.servers[-1].address, token))
    body = {"instances": [[1, 2, 3, 4]]}

    assert json.loads(stub.PredictJson(json_request(body, model="flights", project="team-a")).data)["model"]["version"] == 1
    with pytest.raises(grpc.RpcError) as other_project:
        stub.PredictJson(json_request(body, model="flights"))
    with pytest.raises(grpc.RpcError) as other_verb:
        stub.LoadModel(pb.LoadModelRequest(model="flights", project="team-a"))

    assert other_project.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert other_verb.value.code() is grpc.StatusCode.PERMISSION_DENIED


def test_without_a_token_nobody_predicts(mesh):
    mesh.serve()
    with grpc.insecure_channel(mesh.servers[-1].address) as channel, pytest.raises(grpc.RpcError) as raised:
        ModelServingServiceStub(channel).PredictJson(json_request({"instances": [[1]]}, model="m"))

    assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_a_model_is_loaded_ahead_listed_with_statistics_and_unloaded(mesh, flights):
    loaded = flights.LoadModel(pb.LoadModelRequest(model="flights", alias="champion"))
    predict_version(flights, "flights", version=1)
    with pytest.raises(grpc.RpcError):
        flights.PredictJson(json_request({"instances": [[1]]}, model="flights", version=1))

    (listed,) = flights.ListServedModels(pb.ListServedModelsRequest()).models

    assert loaded.state == served_model_pb2.SERVED_MODEL_STATE_READY
    assert (listed.name, listed.version, listed.project, listed.digest) == ("flights", 1, "default", loaded.digest)
    assert (listed.statistics.success_count, listed.statistics.failure_count, listed.statistics.row_count) == (1, 1, 1)
    assert listed.statistics.compute_ms > 0
    assert listed.statistics.HasField("last_predict_time")
    assert listed.signature.inputs[0].name == "x"
    assert list(listed.signature.inputs[0].shape) == [-1, 4]
    assert flights.UnloadModel(pb.UnloadModelRequest(model="flights")).unloaded_versions == [1]
    assert not flights.ListServedModels(pb.ListServedModelsRequest()).models


def test_lists_are_filtered_ordered_and_paged(flights):
    for version in (1, 2, 3):
        flights.LoadModel(pb.LoadModelRequest(model="flights", version=version))

    page = flights.ListServedModels(pb.ListServedModelsRequest(page_size=2, order_by="version desc", filter='state = "READY"'))
    rest = flights.ListServedModels(
        pb.ListServedModelsRequest(page_size=2, order_by="version desc", filter='state = "READY"', page_token=page.next_page_token)
    )

    assert [model.version for model in page.models] == [3, 2]
    assert [model.version for model in rest.models] == [1]
    assert not rest.next_page_token


def test_a_filter_over_an_unknown_field_says_which_there_are(flights):
    with pytest.raises(grpc.RpcError) as raised:
        flights.ListServedModels(pb.ListServedModelsRequest(filter='digest = "x"'))

    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "name, state, version" in raised.value.details()


def test_unloading_what_is_not_loaded_is_not_found(flights):
    with pytest.raises(grpc.RpcError) as raised:
        flights.UnloadModel(pb.UnloadModelRequest(model="flights"))

    assert raised.value.code() is grpc.StatusCode.NOT_FOUND
    assert details_of(raised.value)["ErrorInfo"].reason == "MODEL_NOT_LOADED"


def test_a_broken_model_fails_with_its_reason_and_is_listed_as_failed(mesh):
    mesh.registry.save_onnx("broken", b"this is no model")
    stub = mesh.serve()

    for _ in range(2):
        with pytest.raises(grpc.RpcError) as raised:
            predict_version(stub, "broken")
        assert raised.value.code() is grpc.StatusCode.FAILED_PRECONDITION

    (listed,) = stub.ListServedModels(pb.ListServedModelsRequest(filter="state = FAILED")).models
    assert listed.error.startswith("the file is not an ONNX model")
    assert len(mesh.registry.downloaded) == 1


def test_loading_and_unloading_are_audited(mesh, flights):
    flights.LoadModel(pb.LoadModelRequest(model="flights"))
    flights.UnloadModel(pb.UnloadModelRequest(model="flights"))

    expected = {f"/mlops.serving.v1.ModelServingService/{verb}" for verb in ("LoadModel", "UnloadModel")}
    until(lambda: expected <= set(mesh.users.audited), within_s=10)


def test_wanted_outputs_come_in_the_order_asked_for(mesh):
    mesh.registry.save_onnx("table", onnx_models.row_of_table())
    stub = mesh.serve()
    rows = [{"carrier": "AA", "distance": 1, "month": 2}]

    answer = json.loads(stub.PredictJson(json_request({"instances": rows, "output_names": ["score"]}, model="table")).data)
    with pytest.raises(grpc.RpcError) as raised:
        stub.PredictJson(json_request({"instances": rows, "output_names": ["score", "z"]}, model="table"))

    assert answer["predictions"] == [[3.0]]
    assert details_of(raised.value)["BadRequest"].field_violations[0].field == "output_names[1]"
    assert "its outputs are `label`, `score`" in raised.value.details()
