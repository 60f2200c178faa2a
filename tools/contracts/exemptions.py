"""Where a rule of the contracts does not hold, and why. Every exemption from a test in tests/contract is here, with its reason."""

from __future__ import annotations

from collections.abc import Mapping

_COUNTERS_ONLY = "changes counters only, thousands of times a second"
_OPEN_INFERENCE = "fixed by the Open Inference Protocol and what Triton adds to it"
_FEAST = "fixed by Feast's feature server; the project in the path is for clients that can send no header"
_ROWS_NOT_DEFINITIONS = "rows of features, thousands of times a second; those that are kept are audited as ingestions"
_INVISIBLE_BYTES = "bytes alone change nothing that anybody sees; what names them is audited"
_NAMES_COLUMN = "names a column that has times, and is none itself"
_FROM_THE_LOG = "read from the table's own log, which has the newest first"

MESSAGES_WITHOUT_FIELD_BEHAVIOR: Mapping[str, str] = {
    "mlops.common.v1.MethodPolicy": "an option, written in contracts and never sent; field_behavior is about requests and resources",
}

FIELDS_WITHOUT_UNIT: Mapping[str, str] = {
    "mlops.features.v1.ServedFeature.event_times": "one for each row",
    "mlops.features.v1.TimestampValues.values": "named as in the messages of the other types",
    "mlops.processing.v1.AsOfJoin.left_time": _NAMES_COLUMN,
    "mlops.processing.v1.AsOfJoin.right_time": _NAMES_COLUMN,
    "mlops.processing.v1.Top.offset": "counts rows, and is named as in SQL",
}

PATHS_OUTSIDE_API: Mapping[str, str] = {
    "/.well-known/jwks.json": "fixed by RFC 8615 and by what JWT libraries ask for",
    **{
        f"{project}/{call}": _FEAST
        for project in ("", "/feast/{project}")
        for call in ("get-online-features", "push", "write-to-online-store")
    },
    "/v2": _OPEN_INFERENCE,
    "/v2/health/live": _OPEN_INFERENCE,
    "/v2/health/ready": _OPEN_INFERENCE,
    "/v2/models/stats": _OPEN_INFERENCE,
    **{
        f"/v2/models/{{model}}{version}{call}": _OPEN_INFERENCE
        for version in ("", "/versions/{version}")
        for call in ("", "/ready", "/config", "/stats", "/infer")
    },
    "/v2/repository/index": _OPEN_INFERENCE,
    "/v2/repository/models/{model}/load": _OPEN_INFERENCE,
    "/v2/repository/models/{model}/unload": _OPEN_INFERENCE,
}

UNAUDITED_CHANGES: Mapping[str, str] = {
    "mlops.features.v1.FeastService.Push": _ROWS_NOT_DEFINITIONS,
    "mlops.features.v1.FeastService.WriteToOnlineStore": _ROWS_NOT_DEFINITIONS,
    "mlops.features.v1.FeatureServingService.PushFeatures": _ROWS_NOT_DEFINITIONS,
    "mlops.ingestion.v1.DataUploadService.AppendDataUpload": _INVISIBLE_BYTES,
    "mlops.registry.v1.ModelRegistryService.BeginUpload": _INVISIBLE_BYTES,
    "mlops.registry.v1.ModelRegistryService.UploadBlob": _INVISIBLE_BYTES,
    "mlops.serving.v1.ModelServingService.Predict": _COUNTERS_ONLY,
    "mlops.serving.v1.ModelServingService.PredictJson": _COUNTERS_ONLY,
    "mlops.serving.v1.OpenInferenceService.ModelInfer": _COUNTERS_ONLY,
    "mlops.users.v1.UserService.AppendAuditEvents": "is the audit log; auditing it would never end",
}

LISTS_WITHOUT_PAGES: Mapping[str, str] = {
    "mlops.users.v1.UserService.ListRevocations": "only sessions of the last 15 minutes, and a server needs all of them at once",
}

LISTS_IN_ONE_ORDER: Mapping[str, str] = {
    "mlops.ingestion.v1.DataIngestionService.ListDatasetVersions": _FROM_THE_LOG,
    "mlops.ingestion.v1.DatasetSchemaService.ListSchemaVersions": _FROM_THE_LOG,
}

MESSAGES_OF_STREAMS_WITHOUT_END: Mapping[str, str] = {
    "google.api.HttpBody": "raw bytes; the transport says when they end, and a broken one is a broken body",
}
