"""Requests to check data, whatever is made of the report."""

from __future__ import annotations

from typing import Any

from mlops.ingestion.v1 import ingestion_service_pb2 as pb

from servers.ingestion import converters
from servers.ingestion.errors import NothingToValidate
from servers.ingestion.request_sources import RequestSources
from servers.ingestion.validating import Validating
from servers.runtime.auth import current_project
from servers.runtime.still_wanted import check_still_wanted

_DEFAULT_UNEXPECTED_ROWS = 20


def validated(request: pb.ValidateDataRequest, validating: Validating, sources: RequestSources, operation: str = "validate") -> Any:
    """Checks the data of a request.

    Args:
        request: Which, and against what.
        validating: Checks them.
        sources: Reads where data come from.
        operation: What is done with the report, as the data process calls it.

    Returns:
        What the operation does.

    Raises:
        NothingToValidate: Neither a dataset nor a source is named, or both are.
        OperationFailed: The suite is wrong, or the data cannot be read.
    """
    if bool(request.dataset) == request.HasField("source"):
        raise NothingToValidate
    arguments: dict[str, Any] = {
        "project": current_project(),
        "suite": converters.suite_from_proto(request.suite),
        "max_unexpected_rows": request.max_unexpected_rows if request.HasField("max_unexpected_rows") else _DEFAULT_UNEXPECTED_ROWS,
    }
    if request.dataset:
        version = request.version if request.HasField("version") else None
        return validating.dataset(arguments, request.dataset, version, check_still_wanted, operation)
    source = sources.given(request.source)
    arguments |= {"read": converters.read_options_from_proto(request.read, source), "subject": source.shown}
    return validating.source(arguments, source.described, source.given, check_still_wanted, operation)
