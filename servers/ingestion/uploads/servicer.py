"""The contract of uploads: convert, call, convert."""

# ruff: noqa: D102 - method names and their documentation are the contract's

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf.empty_pb2 import Empty
from mlops.ingestion.v1 import upload_service_pb2 as pb
from mlops.ingestion.v1.upload_service_pb2_grpc import DataUploadServiceServicer

from servers.ingestion.uploads import converters
from servers.ingestion.uploads.uploading import Uploading
from servers.runtime.auth import current_project


class UploadServicer(DataUploadServiceServicer):
    """Serves `mlops.ingestion.v1.DataUploadService`.

    Args:
        uploading: Takes files in pieces.
    """

    def __init__(self, uploading: Uploading) -> None:
        self._uploading = uploading

    def BeginDataUpload(self, request: pb.BeginDataUploadRequest, context: Any) -> pb.DataUpload:
        name = converters.name_from_proto(request.name)
        return converters.upload_to_proto(self._uploading.begin(current_project(), name, request.size_bytes))

    def GetDataUpload(self, request: pb.GetDataUploadRequest, context: Any) -> pb.DataUpload:
        return converters.upload_to_proto(self._uploading.get(current_project(), converters.upload_id_from_proto(request.id)))

    def AppendDataUpload(self, request_iterator: Iterator[pb.AppendDataUploadRequest], context: Any) -> pb.DataUpload:
        target, chunks = converters.pieces_from_proto(request_iterator)
        upload_id = converters.upload_id_from_proto(target.id)
        return converters.upload_to_proto(self._uploading.append(current_project(), upload_id, target.offset_bytes, chunks))

    def DeleteDataUpload(self, request: pb.DeleteDataUploadRequest, context: Any) -> Empty:
        self._uploading.delete(current_project(), converters.upload_id_from_proto(request.id))
        return Empty()
