"""Requests to serving and what comes back, as tests write and read them."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
from google.api import httpbody_pb2
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from mlops.common.v1 import tensor_pb2
from mlops.serving.v1 import served_model_pb2
from mlops.serving.v1 import serving_service_pb2 as pb


def tensor(name: str, array: np.ndarray[Any, Any], datatype: int = tensor_pb2.DATA_TYPE_FP32) -> tensor_pb2.Tensor:
    return tensor_pb2.Tensor(name=name, datatype=datatype, shape=array.shape, raw=array.tobytes())


def selector(name: str, **choice: Any) -> served_model_pb2.ModelSelector:
    return served_model_pb2.ModelSelector(name=name, **choice)


def json_request(body: object, **fields: Any) -> pb.PredictJsonRequest:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return pb.PredictJsonRequest(body=httpbody_pb2.HttpBody(content_type="application/json", data=data), **fields)


def details_of(error: grpc.RpcError) -> dict[str, Any]:
    status = rpc_status.from_call(error)
    found: dict[str, Any] = {}
    for detail in status.details:
        for kind in (
            error_details_pb2.ErrorInfo,
            error_details_pb2.BadRequest,
            error_details_pb2.ResourceInfo,
            error_details_pb2.RetryInfo,
        ):
            message = kind()
            if detail.Unpack(message):
                found[kind.__name__] = message
    return found


def predict_version(stub: Any, model: str, **choice: Any) -> int:
    """Predicts one row of four numbers and says which version answered."""
    answer = json.loads(stub.PredictJson(json_request({"instances": [[1, 2, 3, 4]]}, model=model, **choice)).data)
    return int(answer["model"]["version"])


def until(condition: Callable[[], bool], within_s: float) -> None:
    deadline = time.monotonic() + within_s
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        pause.wait(0.02)
