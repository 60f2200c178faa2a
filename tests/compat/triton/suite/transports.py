"""One way to predict for all cases: over gRPC, over HTTP with binary tensors, and over HTTP with JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from mesh import bearer
from tritonclient.utils import np_to_triton_dtype

Arrays = Mapping[str, "np.ndarray[Any, Any]"]

DTYPES: Mapping[str, Any] = {
    "BOOL": np.bool_,
    **{f"{sign}INT{bits}": np.dtype(f"{sign}int{bits}".lower()) for sign in ("", "U") for bits in (8, 16, 32, 64)},
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
    "BF16": ml_dtypes.bfloat16,
    "BYTES": np.object_,
}


class Transport:
    """A client, and how it sends and receives tensors."""

    name = ""

    def __init__(self, client: Any) -> None:
        self.client = client

    def input(self, name: str, array: np.ndarray[Any, Any], datatype: str = "") -> Any:
        raise NotImplementedError

    def output(self, name: str) -> Any:
        raise NotImplementedError

    def infer(self, model: str, feeds: Arrays, outputs: Sequence[str] = (), **options: Any) -> Any:
        inputs = [self.input(name, array) for name, array in feeds.items()]
        return self.infer_inputs(model, inputs, outputs, **options)

    def infer_inputs(self, model: str, inputs: Sequence[Any], outputs: Sequence[str] = (), **options: Any) -> Any:
        headers = {**bearer(), **options.pop("headers", {})}
        return self.client.infer(model, inputs, outputs=[self.output(name) for name in outputs] or None, headers=headers, **options)


class Grpc(Transport):
    name = "grpc"

    def input(self, name: str, array: np.ndarray[Any, Any], datatype: str = "") -> Any:
        made = tritonclient.grpc.InferInput(name, list(array.shape), datatype or np_to_triton_dtype(array.dtype))
        return made.set_data_from_numpy(array)

    def output(self, name: str) -> Any:
        return tritonclient.grpc.InferRequestedOutput(name)


class HttpBinary(Transport):
    name = "http-binary"
    is_binary = True

    def input(self, name: str, array: np.ndarray[Any, Any], datatype: str = "") -> Any:
        made = tritonclient.http.InferInput(name, list(array.shape), datatype or np_to_triton_dtype(array.dtype))
        return made.set_data_from_numpy(array, binary_data=self.is_binary)

    def output(self, name: str) -> Any:
        return tritonclient.http.InferRequestedOutput(name, binary_data=self.is_binary)


class HttpJson(HttpBinary):
    name = "http-json"
    is_binary = False


TRANSPORTS: Mapping[str, type[Transport]] = {kind.name: kind for kind in (Grpc, HttpBinary, HttpJson)}


_OVER_HTTP = [pytest.param(name, marks=pytest.mark.http) for name in ("http-binary", "http-json")]
over_http = pytest.mark.parametrize("transport", _OVER_HTTP, indirect=True)
raw_only = pytest.mark.parametrize("transport", ["grpc", _OVER_HTTP[0]], indirect=True)


def as_bytes(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Strings as UTF-8: clients give bytes where tensors are binary, and text where they are JSON."""
    flat = [value.encode() if isinstance(value, str) else value for value in array.reshape(-1)]
    made = np.empty(len(flat), dtype=object)
    made[:] = flat
    return made.reshape(array.shape)


def assert_same_bits(answer: np.ndarray[Any, Any] | None, expected: np.ndarray[Any, Any]) -> None:
    assert answer is not None
    assert answer.shape == expected.shape
    if expected.dtype == object:
        assert as_bytes(answer).tolist() == as_bytes(expected).tolist()
        return
    assert answer.dtype == expected.dtype
    assert answer.tobytes() == expected.tobytes()
