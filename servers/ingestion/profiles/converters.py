"""Between the contract of profiles and what the data processes tell."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from google.api.httpbody_pb2 import HttpBody
from google.protobuf import json_format
from google.protobuf.struct_pb2 import Value
from mlops.ingestion.v1 import profile_service_pb2 as pb

from servers.ingestion.records import Ingestion

_PLAIN = ("name", "type", "null_count", "nan_count", "distinct_count", "mean", "standard_deviation", "mean_length")


def profile_to_proto(profile: Mapping[str, Any]) -> pb.DatasetProfile:
    """Gives a profile as the contract has it."""
    return pb.DatasetProfile(
        dataset=profile["dataset"],
        version=profile["version"],
        row_count=profile["row_count"],
        columns=[_column(column) for column in profile["columns"]],
    )


def page_to_proto(page: str) -> HttpBody:
    """Gives a page as the contract has it."""
    return HttpBody(content_type="text/html; charset=utf-8", data=page.encode())


def ingestion_object(ingestion: Ingestion) -> dict[str, Any]:
    """Describes an ingestion for its page."""
    outcome: Mapping[str, Any] = ingestion.outcome or {}
    updated = outcome.get("rows_updated", 0)
    return {
        **{name: getattr(ingestion, name) for name in ("id", "project", "dataset", "source", "mode", "creator")},
        **{name: getattr(ingestion, name) for name in ("error_reason", "error_message")},
        "state": str(ingestion.state),
        "version": outcome.get("version"),
        "rows_read": outcome.get("rows_read", ingestion.rows_read),
        "rows_added": outcome.get("rows_written", 0) - updated,
        "rows_updated": updated,
        "rows_rejected": outcome.get("rows_rejected", 0),
        **{name: list(outcome.get(name, ())) for name in ("rejected", "schema_changes", "warnings")},
        "validation": outcome.get("validation"),
        **{name: _moment(getattr(ingestion, name)) for name in ("create_time", "start_time", "end_time")},
    }


def _column(column: Mapping[str, Any]) -> pb.ColumnProfile:
    histogram = column["histogram"]
    return pb.ColumnProfile(
        **{name: column[name] for name in _PLAIN},
        quantiles=map(float, column["quantiles"]),
        minimum=_value(column["minimum"]),
        maximum=_value(column["maximum"]),
        histogram=None if histogram is None else pb.Histogram(edges=histogram["edges"], counts=histogram["counts"]),
        frequent_values=[pb.FrequentValue(value=_value(one["value"]), count=one["count"]) for one in column["frequent_values"]],
    )


def _value(value: Any) -> Value | None:
    return None if value is None else json_format.ParseDict(value, Value())


def _moment(value: datetime | None) -> str | None:
    return None if value is None else f"{value:%Y-%m-%d %H:%M:%S} UTC"
