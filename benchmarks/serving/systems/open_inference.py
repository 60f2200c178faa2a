"""The two messages of the Open Inference Protocol that a prediction needs.

They live in a descriptor pool of their own: two files that define the package `inference` cannot be in one pool.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from numpy.typing import NDArray

METHOD = "/inference.GRPCInferenceService/ModelInfer"

_Field = descriptor_pb2.FieldDescriptorProto
_PACKAGE = "inference"
# Message → field → number, type or message, whether it is repeated.
_MESSAGES: dict[str, dict[str, tuple[int, _Field.Type.ValueType | str, bool]]] = {
    "Contents": {"fp32_contents": (6, _Field.TYPE_FLOAT, True)},
    "Tensor": {
        "name": (1, _Field.TYPE_STRING, False),
        "datatype": (2, _Field.TYPE_STRING, False),
        "shape": (3, _Field.TYPE_INT64, True),
        "contents": (5, "Contents", False),
    },
    "ModelInferRequest": {"model_name": (1, _Field.TYPE_STRING, False), "inputs": (5, "Tensor", True)},
    "ModelInferResponse": {"outputs": (5, "Tensor", True)},
}


def infer_request(model: str, name: str, rows: NDArray[np.float32]) -> bytes:
    """Serializes a `ModelInferRequest` of one FP32 tensor."""
    request = _message("ModelInferRequest")(model_name=model)
    tensor = request.inputs.add(name=name, datatype="FP32", shape=rows.shape)
    tensor.contents.fp32_contents.extend(rows.ravel().tolist())
    return bytes(request.SerializeToString())


def read_infer_response(message: bytes) -> NDArray[np.float32]:
    """Returns the first output of a `ModelInferResponse`."""
    tensor = _message("ModelInferResponse").FromString(message).outputs[0]
    return np.array(tensor.contents.fp32_contents, np.float32).reshape(tensor.shape)


def _message(name: str) -> Any:
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{_PACKAGE}.{name}"))


def _pool() -> descriptor_pool.DescriptorPool:
    file = descriptor_pb2.FileDescriptorProto(name="open_inference.proto", package=_PACKAGE, syntax="proto3")
    for message, fields in _MESSAGES.items():
        described = file.message_type.add(name=message)
        for name, (number, kind, is_repeated) in fields.items():
            field = described.field.add(name=name, number=number)
            field.label = _Field.LABEL_REPEATED if is_repeated else _Field.LABEL_OPTIONAL
            if isinstance(kind, str):
                field.type, field.type_name = _Field.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
            else:
                field.type = kind
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool


_POOL = _pool()
