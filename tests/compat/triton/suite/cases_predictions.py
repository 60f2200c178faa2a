"""Tensors of every type and shape, bit by bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from mesh import bearer, expected
from transports import DTYPES, Transport, assert_same_bits, raw_only
from tritonclient.grpc import service_pb2

EXTREMES: dict[str, list[Any]] = {
    "BOOL": [True, False, True],
    "FP16": [1.5, -65504.0, 6e-8],
    "FP32": [0.1, -3.4e38, 1e-45],
    "FP64": [0.1, -1.7e308, 5e-324],
    "BF16": [1.5, -3.0e38, 1e-40],
    "BYTES": ["", "ä€😀", "a\0b"],
}
SPECIAL = [np.nan, np.inf, -np.inf, -0.0, 0.0, 1.0]
CONTENTS = {
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "BOOL": "bool_contents",
    "INT64": "int64_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


def array_of(datatype: str) -> np.ndarray[Any, Any]:
    values = EXTREMES.get(datatype)
    if values is None:
        limits = np.iinfo(DTYPES[datatype])
        values = [limits.min, 0, limits.max]
    return np.array([values, values[::-1]], dtype=DTYPES[datatype])


@pytest.mark.parametrize("datatype", sorted(DTYPES))
def test_every_element_type_comes_back_as_it_was_sent(transport: Transport, datatype: str) -> None:
    if transport.name == "http-json" and datatype == "BF16":
        pytest.skip("the client itself sends BF16 as binary only")
    array = array_of(datatype)

    answer = transport.infer(f"identity-{datatype.lower()}", {"x": array}, ["y"])

    assert_same_bits(answer.as_numpy("y"), array)


@pytest.mark.parametrize("datatype", sorted(DTYPES))
def test_an_empty_batch_of_every_element_type_comes_back(transport: Transport, datatype: str) -> None:
    if transport.name == "http-json" and datatype == "BF16":
        pytest.skip("the client itself sends BF16 as binary only")
    empty = np.empty((0, 3), dtype=DTYPES[datatype])

    answer = transport.infer(f"identity-{datatype.lower()}", {"x": empty}, ["y"])

    assert answer.as_numpy("y").shape == (0, 3)


@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64"])
def test_nan_infinities_and_negative_zero_come_back(transport: Transport, datatype: str) -> None:
    array = np.array([SPECIAL[:3], SPECIAL[3:]], dtype=DTYPES[datatype])

    answer = transport.infer(f"identity-{datatype.lower()}", {"x": array}, ["y"]).as_numpy("y")

    np.testing.assert_array_equal(answer, array)
    numbers = ~np.isnan(array)
    np.testing.assert_array_equal(np.signbit(answer[numbers]), np.signbit(array[numbers]))


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 64])
@pytest.mark.parametrize("version", [1, 2])
def test_a_batch_has_the_bits_of_onnx_runtime(transport: Transport, rows: int, version: int) -> None:
    inputs, outputs = expected("linear", version, str(rows))

    answer = transport.infer("linear", inputs, ["y"], model_version=str(version))

    assert_same_bits(answer.as_numpy("y"), outputs["y"])


def test_several_inputs_and_outputs_are_told_apart_by_name(transport: Transport) -> None:
    inputs, outputs = expected("table", 1, "rows", "carrier", "label")

    answer = transport.infer("table", dict(reversed(inputs.items())), ["label", "score"])

    for name, array in outputs.items():
        assert_same_bits(answer.as_numpy(name), array)


@pytest.mark.parametrize("wanted", [["score"], ["label"], ["score", "label"]])
def test_only_the_outputs_that_are_asked_for_come_in_that_order(transport: Transport, wanted: list[str]) -> None:
    inputs, _ = expected("table", 1, "rows", "carrier", "label")

    answer = transport.infer("table", inputs, wanted)

    response = answer.get_response()
    outputs = response["outputs"] if isinstance(response, dict) else response.outputs
    assert [output["name"] if isinstance(output, dict) else output.name for output in outputs] == wanted


def test_without_a_choice_all_outputs_come(transport: Transport) -> None:
    inputs, outputs = expected("table", 1, "rows", "carrier", "label")

    answer = transport.infer("table", inputs)

    for name, array in outputs.items():
        assert_same_bits(answer.as_numpy(name), array)


def test_a_scalar_has_no_dimensions(transport: Transport) -> None:
    array = np.array(2.5, dtype=np.float32)

    assert_same_bits(transport.infer("scalar", {"x": array}, ["y"]).as_numpy("y"), array)


@pytest.mark.parametrize("shape", [(1, 2, 1), (3, 2, 5), (0, 2, 4), (4, 2, 0)])
def test_dimensions_that_may_vary_vary(transport: Transport, shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)

    assert_same_bits(transport.infer("cube", {"x": array}, ["y"]).as_numpy("y"), array)


def test_an_optional_input_may_be_left_out(transport: Transport) -> None:
    x = np.array([[10, 20, 30]], dtype=np.float32)

    assert transport.infer("optional", {"x": x}, ["y"]).as_numpy("y").tolist() == [[11, 22, 33]]


def test_an_optional_input_may_be_given(transport: Transport) -> None:
    feeds = {"x": np.array([[10, 20, 30]], dtype=np.float32), "b": np.array([0, 0, 1], dtype=np.float32)}

    assert transport.infer("optional", feeds, ["y"]).as_numpy("y").tolist() == [[10, 20, 31]]


@raw_only  # JSON has a smaller limit
def test_eight_megabytes_come_back(transport: Transport) -> None:
    array = np.random.default_rng(0).random((2048, 1024), dtype=np.float32)

    assert_same_bits(transport.infer("wide", {"x": array}, ["y"]).as_numpy("y"), array)


@pytest.mark.parametrize("datatype", sorted(CONTENTS))
def test_typed_contents_are_taken_over_grpc(grpc_client: Any, datatype: str) -> None:
    array = array_of(datatype)
    values = [text.encode() for text in array.reshape(-1)] if datatype == "BYTES" else array.reshape(-1).tolist()
    request = service_pb2.ModelInferRequest(model_name=f"identity-{datatype.lower()}")
    request.inputs.add(
        name="x", datatype=datatype, shape=array.shape, contents=service_pb2.InferTensorContents(**{CONTENTS[datatype]: values})
    )

    answer = grpc_client._client_stub.ModelInfer(request, metadata=tuple(bearer().items()))

    if datatype == "BYTES":
        packed = b"".join(len(value).to_bytes(4, "little") + value for value in values)
        assert answer.raw_output_contents[0] == packed
    else:
        assert answer.raw_output_contents[0] == array.tobytes()
    assert not answer.outputs[0].HasField("contents")


def test_the_answer_says_which_version_answered_and_gives_the_id_back(transport: Transport) -> None:
    inputs, _ = expected("linear", 2, "1")

    response = transport.infer("linear", inputs, ["y"], request_id="request-7").get_response()

    if not isinstance(response, dict):
        facts = {name: value.string_param for name, value in response.parameters.items()}
        response = {"id": response.id, "model_name": response.model_name, "model_version": response.model_version, "parameters": facts}
    assert (response["id"], response["model_name"], response["model_version"]) == ("request-7", "linear", "2")
    assert response["parameters"]["mlmesh_digest"].startswith("sha256:")
    assert len(response["parameters"]["mlmesh_prediction_id"]) == 36


@pytest.mark.parametrize(("version", "answering"), [("", 2), ("1", 1), ("2", 2), ("champion", 1)])
def test_a_version_is_chosen_by_number_by_alias_or_not_at_all(transport: Transport, version: str, answering: int) -> None:
    inputs, outputs = expected("linear", answering, "3")

    assert_same_bits(transport.infer("linear", inputs, ["y"], model_version=version).as_numpy("y"), outputs["y"])


def test_another_project_is_named_by_a_header(transport: Transport) -> None:
    inputs, _ = expected("linear", 1, "3")

    answer = transport.infer("elsewhere", inputs, ["y"], headers={"x-mlmesh-project": "fares"})

    assert answer.as_numpy("y").shape == (3, 3)


def test_another_project_is_named_by_a_parameter(transport: Transport) -> None:
    inputs, _ = expected("linear", 1, "3")

    answer = transport.infer("elsewhere", inputs, ["y"], parameters={"mlmesh_project": "fares"})

    assert answer.as_numpy("y").shape == (3, 3)


def test_parameters_that_say_nothing_here_are_passed_over(transport: Transport) -> None:
    inputs, outputs = expected("linear", 2, "3")

    answer = transport.infer("linear", inputs, ["y"], priority=1, timeout=1_000_000, sequence_id=9, parameters={"mine": "yes"})

    assert_same_bits(answer.as_numpy("y"), outputs["y"])
