"""Bodies that no message describes: what `google.api.HttpBody` carries, method by method.

A method with such a body must be in the table; the generator refuses it otherwise, so none goes undocumented.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tools.contracts.openapi import feast, open_inference
from tools.contracts.openapi.constraints import Schema

HTTP_BODY = "google.api.HttpBody"

Content = Mapping[str, Schema]
"""Schema by content type; an empty one says nothing about the bytes."""

_BYTES: Schema = {"type": "string", "format": "binary"}


@dataclass(frozen=True)
class RawBodies:
    """What a method's HttpBody carries, either way.

    Attributes:
        request: Content of the request body; empty where that is a message.
        response: Content of the answer; empty where that is a message.
    """

    request: Content = field(default_factory=dict)
    response: Content = field(default_factory=dict)


_TENSOR: Schema = {
    "type": "object",
    "required": ["name", "datatype", "shape", "data"],
    "properties": {
        "name": {"type": "string", "description": "Name of the input."},
        "datatype": {
            "type": "string",
            "enum": [
                "BOOL",
                "UINT8",
                "UINT16",
                "UINT32",
                "UINT64",
                "INT8",
                "INT16",
                "INT32",
                "INT64",
                "FP16",
                "FP32",
                "FP64",
                "BF16",
                "BYTES",
            ],
            "description": "Element type, by the names of the Open Inference Protocol.",
        },
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}, "maxItems": 32, "description": "Extent of each dimension."},
        "data": {"type": "array", "description": "The elements, nested or flat, in row-major order."},
    },
}

_PREDICT_REQUEST: Schema = {
    "type": "object",
    "description": "Exactly one of `instances`, `inputs` and `tensors`. A mistake is answered with the name of the tensor.",
    "oneOf": [{"required": ["instances"]}, {"required": ["inputs"]}, {"required": ["tensors"]}],
    "additionalProperties": False,  # parsed by serving, not by the transcoder: an unknown field is refused
    "properties": {
        "instances": {
            "type": "array",
            "minItems": 1,
            "description": "Rows: of the only input, or objects keyed by input name.",
            "items": {"type": ["array", "object", "number", "string", "boolean"]},
            "examples": [[[5.1, 3.5, 1.4, 0.2]]],
        },
        "inputs": {
            "type": "object",
            "minProperties": 1,
            "description": "Nested lists by input name.",
            "additionalProperties": {"type": ["array", "number", "string", "boolean"]},
            "examples": [{"features": [[5.1, 3.5, 1.4, 0.2]]}],
        },
        "tensors": {"type": "array", "minItems": 1, "description": "Tensors with their types.", "items": _TENSOR},
        "output_names": {"type": "array", "items": {"type": "string"}, "description": "Outputs wanted; without it all."},
        "model": {"type": "string", "maxLength": 255, "description": "Name of the model, where the path does not name it."},
        "version": {"type": "integer", "minimum": 1, "description": "Version of the model."},
        "alias": {"type": "string", "maxLength": 255, "description": "Alias of the version, for example `champion`."},
        "stage": {"type": "string", "maxLength": 63, "description": "Stage; the newest version in it answers."},
    },
}

_PREDICT_RESPONSE: Schema = {
    "type": "object",
    "required": ["predictions", "model", "prediction_id"],
    "properties": {
        "predictions": {"type": "array", "description": "One a row; objects keyed by output name where the model has several outputs."},
        "model": {
            "type": "object",
            "description": "The version that answered.",
            "required": ["name", "version", "digest"],
            "properties": {
                "name": {"type": "string"},
                "version": {"type": "integer", "minimum": 1},
                "digest": {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"},
            },
        },
        "prediction_id": {"type": "string", "format": "uuid", "description": "Ground truth that comes later joins by it."},
    },
}

_JWKS: Schema = {
    "type": "object",
    "description": "JSON Web Key Set, RFC 7517.",
    "required": ["keys"],
    "properties": {
        "keys": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["kty", "kid", "alg", "use", "n", "e"],
                "properties": {name: {"type": "string"} for name in ("kty", "kid", "alg", "use", "n", "e")},
            },
        }
    },
}

_PREVIEW: Schema = {
    "type": "object",
    "required": ["version", "columns", "rows"],
    "properties": {
        "version": {"type": "integer"},
        "columns": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name", "type"],
                "properties": {"name": {"type": "string"}, "type": {"type": "string"}},
            },
        },
        "rows": {"type": "array", "items": {"type": "object", "additionalProperties": True}},
    },
}

RAW_BODIES: Mapping[str, RawBodies] = {
    f"{feast.SERVICE}.GetOnlineFeatures": RawBodies(
        request={"application/json": feast.GET_REQUEST}, response={"application/json": feast.GET_RESPONSE}
    ),
    f"{feast.SERVICE}.Push": RawBodies(request={"application/json": feast.PUSH_REQUEST}, response={"application/json": feast.NOTHING}),
    f"{feast.SERVICE}.WriteToOnlineStore": RawBodies(
        request={"application/json": feast.WRITE_REQUEST}, response={"application/json": feast.NOTHING}
    ),
    "mlops.ingestion.v1.DataIngestionService.PreviewDataset": RawBodies(response={"application/json": _PREVIEW}),
    "mlops.ingestion.v1.DataUploadService.AppendDataUpload": RawBodies(request={"application/octet-stream": _BYTES}),
    **{
        f"mlops.ingestion.v1.DatasetProfileService.Render{what}": RawBodies(response={"text/html": {"type": "string"}})
        for what in ("DatasetProfile", "Ingestion", "Validation")
    },
    "mlops.registry.v1.ModelRegistryService.UploadArtifact": RawBodies(request={"application/octet-stream": _BYTES}),
    "mlops.registry.v1.ModelRegistryService.UploadBlob": RawBodies(request={"application/octet-stream": _BYTES}),
    "mlops.registry.v1.ModelRegistryService.DownloadArtifact": RawBodies(
        response={"application/octet-stream": _BYTES, "application/x-tar": _BYTES}
    ),
    "mlops.serving.v1.ModelServingService.PredictJson": RawBodies(
        request={"application/json": _PREDICT_REQUEST}, response={"application/json": _PREDICT_RESPONSE}
    ),
    **{
        f"{open_inference.SERVICE}.{method}": RawBodies(response={"application/json": schema})
        for method, schema in {
            "ServerLive": open_inference.EMPTY,
            "ServerReady": open_inference.EMPTY,
            "ServerMetadata": open_inference.SERVER,
            "ModelReady": open_inference.EMPTY,
            "ModelMetadata": open_inference.MODEL,
            "ModelConfig": open_inference.CONFIG,
            "ModelStatistics": open_inference.STATISTICS,
        }.items()
    },
    f"{open_inference.SERVICE}.ModelInfer": RawBodies(
        request={"application/json": open_inference.INFER_REQUEST, "application/octet-stream": _BYTES},
        response={"application/json": open_inference.INFER_RESPONSE, "application/octet-stream": _BYTES},
    ),
    f"{open_inference.SERVICE}.RepositoryIndex": RawBodies(
        request={"application/json": open_inference.INDEX_REQUEST}, response={"application/json": open_inference.INDEX_RESPONSE}
    ),
    **{
        f"{open_inference.SERVICE}.RepositoryModel{verb}": RawBodies(
            request={"application/json": open_inference.REPOSITORY_REQUEST}, response={"application/json": open_inference.EMPTY}
        )
        for verb in ("Load", "Unload")
    },
    "mlops.system.v1.SystemMonitorService.GetMetrics": RawBodies(response={"text/plain": {"type": "string"}}),
    "mlops.users.v1.UserService.GetJwks": RawBodies(response={"application/json": _JWKS}),
}

# OAuth2 clients send forms (RFC 6749, section 4); the gateway turns them into the JSON of the contract.
ALSO_AS_FORM = frozenset({"mlops.users.v1.UserService.ExchangeToken"})


class UndescribedBody(LookupError):
    """A method carries an HttpBody that the table says nothing about."""


def raw_request(method: str) -> Content:
    """Returns what the HttpBody in a method's request carries.

    Raises:
        UndescribedBody: The table does not say.
    """
    return _described(method, RAW_BODIES.get(method, RawBodies()).request, "request")


def raw_response(method: str) -> Content:
    """Returns what the HttpBody that a method answers with carries.

    Raises:
        UndescribedBody: The table does not say.
    """
    return _described(method, RAW_BODIES.get(method, RawBodies()).response, "response")


def _described(method: str, content: Content, side: str) -> Content:
    if not content:
        raise UndescribedBody(f"{method}: its {side} is an HttpBody; add its content types to RAW_BODIES in {__name__}")
    return content
