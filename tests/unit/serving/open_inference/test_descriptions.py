from __future__ import annotations

import json
from typing import Any

import pytest
from mlops.common.v1 import tensor_pb2
from mlops.serving.v1 import served_model_pb2 as pb

from servers.serving.open_inference import descriptions
from servers.serving.open_inference.plain_json import json_list_of, json_of, plain
from servers.serving.open_inference.triton_statistics import BatchCounts, Duration, ModelCounts, counts_of, model_statistics
from servers.serving.signature import ELEMENT_TYPES


def served(**changes: object) -> pb.ServedModel:
    fp32, text = tensor_pb2.DATA_TYPE_FP32, tensor_pb2.DATA_TYPE_BYTES
    signature = tensor_pb2.Signature(
        inputs=[tensor_pb2.TensorSpec(name="x", datatype=fp32, shape=[-1, 4])],
        outputs=[tensor_pb2.TensorSpec(name="label", datatype=text, shape=[-1])],
    )
    facts: dict[str, Any] = {
        "signature": signature,
        "name": "iris",
        "version": 2,
        "project": "default",
        "digest": "sha256:1",
        "state": pb.SERVED_MODEL_STATE_READY,
    }
    return pb.ServedModel(**{**facts, **changes})


def test_metadata_have_the_protocols_shape() -> None:
    other = served(version=1)
    failed = served(version=3, state=pb.SERVED_MODEL_STATE_FAILED)

    assert json.loads(json_of(descriptions.model_metadata(served(), [other, served(), failed]))) == {
        "name": "iris",
        "versions": ["1", "2"],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}],
        "outputs": [{"name": "label", "datatype": "BYTES", "shape": [-1]}],
    }


def test_the_configuration_has_tritons_names_of_types_and_whole_shapes() -> None:
    config = plain(descriptions.model_config(served()))

    assert config["max_batch_size"] == 0
    assert config["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": [-1, 4], "optional": False}]
    assert config["output"] == [{"name": "label", "data_type": "TYPE_STRING", "dims": [-1]}]
    assert config["version_policy"] == {"specific": {"versions": [2]}}
    assert config["parameters"] == {"mlmesh_digest": {"string_value": "sha256:1"}, "mlmesh_project": {"string_value": "default"}}


@pytest.mark.parametrize("datatype", sorted(ELEMENT_TYPES))
def test_every_element_type_has_a_name_in_a_configuration(datatype: str) -> None:
    spec = tensor_pb2.TensorSpec(name="x", datatype=tensor_pb2.DataType.Value(f"DATA_TYPE_{datatype}"))
    model = served(signature=tensor_pb2.Signature(inputs=[spec]))

    assert plain(descriptions.model_config(model))["input"][0]["data_type"] in (f"TYPE_{datatype}", "TYPE_STRING")


def test_the_index_tells_why_a_version_is_unavailable() -> None:
    failed = served(state=pb.SERVED_MODEL_STATE_FAILED, error="the file is damaged")

    index = descriptions.repository_index([served(), failed], only_ready=False)

    assert json.loads(json_list_of(index.models)) == [
        {"name": "iris", "version": "2", "state": "READY", "reason": ""},
        {"name": "iris", "version": "2", "state": "UNAVAILABLE", "reason": "the file is damaged"},
    ]
    assert len(descriptions.repository_index([served(), failed], only_ready=True).models) == 1


def test_statistics_are_numbers_in_nanoseconds() -> None:
    counts = ModelCounts(
        name="iris",
        version=2,
        last_inference_ms=1_700_000_000_000,
        rows=70,
        success=Duration(10, 5.0),
        fail=Duration(1),
        queue=Duration(10, 2.0),
        runs=Duration(4, 3.0),
        batches=(BatchCounts(16, Duration(3, 2.5)), BatchCounts(22, Duration(1, 0.5))),
        size_bytes=99,
    )

    (model,) = json.loads(json_of(model_statistics([counts])))["model_stats"]

    assert (model["name"], model["version"], model["last_inference"]) == ("iris", "2", 1_700_000_000_000)
    assert (model["inference_count"], model["execution_count"]) == (70, 4)
    assert model["inference_stats"]["success"] == {"count": 10, "ns": 5_000_000}
    assert model["inference_stats"]["fail"] == {"count": 1, "ns": 0}
    assert model["inference_stats"]["queue"] == {"count": 10, "ns": 2_000_000}
    assert model["inference_stats"]["compute_infer"] == {"count": 4, "ns": 3_000_000}
    assert [(batch["batch_size"], batch["compute_infer"]) for batch in model["batch_stats"]] == [
        (16, {"count": 3, "ns": 2_500_000}),
        (22, {"count": 1, "ns": 500_000}),
    ]


def test_counts_are_those_of_the_meshs_own_contract() -> None:
    statistics = pb.ServingStatistics(success_count=3, failure_count=1, row_count=12, compute_ms=6.0, run_count=2)
    statistics.batch_sizes.add(rows=6, run_count=2, compute_ms=6.0)
    statistics.last_predict_time.FromMilliseconds(1_700_000_000_123)

    counts = counts_of(served(statistics=statistics, size_bytes=7))

    assert counts.last_inference_ms == 1_700_000_000_123
    assert (counts.rows, counts.runs, counts.fail.count, counts.success.count) == (12, Duration(2, 6.0), 1, 3)
    assert counts.batches == (BatchCounts(6, Duration(2, 6.0)),)
