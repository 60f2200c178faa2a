"""Health, metadata, configuration, statistics, and what is loaded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from google.protobuf import json_format
from mesh import bearer
from tritonclient.utils import InferenceServerException

X = np.zeros((1, 4), dtype=np.float32)


def plain(answer: Any) -> Any:
    """Answers of both clients as dictionaries; 64-bit integers are strings in protobuf's JSON, so they are made numbers."""
    if isinstance(answer, dict | list):
        return answer
    return json_format.MessageToDict(answer, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


def numbers(values: list[Any]) -> list[int]:
    return [int(value) for value in values]


def predict(client: Any, model: str = "linear", version: str = "") -> None:
    kind = __import__(client.__module__.rpartition(".")[0], fromlist=["InferInput"]).InferInput
    client.infer(model, [kind("x", [1, 4], "FP32").set_data_from_numpy(X)], model_version=version, headers=bearer())


def test_the_server_lives_and_is_ready_without_a_token(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()


def test_the_server_says_what_it_is(client: Any) -> None:
    metadata = plain(client.get_server_metadata(headers=bearer()))

    assert metadata["name"] == "mlmesh"
    assert {"binary_tensor_data", "statistics", "model_repository"} <= set(metadata["extensions"])


def test_what_the_server_is_takes_a_token(client: Any) -> None:
    with pytest.raises(InferenceServerException):
        client.get_server_metadata()


def test_a_model_is_ready_once_it_is_loaded(client: Any) -> None:
    client.load_model("wide", headers=bearer())
    assert client.is_model_ready("wide", headers=bearer())

    client.unload_model("wide", headers=bearer())

    assert not client.is_model_ready("wide", headers=bearer())


def test_an_unknown_model_is_not_ready(client: Any) -> None:
    assert not client.is_model_ready("unknown", headers=bearer())


def test_a_model_says_what_it_takes_and_gives(client: Any) -> None:
    metadata = plain(client.get_model_metadata("table", headers=bearer()))

    assert (metadata["name"], metadata["versions"], metadata["platform"]) == ("table", ["1"], "onnxruntime_onnx")
    inputs = {tensor["name"]: (tensor["datatype"], numbers(tensor["shape"])) for tensor in metadata["inputs"]}
    assert inputs == {"carrier": ("BYTES", [-1, 1]), "distance": ("FP32", [-1, 1]), "month": ("INT64", [-1, 1])}
    assert {tensor["name"] for tensor in metadata["outputs"]} == {"label", "score"}


@pytest.mark.parametrize("version", ["1", "2", "champion"])
def test_metadata_are_of_the_version_that_is_chosen(client: Any, version: str) -> None:
    metadata = plain(client.get_model_metadata("linear", version, headers=bearer()))

    assert {"champion": "1"}.get(version, version) in metadata["versions"]


def test_metadata_of_an_unknown_model_are_refused(client: Any) -> None:
    with pytest.raises(InferenceServerException, match="unknown") as refused:
        client.get_model_metadata("unknown", headers=bearer())

    assert refused.value.status() in ("StatusCode.NOT_FOUND", "404")


@pytest.mark.parametrize(
    ("model", "data_type"), [("identity-fp32", "TYPE_FP32"), ("identity-bytes", "TYPE_STRING"), ("identity-bf16", "TYPE_BF16")]
)
def test_a_configuration_is_tritons(client: Any, model: str, data_type: str) -> None:
    config = plain(client.get_model_config(model, headers=bearer()))
    config = config.get("config", config)

    assert (config["name"], config["backend"], config["max_batch_size"]) == (model, "onnxruntime", 0)
    (described,) = config["input"]
    assert (described["name"], described["data_type"], numbers(described["dims"])) == ("x", data_type, [-1, 3])


def test_statistics_grow_with_predictions(client: Any) -> None:
    client.load_model("linear", headers=bearer())

    def answered() -> int:
        (model,) = plain(client.get_inference_statistics("linear", "2", headers=bearer()))["model_stats"]
        return int(model["inference_stats"]["success"]["count"])

    predict(client, version="2")
    before = answered()
    predict(client, version="2")

    assert answered() == before + 1


def test_statistics_have_tritons_parts(client: Any) -> None:
    predict(client)

    (model,) = plain(client.get_inference_statistics("linear", "2", headers=bearer()))["model_stats"]

    assert (model["name"], model["version"]) == ("linear", "2")
    assert int(model["last_inference"]) > 1_700_000_000_000
    assert int(model["execution_count"]) > 0
    assert int(model["inference_stats"]["compute_infer"]["ns"]) > 0
    assert {"queue", "fail", "compute_input", "compute_output"} <= model["inference_stats"].keys()


def test_statistics_without_a_name_are_of_all_models(client: Any) -> None:
    predict(client)

    models = plain(client.get_inference_statistics(headers=bearer()))["model_stats"]

    assert "linear" in {model["name"] for model in models}


def test_statistics_of_an_unknown_model_are_refused(client: Any) -> None:
    with pytest.raises(InferenceServerException):
        client.get_inference_statistics("unknown", headers=bearer())


def test_the_index_lists_what_is_loaded(client: Any) -> None:
    client.load_model("cube", headers=bearer())

    index = plain(client.get_model_repository_index(headers=bearer()))
    models = index["models"] if isinstance(index, dict) else index

    assert {"name": "cube", "version": "1", "state": "READY", "reason": ""} in models


def test_unloading_what_is_not_loaded_is_refused(client: Any) -> None:
    client.load_model("gather", headers=bearer())
    client.unload_model("gather", headers=bearer())

    with pytest.raises(InferenceServerException, match="no version of `gather`"):
        client.unload_model("gather", headers=bearer())


def test_loading_an_unknown_model_is_refused(client: Any) -> None:
    with pytest.raises(InferenceServerException, match="unknown"):
        client.load_model("unknown", headers=bearer())


def test_a_load_brings_no_configuration_of_its_own(client: Any) -> None:
    with pytest.raises(InferenceServerException, match="come from the registry"):
        client.load_model("linear", config="{}", headers=bearer())


def test_a_load_brings_no_files(client: Any) -> None:
    with pytest.raises(InferenceServerException, match="come from the registry"):
        client.load_model("linear", config="{}", files={"file:1/model.onnx": b"onnx"}, headers=bearer())


@pytest.mark.parametrize(
    "call",
    [
        "get_system_shared_memory_status",
        "unregister_system_shared_memory",
        "get_cuda_shared_memory_status",
        "unregister_cuda_shared_memory",
        "get_trace_settings",
        "get_log_settings",
    ],
)
def test_what_is_tritons_alone_is_refused_as_such(grpc_client: Any, call: str) -> None:
    with pytest.raises(InferenceServerException, match="not served") as refused:
        getattr(grpc_client, call)(headers=bearer())

    assert refused.value.status() == "StatusCode.UNIMPLEMENTED"
