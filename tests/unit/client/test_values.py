from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime

import numpy as np
import pytest
from mlmesh.errors import InvalidArgument
from mlmesh.fields import enum_name, enum_value, given, mask_of, timestamp
from mlmesh.predictions import AnsweringModel, Prediction, prediction_of_json
from mlmesh.signatures import Selection, Signatures
from mlmesh.tracing import trace_metadata
from mlops.registry.v1 import model_pb2
from mlops.users.v1 import user_pb2

MODEL = AnsweringModel("toy", 3, "sha256:00")


@pytest.mark.parametrize("name", ["production", "PRODUCTION", "MODEL_STAGE_PRODUCTION", "model_stage_production"])
def test_an_enum_value_has_a_short_name_and_a_long_one(name: str) -> None:
    assert enum_value(model_pb2.ModelStage, name) == model_pb2.MODEL_STAGE_PRODUCTION


def test_the_short_name_of_every_value_reads_as_the_value() -> None:
    for kind in (model_pb2.ModelStage, model_pb2.ModelVersionState, user_pb2.UserKind, user_pb2.UserState):
        for value in kind.values():
            assert enum_value(kind, enum_name(kind, value)) == value


def test_an_unknown_name_is_refused_with_those_there_are() -> None:
    with pytest.raises(InvalidArgument, match="'live' is none of: none, development, staging, production, archived"):
        enum_value(model_pb2.ModelStage, "live")


def test_a_value_of_a_newer_contract_is_shown_as_its_number() -> None:
    assert enum_name(model_pb2.ModelStage, 77) == "77"


def test_a_moment_without_a_time_zone_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="has no time zone"):
        timestamp(datetime(2026, 1, 1))
    stamp = timestamp(datetime(2026, 1, 1, tzinfo=UTC))
    assert stamp is not None
    assert stamp.seconds == 1767225600


def test_an_update_names_what_was_given_and_nothing_else() -> None:
    assert given(a=None, b="", c=0) == {"b": "", "c": 0}
    assert list(mask_of({"b": "", "a": 1}).paths) == ["a", "b"]


def test_an_update_of_nothing_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="nothing to change"):
        mask_of({})


def test_a_prediction_with_one_output_is_an_array() -> None:
    prediction = Prediction({"y": np.array([1, 2])}, MODEL, "id")
    assert np.asarray(prediction).tolist() == [1, 2]
    assert np.sum(prediction) == 3


def test_a_prediction_with_several_outputs_names_them_where_one_is_wanted() -> None:
    prediction = Prediction({"label": np.array([1]), "score": np.array([0.5])}, MODEL, "id")
    assert prediction["score"].tolist() == [0.5]
    with pytest.raises(ValueError, match="outputs label, score"):
        np.asarray(prediction)
    with pytest.raises(KeyError, match="no output 'x'; it has: label, score"):
        prediction["x"]


def test_a_prediction_over_json_reads_like_one_over_tensors() -> None:
    model = {"name": "toy", "version": 3, "digest": "sha256:00"}
    several = {"predictions": [{"label": 1, "score": 0.5}, {"label": 0, "score": 0.25}], "model": model, "prediction_id": "id"}
    prediction = prediction_of_json(several, [])
    assert (prediction["label"].tolist(), prediction["score"].tolist(), prediction.model) == ([1, 0], [0.5, 0.25], MODEL)
    one = prediction_of_json({"predictions": [[1.5], [2.5]], "model": model, "prediction_id": "id"}, [])
    assert np.asarray(one).tolist() == [[1.5], [2.5]]


def test_two_choices_of_a_version_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="choose one of version and alias"):
        Selection("", "toy", 1, "champion", "")


def test_a_choice_travels_as_the_one_that_was_made() -> None:
    assert Selection("", "toy", 0, "", "").message().WhichOneof("choice") is None
    assert Selection("", "toy", 0, "champion", "").message().alias == "champion"


def test_remembered_signatures_do_not_grow_for_ever() -> None:
    from mlops.common.v1.tensor_pb2 import Signature, TensorSpec

    signatures = Signatures()
    for version in range(1, 1200):
        signatures.remember(Selection("", "toy", version, "", ""), Signature(inputs=[TensorSpec(name="x")]))
    assert signatures.known(Selection("", "toy", 1, "", "")) is None
    assert signatures.known(Selection("", "toy", 1199, "", "")) is not None


def test_a_call_inside_a_span_carries_its_trace_context() -> None:
    from opentelemetry.sdk.trace import TracerProvider

    tracer = TracerProvider().get_tracer("test")
    with tracer.start_as_current_span("outer") as span:
        (entry,) = trace_metadata()
        assert entry[0] == "traceparent"
        assert f"{span.get_span_context().trace_id:032x}" in entry[1]
    assert trace_metadata() == []


def test_importing_the_client_loads_neither_grpc_nor_numpy() -> None:
    program = "import sys, mlmesh; print(sorted({'grpc', 'numpy', 'google.protobuf', 'typer'} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
