"""The ingestion service of the small mesh: it answers as it is told, and writes nothing."""

from __future__ import annotations

import json
from typing import Any

import grpc
from google.api import httpbody_pb2
from google.protobuf import any_pb2, empty_pb2
from google.protobuf.json_format import ParseDict
from google.rpc import code_pb2, error_details_pb2, status_pb2
from mlops.common.v1 import job_pb2
from mlops.ingestion.v1 import (
    dataset_pb2,
    ingestion_pb2,
    ingestion_service_pb2,
    ingestion_service_pb2_grpc,
    validation_pb2,
)

from tests.integration.client.small_mesh import PAGE, Scene, refuse

ID = "6f1f7f0e-38a2-4f0e-9c3b-0d8f5a2f9b11"
MOMENT = "2026-11-27T12:00:00Z"


def invalid_file() -> status_pb2.Status:
    detail = any_pb2.Any()
    detail.Pack(error_details_pb2.ErrorInfo(reason="RAGGED_ROW", domain="mlmesh"))
    return status_pb2.Status(code=code_pb2.INVALID_ARGUMENT, message="flights.csv, line 7: it has 3 cells, not 4", details=[detail])


def dataset(name: str = "flights", version: int = 3) -> dataset_pb2.Dataset:
    columns = [dataset_pb2.Column(name="id", type="int64"), dataset_pb2.Column(name="time", type="timestamp[us, tz=UTC]")]
    described = dataset_pb2.Dataset(name=name, project="default", version=version, columns=columns, row_count=7, size_bytes=2048)
    described.uri = f"file:///tables/default/{name}"
    described.create_time.FromJsonString(MOMENT)
    described.update_time.FromJsonString(MOMENT)
    return described


class SmallIngestion(ingestion_service_pb2_grpc.DataIngestionServiceServicer):
    """An ingestion goes through `states`, one a look, and stays in the last."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.states = ["SUCCEEDED"]
        self.error: status_pb2.Status | None = None
        self.verdict = "PASSED"

    def register(self, server: grpc.Server) -> None:
        ingestion_service_pb2_grpc.add_DataIngestionServiceServicer_to_server(self, server)

    def IngestData(self, request: Any, context: Any) -> Any:
        self.scene.enter(context, "IngestData", request)
        return self._ingestion(request.dataset)

    def GetIngestion(self, request: Any, context: Any) -> Any:
        self.scene.enter(context, "GetIngestion", request)
        if request.id != ID:
            refuse(context, code_pb2.NOT_FOUND, f"there is no ingestion {request.id}", "INGESTION_NOT_FOUND")
        return self._ingestion("flights")

    def ListIngestions(self, request: Any, context: Any) -> Any:
        self.scene.enter(context, "ListIngestions", request)
        start = int(request.page_token or 0)
        found = [ingestion_pb2.Ingestion(id=f"i{number}", state=job_pb2.JOB_STATE_FAILED) for number in range(5)][start : start + PAGE]
        following = str(start + PAGE) if start + PAGE < 5 else ""
        return ingestion_service_pb2.ListIngestionsResponse(ingestions=found, next_page_token=following)

    def CancelIngestion(self, request: Any, context: Any) -> Any:
        self.scene.enter(context, "CancelIngestion", request)
        return ingestion_pb2.Ingestion(id=request.id, state=job_pb2.JOB_STATE_CANCELLING)

    def ValidateData(self, request: Any, context: Any) -> Any:
        self.scene.enter(context, "ValidateData", request)
        expectation = request.suite["expectations"][0]
        result = {
            "type": expectation["type"],
            "kwargs": {"column": "delay", "min_value": 0, "max_value": 2.5},
            "severity": "SEVERITY_CRITICAL",
            "success": self.verdict == "PASSED",
            "element_count": 7,
            "missing_count": 0,
            "unexpected_count": 1,
            "unexpected_rows": [{"row": 4, "column": "delay", "value": -12}],
        }
        report = {
            "suite_name": request.suite["name"],
            "status": f"VALIDATION_STATUS_{self.verdict}",
            "row_count": 7,
            "successful_count": int(self.verdict == "PASSED"),
            "results": [result],
        }
        return ParseDict(report, validation_pb2.ValidationReport())

    def GetDataset(self, request: Any, context: Any) -> Any:
        self.scene.enter(context, "GetDataset", request)
        return dataset(request.name, request.version if request.HasField("version") else 3)

    def ListDatasets(self, request: Any, context: Any) -> Any:
        self.scene.enter(context, "ListDatasets", request)
        return ingestion_service_pb2.ListDatasetsResponse(datasets=[dataset("airports", 0), dataset()])

    def ListDatasetVersions(self, request: Any, context: Any) -> Any:
        self.scene.enter(context, "ListDatasetVersions", request)
        versions = [
            dataset_pb2.DatasetVersion(version=1, operation="MERGE", ingestion_id=ID),
            dataset_pb2.DatasetVersion(version=0, operation="WRITE"),
        ]
        return ingestion_service_pb2.ListDatasetVersionsResponse(versions=versions)

    def PreviewDataset(self, request: Any, context: Any) -> Any:
        self.scene.enter(context, "PreviewDataset", request)
        answer = {"version": 3, "columns": [{"name": "id", "type": "int64"}], "rows": [{"id": 9007199254740993}, {"id": None}]}
        return httpbody_pb2.HttpBody(content_type="application/json", data=json.dumps(answer).encode())

    def RollbackDataset(self, request: Any, context: Any) -> Any:
        self.scene.enter(context, "RollbackDataset", request)
        return dataset(request.name, 4)

    def CompactDataset(self, request: Any, context: Any) -> Any:
        self.scene.enter(context, "CompactDataset", request)
        return ingestion_service_pb2.CompactDatasetResponse(version=5, removed_file_count=40, added_file_count=1)

    def VacuumDataset(self, request: Any, context: Any) -> Any:
        self.scene.enter(context, "VacuumDataset", request)
        return ingestion_service_pb2.VacuumDatasetResponse(removed_file_count=40)

    def SuggestExpectations(self, request: Any, context: Any) -> Any:
        self.scene.enter(context, "SuggestExpectations", request)
        return ParseDict(
            {"suite": {"name": request.name, "expectations": [{"type": "expect_column_to_exist", "kwargs": {"column_index": 1}}]}},
            ingestion_service_pb2.SuggestExpectationsResponse(),
        )

    def DeleteDataset(self, request: Any, context: Any) -> Any:
        self.scene.enter(context, "DeleteDataset", request)
        return empty_pb2.Empty()

    def _ingestion(self, name: str) -> ingestion_pb2.Ingestion:
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        answer = ingestion_pb2.Ingestion(
            id=ID,
            project="default",
            dataset=name,
            source="flights.csv",
            mode=ingestion_pb2.WRITE_MODE_APPEND,
            state=job_pb2.JobState.Value(f"JOB_STATE_{state}"),
            rows_read=8,
            creator="ada",
        )
        answer.create_time.FromJsonString(MOMENT)
        if state == "SUCCEEDED":
            answer.version = 0
            answer.rows_added, answer.rows_updated, answer.rows_rejected = 6, 1, 1
            answer.rejected.add(row=7, column="delay", value="[late]", reason="it is no number")
            answer.schema_changes.append("column delay was added")
            answer.warnings.append("the delimiter was taken to be ;")
            answer.validation.suite_name, answer.validation.status = "strict", validation_pb2.VALIDATION_STATUS_WARNING
            answer.end_time.FromJsonString(MOMENT)
        if state == "FAILED":
            answer.error.CopyFrom(self.error or invalid_file())
        return answer
