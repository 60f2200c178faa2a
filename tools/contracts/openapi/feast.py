"""Schemas of the bodies of Feast's feature server, which are fixed by others and described here for the reference."""

from __future__ import annotations

from tools.contracts.openapi.constraints import Schema
from tools.contracts.openapi.schemas import ERROR_REFERENCE

SERVICE = "mlops.features.v1.FeastService"
"""The service whose bodies these are."""

ERROR: Schema = {
    "anyOf": [
        {
            "type": "string",
            "description": "JSON in a text: `module`, `class` and `message` of Feast's exception, and besides the fields of all errors.",
        },
        # What the gateway refuses itself.
        ERROR_REFERENCE,
    ]
}

_COLUMNS: Schema = {"type": "object", "additionalProperties": {"type": "array"}, "description": "Values by column, each equally many."}

GET_REQUEST: Schema = {
    "type": "object",
    "required": ["entities"],
    "description": "`features` or `feature_service`.",
    "properties": {
        "features": {
            "type": "array",
            "items": {"type": "string"},
            "description": "References, each `view:feature` or `view@v2:feature`.",
            "examples": [["clicks:count"]],
        },
        "feature_service": {"type": ["string", "null"], "description": "Name of a feature service; its newest version answers."},
        "entities": {
            "type": "object",
            "additionalProperties": {"type": "array"},
            "description": "Values of the join keys, and of what on-demand features need, by name.",
            "examples": [{"user_id": [7, 8]}],
        },
        "full_feature_names": {"type": "boolean", "description": "Whether names are `view__feature`."},
        "include_feature_view_version_metadata": {"type": "boolean", "description": "Whether versions of views are told."},
    },
}

GET_RESPONSE: Schema = {
    "type": "object",
    "required": ["metadata", "results"],
    "properties": {
        "metadata": {
            "type": "object",
            "required": ["feature_names"],
            "properties": {
                "feature_names": {"type": "array", "items": {"type": "string"}, "description": "The join keys, then the features."},
                "feature_view_metadata": {
                    "type": "array",
                    "items": {"type": "object", "properties": {"name": {"type": "string"}, "version": {"type": "integer"}}},
                },
            },
        },
        "results": {
            "type": "array",
            "description": "One a name.",
            "items": {
                "type": "object",
                "required": ["values", "statuses", "event_timestamps"],
                "properties": {
                    "values": {"type": "array", "description": "One a row; null where it is not PRESENT."},
                    "statuses": {
                        "type": "array",
                        "items": {"type": "string", "enum": ["PRESENT", "NULL_VALUE", "NOT_FOUND", "OUTSIDE_MAX_AGE"]},
                    },
                    "event_timestamps": {"type": "array", "items": {"type": "string", "format": "date-time"}},
                },
            },
        },
    },
}

PUSH_REQUEST: Schema = {
    "type": "object",
    "required": ["push_source_name", "df"],
    "properties": {
        "push_source_name": {"type": "string", "description": "Label `feast_push_source` of views, or the name of a view."},
        "df": _COLUMNS,
        "to": {"type": "string", "enum": ["online", "offline", "online_and_offline"], "default": "online"},
    },
}

WRITE_REQUEST: Schema = {
    "type": "object",
    "required": ["feature_view_name", "df"],
    "properties": {"feature_view_name": {"type": "string", "description": "Name of a view."}, "df": _COLUMNS},
}

NOTHING: Schema = {"type": "null", "description": "Nothing; the status is the answer."}
