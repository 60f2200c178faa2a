from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from mlmesh.datasets import Column, Dataset, DatasetVersion
from mlmesh.errors import IngestionFailed, InvalidArgument
from mlmesh.ingestion_options import ReadOptions, SchemaContract
from mlmesh.ingestions import Ingestion, IngestionError, RejectedRow, ingestion_value
from mlmesh.validation_reports import ExpectationResult, UnexpectedRow, ValidationReport, report_value
from mlops.common.v1 import job_pb2
from mlops.ingestion.v1 import dataset_pb2, ingestion_pb2, validation_pb2


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Ingestion, ingestion_pb2.Ingestion),
        (RejectedRow, ingestion_pb2.RejectedRow),
        (ReadOptions, ingestion_pb2.ReadOptions),
        (SchemaContract, ingestion_pb2.SchemaContract),
        (Column, dataset_pb2.Column),
        (Dataset, dataset_pb2.Dataset),
        (DatasetVersion, dataset_pb2.DatasetVersion),
        (ValidationReport, validation_pb2.ValidationReport),
        (ExpectationResult, validation_pb2.ExpectationResult),
        (UnexpectedRow, validation_pb2.UnexpectedRow),
    ],
    ids=lambda kind: kind.__name__,
)
def test_a_value_has_every_field_of_the_contract(value: type[Any], message: type[Message]) -> None:
    assert {field.name for field in fields(value)} == set(message.DESCRIPTOR.fields_by_name)


def detailed() -> status_pb2.Status:
    detail = any_pb2.Any()
    detail.Pack(error_details_pb2.ErrorInfo(reason="EMPTY_FILE", domain="mlmesh"))
    return status_pb2.Status(code=code_pb2.INVALID_ARGUMENT, message="a.csv: it has no header", details=[detail])


def test_a_failure_has_its_reason() -> None:
    failed = ingestion_value(ingestion_pb2.Ingestion(id="i", dataset="d", state=job_pb2.JOB_STATE_FAILED, error=detailed()))
    assert failed.error == IngestionError("INVALID_ARGUMENT", "EMPTY_FILE", "a.csv: it has no header")
    raised = IngestionFailed(failed)
    assert (raised.reason, raised.message) == ("EMPTY_FILE", "ingestion i into d failed: a.csv: it has no header")


@pytest.mark.parametrize(
    ("state", "is_done", "is_successful"),
    [
        ("QUEUED", False, False),
        ("RUNNING", False, False),
        ("CANCELLING", False, False),
        ("SUCCEEDED", True, True),
        ("FAILED", True, False),
        ("CANCELLED", True, False),
    ],
)
def test_an_ingestion_is_done_in_a_final_state(state: str, is_done: bool, is_successful: bool) -> None:
    ingestion = ingestion_value(ingestion_pb2.Ingestion(state=job_pb2.JobState.Value(f"JOB_STATE_{state}")))
    assert (ingestion.is_done, ingestion.is_successful) == (is_done, is_successful)


@pytest.mark.parametrize(("status", "is_usable"), [(1, True), (2, True), (3, False), (77, False)])
def test_data_are_usable_only_after_a_verdict_that_says_so(status: int, is_usable: bool) -> None:
    message = validation_pb2.ValidationReport()
    message.status = status  # type: ignore[assignment]
    assert report_value(message).is_usable is is_usable


@pytest.mark.parametrize("format", ["csv", "json", "ndjson", "parquet", "avro", "orc", "arrow", "excel"])
def test_every_format_has_a_name(format: str) -> None:
    assert ingestion_pb2.FileFormat.Name(ReadOptions(format=format).message().format) == f"FILE_FORMAT_{format.upper()}"


def test_a_format_or_a_mode_that_does_not_exist_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="'toml' is none of: csv, json"):
        ReadOptions(format="toml").message()
    with pytest.raises(InvalidArgument, match="'ignore' is none of: evolve, freeze, discard_row, discard_value"):
        SchemaContract(types="ignore").message()
