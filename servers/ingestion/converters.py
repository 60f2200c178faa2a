"""Between the contract of data ingestion and what the domain and the data processes take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit

import orjson
from google.protobuf import json_format
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.struct_pb2 import Struct, Value
from google.rpc import code_pb2, error_details_pb2, status_pb2
from mlops.common.v1.job_pb2 import JobState
from mlops.ingestion.v1 import dataset_pb2, ingestion_pb2, validation_pb2
from mlops.ingestion.v1 import ingestion_service_pb2 as pb
from mlops.ingestion.v1.quarantine_service_pb2 import ReplayQuarantinedRowsRequest

from servers.ingestion.errors import NumberNotJson
from servers.ingestion.inputs import Input
from servers.ingestion.records import Dataset, DatasetVersion, Ingestion
from servers.runtime.errors import ERROR_DOMAIN
from servers.runtime.paging import Listing, page_size
from servers.runtime.timestamps import timestamp

_FORMAT_PREFIX = "FILE_FORMAT_"
_MODE_PREFIX = "WRITE_MODE_"
_CONTRACT_PREFIX = "CONTRACT_MODE_"
_STATE_PREFIX = "JOB_STATE_"
_SEVERITY_PREFIX = "SEVERITY_"
_STATUS_PREFIX = "VALIDATION_STATUS_"
_ROWS_NAME = "rows.ndjson"
_LARGEST_EXACT = 2**53


class GivenSource(NamedTuple):
    """Where data come from.

    Args:
        described: The source as a data process takes it; of data in the request, only their name.
        given: The data, where the request has them.
        shown: What callers are told of it.
        format: Its format, where that is known without looking.
        upload_id: The upload that they are; empty where they are none.
    """

    described: Mapping[str, Any]
    given: Input | None
    shown: str
    format: str = ""
    upload_id: str = ""


class _ListRequest(Protocol):
    page_size: int
    page_token: str


def source_from_proto(source: ingestion_pb2.Source) -> GivenSource:
    """Reads where data come from."""
    match source.WhichOneof("from"):
        case "file":
            # Databases keep no NUL.
            name = source.file.name.replace("\0", "\N{SYMBOL FOR NULL}") or "data"
            return GivenSource({"kind": "given", "name": name}, Input(source.file.data, name), name)
        case "rows":
            return GivenSource({"kind": "given", "name": _ROWS_NAME}, Input(rows_from_proto(source.rows), _ROWS_NAME), "rows", "NDJSON")
        case _:
            return GivenSource({"kind": "uri", "uri": source.uri}, None, _without_secrets(source.uri))


def rows_from_proto(rows: ingestion_pb2.InlineRows) -> bytes:
    """Reads rows as NDJSON."""
    return b"".join(orjson.dumps(_plain(row), option=orjson.OPT_APPEND_NEWLINE) for row in rows.rows)


def read_options_from_proto(read: ingestion_pb2.ReadOptions, source: GivenSource) -> dict[str, Any]:
    """Reads how a file is read; what is left out is left out."""
    found: dict[str, Any] = {
        name: getattr(read, name) for name in ("delimiter", "quote", "encoding", "skip_rows", "sheet", "json_path") if getattr(read, name)
    }
    if read.format:
        found["format"] = ingestion_pb2.FileFormat.Name(read.format).removeprefix(_FORMAT_PREFIX)
    elif source.format:
        found["format"] = source.format
    if read.HasField("has_header"):
        found["has_header"] = read.has_header
    if read.null_values:
        found["null_values"] = list(read.null_values)
    if read.column_types:
        found["column_types"] = dict(read.column_types)
    return found


def write_from_proto(request: pb.IngestDataRequest | ReplayQuarantinedRowsRequest) -> dict[str, Any]:
    """Reads how data are written, and what they have to meet."""
    return {
        "mode": mode_from_proto(request.mode),
        "keys": list(request.keys),
        "contract": contract_from_proto(request.schema_contract),
        "gate": _gate(request.gate) if request.HasField("gate") else None,
    }


def contract_from_proto(contract: ingestion_pb2.SchemaContract) -> dict[str, str]:
    """Reads what may change of a dataset; what is left out is left out."""
    stated = {name: mode for name in ("tables", "columns", "types") if (mode := getattr(contract, name))}
    return {name: _contract_mode(mode) for name, mode in stated.items()}


def mode_from_proto(mode: ingestion_pb2.WriteMode.ValueType) -> str:
    """Reads what becomes of the rows that a dataset has; unspecified is APPEND."""
    return ingestion_pb2.WriteMode.Name(mode or ingestion_pb2.WRITE_MODE_APPEND).removeprefix(_MODE_PREFIX)


def listing_from_proto(request: _ListRequest) -> Listing:
    """Reads which part of a list is wanted."""
    return Listing(page_size(request.page_size), request.page_token, getattr(request, "filter", ""), getattr(request, "order_by", ""))


def suite_from_proto(suite: Struct) -> dict[str, Any]:
    """Reads a suite of expectations."""
    return _plain(suite)


def json_from_proto(value: Struct) -> dict[str, Any]:
    """Reads an object of JSON."""
    return _plain(value)


def suite_to_proto(suite: Mapping[str, Any]) -> Struct:
    """Gives a suite of expectations as the contract has it."""
    return json_format.ParseDict(dict(suite), Struct())


def ingestion_to_proto(ingestion: Ingestion) -> ingestion_pb2.Ingestion:
    """Gives an ingestion as the contract has it."""
    outcome: Mapping[str, Any] = ingestion.outcome or {}
    written, updated = outcome.get("rows_written", 0), outcome.get("rows_updated", 0)
    message = ingestion_pb2.Ingestion(
        id=ingestion.id,
        project=ingestion.project,
        dataset=ingestion.dataset,
        source=ingestion.source,
        mode=ingestion_pb2.WriteMode.Value(_MODE_PREFIX + ingestion.mode),
        state=JobState.Value(_STATE_PREFIX + ingestion.state),
        error=_error(ingestion),
        rows_read=outcome.get("rows_read", ingestion.rows_read),
        rows_added=written - updated,
        rows_updated=updated,
        rows_rejected=outcome.get("rows_rejected", 0),
        rows_quarantined=outcome.get("rows_quarantined", 0),
        rejected=[rejected_to_proto(row) for row in outcome.get("rejected", ())],
        schema_changes=outcome.get("schema_changes", ()),
        warnings=outcome.get("warnings", ()),
        affected=[ingestion_pb2.AffectedConsumer(**consumer) for consumer in outcome.get("affected", ())],
        creator=ingestion.creator,
        create_time=timestamp(ingestion.create_time),
        start_time=timestamp(ingestion.start_time),
        end_time=timestamp(ingestion.end_time),
    )
    if (version := outcome.get("version")) is not None:
        message.version = version
    if (report := outcome.get("validation")) is not None:
        message.validation.CopyFrom(report_to_proto(report))
    return message


def dataset_to_proto(dataset: Dataset, tables_url: str) -> dataset_pb2.Dataset:
    """Gives a dataset as the contract has it.

    Args:
        dataset: The dataset.
        tables_url: Where all tables are.
    """
    return dataset_pb2.Dataset(
        name=dataset.name,
        project=dataset.project,
        version=dataset.version,
        columns=[dataset_pb2.Column(name=name, type=arrow_type) for name, arrow_type in dataset.columns],
        row_count=dataset.row_count,
        size_bytes=dataset.size_bytes,
        create_time=timestamp(dataset.create_time),
        update_time=timestamp(dataset.update_time),
        uri=f"{tables_url.rstrip('/')}/{dataset.project}/{dataset.name}",
    )


def dataset_version_to_proto(version: DatasetVersion) -> dataset_pb2.DatasetVersion:
    """Gives a version of a dataset as the contract has it."""
    return dataset_pb2.DatasetVersion(
        version=version.version,
        create_time=timestamp(version.create_time),
        operation=version.operation,
        ingestion_id=version.ingestion_id,
    )


def report_to_proto(report: Mapping[str, Any]) -> validation_pb2.ValidationReport:
    """Gives what a suite found as the contract has it."""
    return validation_pb2.ValidationReport(
        suite_name=report["suite_name"],
        status=validation_pb2.ValidationStatus.Value(_STATUS_PREFIX + report["status"]),
        row_count=report["row_count"],
        successful_count=report["successful_count"],
        results=[_result(result) for result in report["results"]],
    )


def _gate(gate: ingestion_pb2.ExpectationGate) -> dict[str, Any]:
    return {"suite": _plain(gate.suite), "mode": _contract_mode(gate.mode or ingestion_pb2.CONTRACT_MODE_FREEZE)}


def _contract_mode(mode: ingestion_pb2.ContractMode.ValueType) -> str:
    return ingestion_pb2.ContractMode.Name(mode).removeprefix(_CONTRACT_PREFIX)


def _result(result: Mapping[str, Any]) -> validation_pb2.ExpectationResult:
    return validation_pb2.ExpectationResult(
        type=result["type"],
        kwargs=json_format.ParseDict(result["kwargs"], Struct()),
        severity=validation_pb2.Severity.Value(_SEVERITY_PREFIX + result["severity"]),
        success=result["success"],
        observed_value=_value(result["observed_value"]),
        **{name: result[name] for name in ("element_count", "missing_count", "unexpected_count") if result[name] is not None},
        unexpected_rows=[
            validation_pb2.UnexpectedRow(row=row["row"], column=row["column"], value=json_format.ParseDict(row["value"], Value()))
            for row in result["unexpected_rows"]
        ],
        reason=result["reason"],
        message=result["message"],
    )


def _value(value: Any) -> Value | None:
    return None if value is None else json_format.ParseDict(value, Value())


def rejected_to_proto(row: Mapping[str, Any]) -> ingestion_pb2.RejectedRow:
    """Gives a row that was left out as the contract has it."""
    return ingestion_pb2.RejectedRow(row=row["row"], column=row["column"], value=row["value"] or "", reason=row["reason"])


def _error(ingestion: Ingestion) -> status_pb2.Status | None:
    if not ingestion.error_reason:
        return None
    outcome: Mapping[str, Any] = ingestion.outcome or {}
    packed = AnyMessage()
    packed.Pack(error_details_pb2.ErrorInfo(reason=ingestion.error_reason, domain=ERROR_DOMAIN, metadata=outcome.get("error_metadata", {})))
    # Nobody raised the others: a worker was lost, or failed in a way that nobody foresaw.
    return status_pb2.Status(code=outcome.get("error_code", code_pb2.INTERNAL), message=ingestion.error_message, details=[packed])


def _plain(struct: Struct) -> dict[str, Any]:
    """A struct as JSON. All of its numbers are floats; one without a fraction is an integer to whoever reads it."""
    try:
        found: dict[str, Any] = json_format.MessageToDict(struct)
    except ValueError:
        raise NumberNotJson("NaN and infinities are no numbers of JSON; send null instead") from None
    return {key: _whole(value) for key, value in found.items()}


def _whole(value: Any) -> Any:
    if isinstance(value, float) and abs(value) <= _LARGEST_EXACT and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _whole(entry) for key, entry in value.items()}
    return [_whole(entry) for entry in value] if isinstance(value, list) else value


def _without_secrets(uri: str) -> str:
    try:
        parts = urlsplit(uri)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
    except ValueError:
        return uri.partition(":")[0]
