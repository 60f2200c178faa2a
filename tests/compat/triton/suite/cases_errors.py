"""What is wrong is refused, and the text says what, what was expected, and what came."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import pytest
from mesh import bearer
from transports import Transport, raw_only
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException

X = np.zeros((2, 4), dtype=np.float32)
# gRPC's codes, and what they are over HTTP.
NOT_FOUND = ("StatusCode.NOT_FOUND", "404")
INVALID = ("StatusCode.INVALID_ARGUMENT", "400")
UNIMPLEMENTED = ("StatusCode.UNIMPLEMENTED", "501")
UNAUTHENTICATED = ("StatusCode.UNAUTHENTICATED", "401")


def refusal(of: Callable[[], Any], status: tuple[str, str], *texts: str) -> None:
    with pytest.raises(InferenceServerException) as refused:
        of()
    assert refused.value.status() in status, refused.value
    for text in texts:
        assert text in refused.value.message(), refused.value


def test_an_unknown_model(transport: Transport) -> None:
    refusal(lambda: transport.infer("unknown", {"x": X}), NOT_FOUND, "unknown")


@pytest.mark.parametrize("version", ["99", "nobody"])
def test_an_unknown_version_or_alias(transport: Transport, version: str) -> None:
    refusal(lambda: transport.infer("linear", {"x": X}, model_version=version), NOT_FOUND, version)


@pytest.mark.parametrize("version", ["0", "99999999999999"])
def test_a_version_that_cannot_be_one(transport: Transport, version: str) -> None:
    refusal(lambda: transport.infer("linear", {"x": X}, model_version=version), INVALID, f"`{version}` is no version")


def test_a_name_that_cannot_be_one(transport: Transport) -> None:
    refusal(lambda: transport.infer("a b", {"x": X}), INVALID, "cannot be the name of a model")


def test_a_null_character_in_a_name(transport: Transport) -> None:
    refusal(lambda: transport.infer("linear", {"x\0": X}), INVALID, "the model has no input")


def test_an_unknown_input(transport: Transport) -> None:
    refusal(lambda: transport.infer("linear", {"z": X}), INVALID, "the model has no input `z`; its inputs are `x`")


def test_a_missing_input(transport: Transport) -> None:
    feeds = {"month": np.zeros((1, 1), dtype=np.int64), "distance": np.zeros((1, 1), dtype=np.float32)}

    refusal(lambda: transport.infer("table", feeds), INVALID, "input `carrier` (BYTES [-1, 1]) is missing")


def test_an_input_that_is_given_twice(transport: Transport) -> None:
    inputs = [transport.input("x", X), transport.input("x", X)]

    refusal(lambda: transport.infer_inputs("linear", inputs), INVALID, "input `x` is given twice")


def test_an_unknown_output(transport: Transport) -> None:
    refusal(lambda: transport.infer("linear", {"x": X}, ["z"]), INVALID, "the model has no output `z`; its outputs are `y`")


def test_another_element_type(transport: Transport) -> None:
    feeds = {"x": X.astype(np.float64)}

    refusal(lambda: transport.infer("linear", feeds), INVALID, "input `x` expects FP32 [-1, 4]; got FP64 [2, 4]")


@pytest.mark.parametrize("shape", [(2, 5), (8,), (1, 2, 4), ()])
def test_another_shape(transport: Transport, shape: tuple[int, ...]) -> None:
    feeds = {"x": np.zeros(shape, dtype=np.float32)}

    refusal(lambda: transport.infer("linear", feeds), INVALID, f"input `x` expects FP32 [-1, 4]; got FP32 {list(shape)}")


def test_batches_of_different_sizes(transport: Transport) -> None:
    feeds = {
        "carrier": np.array([["AA"]], dtype=object),
        "month": np.zeros((2, 1), dtype=np.int64),
        "distance": np.zeros((1, 1), dtype=np.float32),
    }

    refusal(lambda: transport.infer("table", feeds), INVALID, "dimension 0 of input")


def test_values_that_the_model_refuses(transport: Transport) -> None:
    feeds = {"index": np.array([99], dtype=np.int64)}

    refusal(lambda: transport.infer("gather", feeds), INVALID, "the inputs fit the signature, but the model does not run on them")


@raw_only  # the client itself refuses to write them as JSON
def test_bytes_that_are_not_utf_8(transport: Transport) -> None:
    feeds = {"x": np.array([[b"a", b"\xff", b"c"]], dtype=object)}

    refusal(lambda: transport.infer("identity-bytes", feeds), INVALID, "element 1 is not UTF-8")


@raw_only
def test_raw_data_that_are_too_short(transport: Transport) -> None:
    short = transport.input("x", X)
    if transport.name == "grpc":
        short._raw_content = b"\0" * 31
    else:
        short._raw_data = b"\0" * 31
        short._parameters["binary_data_size"] = 31

    refusal(lambda: transport.infer_inputs("linear", [short]), INVALID, "tensor `x` of FP32 [2, 4] takes 32 bytes; got 31")


def test_classes_instead_of_an_output(transport: Transport) -> None:
    wanted = transport.output("y")
    kind = type(wanted)
    options = {} if transport.name == "grpc" else {"binary_data": transport.name == "http-binary"}
    output = kind("y", class_count=2, **options)

    refusal(
        lambda: transport.client.infer("linear", [transport.input("x", X)], outputs=[output], headers=bearer()),
        UNIMPLEMENTED,
        "the classification extension is not served",
    )


def test_an_input_in_shared_memory(transport: Transport) -> None:
    elsewhere = transport.input("x", X)
    elsewhere.set_shared_memory("region", 32)

    refusal(lambda: transport.infer_inputs("linear", [elsewhere]), UNIMPLEMENTED, "shared memory is not served")


@pytest.mark.parametrize("token", ["", "Bearer nonsense"])
def test_without_a_valid_token_nothing_is_predicted(transport: Transport, token: str) -> None:
    headers = {"authorization": token} if token else {}

    with pytest.raises(InferenceServerException) as refused:
        transport.client.infer("linear", [transport.input("x", X)], headers=headers)

    assert refused.value.status() in UNAUTHENTICATED


def grpc_request(**options: Any) -> Any:
    request = service_pb2.ModelInferRequest(model_name="linear", **options)
    request.inputs.add(name="x", datatype="FP32", shape=[1, 4])
    return request


def grpc_refusal(client: Any, request: Any, code: str, text: str) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        client._client_stub.ModelInfer(request, metadata=tuple(bearer().items()))
    assert refused.value.code().name == code
    assert text in refused.value.details()


def test_contents_beside_raw_data_over_grpc(grpc_client: Any) -> None:
    request = grpc_request(raw_input_contents=[bytes(16)])
    request.inputs[0].contents.fp32_contents.extend([0.0] * 4)

    grpc_refusal(grpc_client, request, "INVALID_ARGUMENT", "input `x` has `contents`, and the request has `raw_input_contents`")


def test_an_input_without_data_over_grpc(grpc_client: Any) -> None:
    grpc_refusal(grpc_client, grpc_request(), "INVALID_ARGUMENT", "`x` of FP32 [1, 4] has 4 elements; `fp32_contents` has 0")


def test_more_raw_data_than_inputs_over_grpc(grpc_client: Any) -> None:
    grpc_refusal(
        grpc_client, grpc_request(raw_input_contents=[bytes(16), b""]), "INVALID_ARGUMENT", "1 inputs and 2 pieces of raw data came"
    )


def test_the_field_of_another_type_over_grpc(grpc_client: Any) -> None:
    request = grpc_request()
    request.inputs[0].contents.int_contents.extend([0] * 4)

    grpc_refusal(grpc_client, request, "INVALID_ARGUMENT", "travels in `fp32_contents`; got `int_contents`")


def test_a_negative_extent_over_grpc(grpc_client: Any) -> None:
    request = grpc_request(raw_input_contents=[b""])
    request.inputs[0].shape[0] = -1

    grpc_refusal(grpc_client, request, "INVALID_ARGUMENT", "input `x` has shape [-1, 4]; expected at most 32 extents, each 0 or more")


def test_an_unknown_datatype_over_grpc(grpc_client: Any) -> None:
    request = grpc_request(raw_input_contents=[b""])
    request.inputs[0].datatype = "FP8"

    grpc_refusal(grpc_client, request, "INVALID_ARGUMENT", "datatype `FP8`; datatypes are BOOL")


@pytest.mark.http
@pytest.mark.parametrize(
    ("body", "headers", "text"),
    [
        (b"", {}, "not valid JSON"),
        (b"{", {}, "not valid JSON"),
        (b"[]", {}, "expected an object"),
        (b'{"inputs": 3}', {}, "expected a list of objects; got 3"),
        (b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4]}]}', {}, "neither `data` nor"),
        (b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2]}]}', {}, "has 4 elements; `data` has 2"),
        (b'{"inputs": []}', {"inference-header-content-length": "99"}, "expected the number of bytes of JSON, 1 to 14"),
        (b'{"inputs": []}', {"inference-header-content-length": "x"}, "expected the number of bytes of JSON"),
        (b'{"inputs": []}abcd', {"inference-header-content-length": "14"}, "4 bytes behind the JSON belong to no input"),
        (b"garbage", {"content-encoding": "gzip"}, "the bytes are not gzip"),
        (b"{}", {"content-encoding": "br"}, "expected gzip, deflate or identity"),
    ],
)
def test_a_body_that_is_no_request(http_client: Any, body: bytes, headers: dict[str, str], text: str) -> None:
    answer = http_client._post("v2/models/linear/infer", body, {**bearer(), **headers}, None)

    assert answer.status_code == 400
    assert text in answer.read().decode()


@pytest.mark.http
def test_more_json_than_a_prediction_may_have(http_client: Any) -> None:
    body = b'{"inputs": [], "id": "' + b"x" * (9 * 1024 * 1024) + b'"}'

    answer = http_client._post("v2/models/linear/infer", body, bearer(), None)

    assert answer.status_code == 429
    assert "binary tensors" in answer.read().decode()
