from __future__ import annotations

import asyncio

import mlmesh
import numpy as np
import pandas as pd
import pytest
from mlmesh import errors
from mlmesh.tensors import to_tensor
from mlops.common.v1 import tensor_pb2

from tests.integration.client.small_mesh import API_KEY, Scene

ROWS = np.array([[1.0, 2.0], [3.0, 4.0]])


def test_an_array_goes_in_and_an_array_comes_out(mesh: mlmesh.Mesh) -> None:
    prediction = mesh.serving.predict("toy", ROWS)
    np.testing.assert_array_equal(np.asarray(prediction), ROWS * 2)
    assert (prediction.model.name, prediction.model.digest, prediction.prediction_id) == ("toy", "sha256:00", "p-1")


@pytest.mark.parametrize("rows", [ROWS.tolist(), pd.DataFrame(ROWS), {"x": ROWS}], ids=["lists", "frame", "mapping"])
def test_rows_are_what_people_hold_in_their_hands(mesh: mlmesh.Mesh, rows: object) -> None:
    np.testing.assert_array_equal(mesh.serving.predict("toy", rows).value, ROWS * 2)


def test_the_signature_is_asked_for_once(mesh: mlmesh.Mesh, scene: Scene) -> None:
    for _ in range(3):
        mesh.serving.predict("toy", ROWS)
    assert scene.calls["ResolveModelVersion"] == 1


def test_a_signature_that_has_changed_is_asked_for_again(mesh: mlmesh.Mesh, scene: Scene) -> None:
    mesh.serving.predict("toy", ROWS)
    scene.signature.inputs[0].name = "renamed"
    np.testing.assert_array_equal(mesh.serving.predict("toy", ROWS).value, ROWS * 2)
    assert scene.calls["ResolveModelVersion"] == 2


def test_a_mistake_stays_a_mistake_when_the_signature_is_the_same(mesh: mlmesh.Mesh, scene: Scene) -> None:
    mesh.serving.predict("toy", ROWS)
    with pytest.raises(errors.InvalidArgument, match="no input 'y'"):
        mesh.serving.predict("toy", {"y": ROWS})
    assert scene.calls["Predict"] == 1


def test_whoever_may_predict_but_not_look_predicts_all_the_same(mesh: mlmesh.Mesh, scene: Scene) -> None:
    scene.registry_is_forbidden = True
    prediction = mesh.serving.predict("toy", ROWS)
    np.testing.assert_array_equal(np.asarray(prediction), ROWS * 2)
    assert (prediction.prediction_id, scene.calls["Predict"]) == ("p-2", 0)
    named = mesh.serving.predict("toy", {"x": ROWS.astype(np.float32)})
    assert named.prediction_id == "p-1"


def test_the_choice_of_a_version_travels(mesh: mlmesh.Mesh, scene: Scene) -> None:
    mesh.serving.predict("toy", ROWS, alias="champion")
    assert scene.requests["Predict"][-1].model.alias == "champion"
    assert scene.requests["ResolveModelVersion"][-1].alias == "champion"


def test_the_model_is_named_in_a_header_for_the_gateway(mesh: mlmesh.Mesh, scene: Scene) -> None:
    mesh.serving.predict("toy", ROWS)
    mesh.serving.predict_json("toy", {"instances": ROWS.tolist()})
    assert scene.metadata["Predict"][0]["x-mlmesh-model"] == "toy"
    assert scene.metadata["PredictJson"][0]["x-mlmesh-model"] == "toy"


def test_tensors_travel_as_they_are_in_one_call(mesh: mlmesh.Mesh, scene: Scene) -> None:
    answer = mesh.serving.predict_tensors("toy", [to_tensor("x", ROWS.astype(np.float32))], version=3)
    assert answer.outputs[0].datatype == tensor_pb2.DATA_TYPE_FP32
    assert (scene.calls["ResolveModelVersion"], scene.requests["Predict"][0].model.version) == (0, 3)


def test_a_prediction_inside_a_span_is_part_of_its_trace(mesh: mlmesh.Mesh, scene: Scene) -> None:
    from opentelemetry.sdk.trace import TracerProvider

    with TracerProvider().get_tracer("test").start_as_current_span("outer") as span:
        mesh.serving.predict("toy", ROWS)
    assert f"{span.get_span_context().trace_id:032x}" in scene.metadata["Predict"][0]["traceparent"]


def test_predictions_can_be_awaited_side_by_side(url: str) -> None:
    async def scenario() -> None:
        async with mlmesh.connect_async(url, api_key=API_KEY) as mesh:
            answers = await asyncio.gather(*(mesh.serving.predict("toy", ROWS * factor) for factor in range(5)))
            for factor, answer in enumerate(answers):
                np.testing.assert_array_equal(answer.value, ROWS * factor * 2)

    asyncio.run(scenario())
