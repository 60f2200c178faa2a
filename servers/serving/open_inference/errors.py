"""Errors of the protocol, and the shape in which its REST clients read errors."""

from __future__ import annotations

import orjson
from google.rpc import status_pb2

from servers.runtime.errors import FailedPrecondition, InvalidArgument, Unimplemented
from servers.runtime.lane.wires import error_fields


class InvalidInferRequest(InvalidArgument):
    """A request is not one of the Open Inference Protocol, whatever the model."""

    reason = "INVALID_INFER_REQUEST"


class UnservedExtension(Unimplemented):
    """A request uses an extension of Triton's that this server does not have."""

    reason = "UNSERVED_EXTENSION"


class ModelNotReady(FailedPrecondition):
    """The version is not in memory. Not UNAVAILABLE: nothing is ill, and to ask whether a model is loaded must not look as if it were."""

    reason = "MODEL_NOT_READY"


def rest_error(status: status_pb2.Status) -> bytes:
    """The body of an error below `/v2`: that of all errors, and besides what `tritonclient.http` reads."""
    return orjson.dumps({"error": status.message, **error_fields(status)})


def invalid(place: str, text: str) -> InvalidInferRequest:
    """A refusal that names the place in the request."""
    return InvalidInferRequest(f"{place}: {text}", field_violations=[(place, text)])
