"""The access log: one JSON object a request, with the ids that lead to its trace, and without anything secret."""

from __future__ import annotations

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.extensions.access_loggers.file.v3 import file_pb2
from google.protobuf import struct_pb2

from gateway.filters import SUBJECT_HEADER
from gateway.settings import GatewaySettings
from gateway.typed import any_of

# Query strings are left out: people put tokens into them.
_FIELDS = {
    "time": "%START_TIME(%Y-%m-%dT%H:%M:%S.%6fZ)%",
    "kind": "access",
    "trace_id": "%TRACE_ID%",
    "span_id": "%SPAN_ID%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "subject": f"%REQ({SUBJECT_HEADER})%",
    "peer": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    "method": "%REQ(X-ENVOY-ORIGINAL-METHOD?:METHOD)%",
    "path": "%PATH(NQ:ORIG_OR_PATH)%",
    "route": "%ROUTE_NAME%",
    "rate_class": "%METADATA(ROUTE:mlmesh:rate_class)%",
    "protocol": "%PROTOCOL%",
    "status": "%RESPONSE_CODE%",
    "grpc_status": "%GRPC_STATUS(SNAKE_STRING)%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "flags": "%RESPONSE_FLAGS%",
    "received_bytes": "%BYTES_RECEIVED%",
    "sent_bytes": "%BYTES_SENT%",
    "duration_ms": "%DURATION%",
    "upstream_ms": "%RESPONSE_DURATION%",
    "upstream_cluster": "%UPSTREAM_CLUSTER%",
    "upstream": "%UPSTREAM_HOST%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "user_agent": "%REQ(USER-AGENT):256%",
}


def access_log(settings: GatewaySettings) -> list[accesslog_pb2.AccessLog]:
    """Returns the access log, or none where `access_log` is empty."""
    if not settings.access_log:
        return []
    fields = struct_pb2.Struct()
    fields.update(_FIELDS)
    log = file_pb2.FileAccessLog(path=settings.access_log)
    log.log_format.json_format.CopyFrom(fields)
    log.log_format.omit_empty_values = False
    return [accesslog_pb2.AccessLog(name="envoy.access_loggers.file", typed_config=any_of(log))]
