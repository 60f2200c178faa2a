"""Schemas of the bodies of the Open Inference Protocol, which are fixed by others and described here for the reference."""

from __future__ import annotations

from tools.contracts.openapi.constraints import Schema

SERVICE = "mlops.serving.v1.OpenInferenceService"
"""The service whose bodies these are."""

ERROR: Schema = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string", "description": "What is wrong, for people."}},
}

_PARAMETERS: Schema = {"type": "object", "description": "Values by name. What is not known is passed over."}
_NAME: Schema = {"type": "string", "description": "Name of the input or output."}
_SHAPE: Schema = {"type": "array", "items": {"type": "integer"}, "maxItems": 32, "description": "Extent of each dimension."}
_DATATYPE: Schema = {"type": "string", "description": "Element type: BOOL, UINT8 to INT64, FP16, FP32, FP64, BF16 or BYTES."}
_DATA: Schema = {"type": "array", "description": "The elements, flat or nested, in row-major order. NaN and infinities as bare words."}
_TENSOR: Schema = {
    "type": "object",
    "required": ["name", "datatype", "shape"],
    "properties": {"name": _NAME, "datatype": _DATATYPE, "shape": _SHAPE, "parameters": _PARAMETERS, "data": _DATA},
}

EMPTY: Schema = {"type": "object", "maxProperties": 0, "description": "Nothing; the status is the answer."}

SERVER: Schema = {
    "type": "object",
    "required": ["name", "version", "extensions"],
    "properties": {
        "name": {"type": "string"},
        "version": {"type": "string"},
        "extensions": {"type": "array", "items": {"type": "string"}},
    },
}

MODEL: Schema = {
    "type": "object",
    "required": ["name", "versions", "platform", "inputs", "outputs"],
    "properties": {
        "name": {"type": "string"},
        "versions": {"type": "array", "items": {"type": "string"}},
        "platform": {"type": "string"},
        "inputs": {"type": "array", "items": _TENSOR},
        "outputs": {"type": "array", "items": _TENSOR},
    },
}

CONFIG: Schema = {"type": "object", "description": "Triton's `ModelConfig`: name, platform, backend, input, output and so on."}

STATISTICS: Schema = {
    "type": "object",
    "required": ["model_stats"],
    "properties": {
        "model_stats": {"type": "array", "items": {"type": "object"}, "description": "Triton's `ModelStatistics`, one a loaded version."}
    },
}

INFER_REQUEST: Schema = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": {"type": "string", "description": "Comes back in the answer."},
        "parameters": _PARAMETERS,
        "inputs": {"type": "array", "items": _TENSOR},
        "outputs": {
            "type": "array",
            "items": {"type": "object", "required": ["name"], "properties": {"name": _NAME, "parameters": _PARAMETERS}},
            "description": "Outputs wanted; without it all.",
        },
    },
}

INFER_RESPONSE: Schema = {
    "type": "object",
    "required": ["model_name", "model_version", "outputs"],
    "properties": {
        "model_name": {"type": "string"},
        "model_version": {"type": "string"},
        "id": {"type": "string", "description": "That of the request."},
        "parameters": {
            "type": "object",
            "description": "What answered, and the identifier by which ground truth joins later.",
            "properties": {"mlmesh_digest": {"type": "string"}, "mlmesh_prediction_id": {"type": "string", "format": "uuid"}},
        },
        "outputs": {"type": "array", "items": _TENSOR},
    },
}

INDEX_REQUEST: Schema = {
    "type": "object",
    "properties": {"ready": {"type": "boolean", "description": "Leave out what is not READY."}},
}

INDEX_RESPONSE: Schema = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["name", "version", "state", "reason"],
        "properties": {name: {"type": "string"} for name in ("name", "version", "state", "reason")},
    },
}

REPOSITORY_REQUEST: Schema = {"type": "object", "properties": {"parameters": _PARAMETERS}}
