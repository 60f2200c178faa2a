from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlops.common.v1 import tensor_pb2
from mlops.serving.v1 import served_model_pb2

from servers.serving import converters
from servers.serving.batch_queue import CloseReason
from servers.serving.engine import Prediction
from servers.serving.entries import ModelView, State
from servers.serving.model_source import ModelChoice
from servers.serving.signature import ELEMENT_TYPES, Signature, TensorSpec
from servers.serving.statistics import BatchSize, DurationHistogram, StatisticsView
from servers.serving.tensors import RawTensor

names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=10)
tensors = st.builds(
    RawTensor, names, st.sampled_from(sorted(ELEMENT_TYPES)), st.lists(st.integers(0, 2**40), max_size=4).map(tuple), st.binary(max_size=20)
)


@given(tensors)
def test_a_tensor_survives_the_way_through_the_contract(tensor):
    assert converters.raw_tensor(converters.tensor_message(tensor)) == tensor


def test_the_contract_and_the_engine_know_the_same_element_types():
    contract = {value.name.removeprefix("DATA_TYPE_") for value in tensor_pb2.DataType.DESCRIPTOR.values} - {"UNSPECIFIED"}

    assert contract == set(ELEMENT_TYPES)


def test_the_contract_and_the_table_know_the_same_states():
    contract = {value.name.removeprefix("SERVED_MODEL_STATE_") for value in served_model_pb2.ServedModelState.DESCRIPTOR.values}

    assert contract - {"UNSPECIFIED"} == {state.value for state in State}


def test_the_contract_and_the_batches_know_the_same_reasons():
    contract = {value.name.removeprefix("BATCH_CLOSE_REASON_") for value in served_model_pb2.BatchCloseReason.DESCRIPTOR.values}

    assert contract - {"UNSPECIFIED"} == {reason.value for reason in CloseReason}


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({}, ModelChoice("default", "m")),
        ({"version": 3}, ModelChoice("default", "m", version=3)),
        ({"alias": "champion"}, ModelChoice("default", "m", alias="champion")),
        ({"stage": "Production"}, ModelChoice("default", "m", stage="production")),
    ],
)
def test_a_selector_becomes_a_choice(choice, expected):
    assert converters.choice_of_selector(served_model_pb2.ModelSelector(name="m", **choice), "") == expected


def test_a_prediction_becomes_a_response():
    spec = TensorSpec("y", "FP32", (-1,))
    response = converters.predict_response(Prediction(((spec, np.array([1, 2], "f4")),), "m", 3, "sha256:d", "id"))

    assert (response.outputs[0].name, list(response.outputs[0].shape)) == ("y", [2])
    assert response.outputs[0].raw == np.array([1, 2], "<f4").tobytes()
    assert (response.model.name, response.model.version, response.model.digest, response.prediction_id) == ("m", 3, "sha256:d", "id")


def test_a_loaded_version_becomes_a_message():
    now = datetime(2026, 1, 1, tzinfo=UTC)
    signature = Signature((TensorSpec("x", "FP32", (-1, 4), ("N", "")),), (TensorSpec("y", "BYTES", ()),))
    statistics = StatisticsView(
        success_count=5,
        failure_count=1,
        refused_count=1,
        row_count=7,
        run_count=3,
        compute_s=0.25,
        queue_times=DurationHistogram((2,) + (0,) * 17 + (3,), 0.5),
        batch_sizes=(BatchSize(1, 1, 0.05), BatchSize(3, 2, 0.2)),
        close_reasons={CloseReason.ROW_CAP: 1, CloseReason.TURN_ENDED: 2},
        last_predict_time=now,
        sharing_refusal="",
    )
    message = converters.served_model(ModelView("p", "m", 3, State.READY, "", "sha256:d", 10, signature, now, 0.5, statistics))

    assert (message.project, message.name, message.version, message.size_bytes) == ("p", "m", 3, 10)
    assert message.state == served_model_pb2.SERVED_MODEL_STATE_READY
    assert (message.load_duration_ms, message.statistics.compute_ms) == (500, 250)
    counted = message.statistics
    queued = counted.queue_duration
    assert (counted.run_count, counted.refused_count, queued.total_ms, list(queued.counts)[-1]) == (3, 1, 500, 3)
    assert len(counted.queue_duration.counts) == len(counted.queue_duration.bounds_ms) + 1
    assert [(size.rows, size.run_count, size.compute_ms) for size in counted.batch_sizes] == [(1, 1, 50), (3, 2, 200)]
    assert [(close.reason, close.run_count) for close in counted.batch_closes] == [
        (served_model_pb2.BATCH_CLOSE_REASON_TURN_ENDED, 2),
        (served_model_pb2.BATCH_CLOSE_REASON_ROW_CAP, 1),
    ]
    assert (message.statistics.success_count, message.statistics.failure_count, message.statistics.row_count) == (5, 1, 7)
    assert message.load_time.ToDatetime(tzinfo=UTC) == message.statistics.last_predict_time.ToDatetime(tzinfo=UTC) == now
    assert list(message.signature.inputs[0].shape) == [-1, 4]
    assert message.signature.outputs[0].datatype == tensor_pb2.DATA_TYPE_BYTES


def test_a_version_that_was_never_ready_has_no_times_and_no_signature():
    view = ModelView("p", "m", 3, State.FAILED, "broken", "", 0, None, None, 0.0, StatisticsView())
    message = converters.served_model(view)

    assert message.error == "broken"
    assert not message.HasField("signature")
    assert not message.HasField("load_time")
    assert not message.statistics.HasField("last_predict_time")
