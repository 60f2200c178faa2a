"""The contract of the model registry: convert, call, convert."""

# ruff: noqa: D102 - method names and their documentation are the contract's

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.api.httpbody_pb2 import HttpBody
from google.protobuf.empty_pb2 import Empty
from mlops.registry.v1 import model_pb2
from mlops.registry.v1 import registry_service_pb2 as pb
from mlops.registry.v1.registry_service_pb2_grpc import ModelRegistryServiceServicer

from model_management.catalog import ModelCatalog
from servers.registry import converters
from servers.registry.artifacts import Artifacts
from servers.registry.transfers import Transfers
from servers.runtime.auth import current_principal, current_project
from servers.runtime.field_masks import updated_fields
from servers.runtime.streams import with_end

_MODEL_FIXED = ("aliases", "latest_version", "version_count", "create_time", "update_time", "delete_time", "creator")
_MODEL_IDENTITY = ("name", "project", "etag")
_VERSION_CHANGEABLE = frozenset({"description", "tags", "metrics", "parameters", "model_card"})
_VERSION_IDENTITY = ("model", "version", "project", "etag")


class RegistryServicer(ModelRegistryServiceServicer):
    """Serves `mlops.registry.v1.ModelRegistryService`.

    Args:
        catalog: Models, versions and their files.
        artifacts: Files as plain HTTP clients send and fetch them.
        transfers: Blobs on their way.
    """

    def __init__(self, catalog: ModelCatalog, artifacts: Artifacts, transfers: Transfers) -> None:
        self._catalog = catalog
        self._metadata = catalog.metadata
        self._artifacts = artifacts
        self._transfers = transfers

    def CreateModel(self, request: pb.CreateModelRequest, context: Any) -> model_pb2.Model:
        model = request.model
        new = converters.new_model_from_proto(model)
        created = self._metadata.create_model(
            current_project(), model.name, new, creator=current_principal().display_name, request_id=request.request_id or None
        )
        return converters.model_to_proto(created)

    def GetModel(self, request: pb.GetModelRequest, context: Any) -> model_pb2.Model:
        return converters.model_to_proto(self._metadata.get_model(current_project(), request.name))

    def ListModels(self, request: pb.ListModelsRequest, context: Any) -> pb.ListModelsResponse:
        page = self._metadata.list_models(converters.query_from_proto(request, current_project()))
        return pb.ListModelsResponse(models=map(converters.model_to_proto, page.items), next_page_token=page.next_page_token)

    def UpdateModel(self, request: pb.UpdateModelRequest, context: Any) -> model_pb2.Model:
        model = request.model
        paths = updated_fields(request.update_mask, model, immutable=_MODEL_FIXED, identity=_MODEL_IDENTITY)
        changes = converters.model_changes_from_proto(model, paths)
        return converters.model_to_proto(self._metadata.update_model(current_project(), model.name, changes, etag=model.etag))

    def DeleteModel(self, request: pb.DeleteModelRequest, context: Any) -> Empty:
        self._metadata.delete_model(current_project(), request.name, etag=request.etag)
        return Empty()

    def RestoreModel(self, request: pb.RestoreModelRequest, context: Any) -> model_pb2.Model:
        return converters.model_to_proto(self._metadata.restore_model(current_project(), request.name))

    def CreateModelVersion(self, request: pb.CreateModelVersionRequest, context: Any) -> model_pb2.ModelVersion:
        created = self._catalog.register_version(
            current_project(),
            request.model,
            converters.new_version_from_proto(request.version),
            create_model=request.create_model,
            creator=current_principal().display_name,
            request_id=request.request_id or None,
        )
        return converters.version_to_proto(created)

    def GetModelVersion(self, request: pb.GetModelVersionRequest, context: Any) -> model_pb2.ModelVersion:
        return converters.version_to_proto(self._metadata.get_version(current_project(), request.model, request.version))

    def ResolveModelVersion(self, request: pb.ResolveModelVersionRequest, context: Any) -> model_pb2.ModelVersion:
        stage = converters.stage_from_proto(request.stage) if request.stage else None
        resolved = self._metadata.resolve_version(
            current_project(), request.model, version=request.version or None, alias=request.alias or None, stage=stage
        )
        return converters.version_to_proto(resolved)

    def ListModelVersions(self, request: pb.ListModelVersionsRequest, context: Any) -> pb.ListModelVersionsResponse:
        self._metadata.get_model(current_project(), request.model, include_deleted=request.show_deleted)
        page = self._metadata.list_versions(converters.query_from_proto(request, current_project(), model=request.model))
        return pb.ListModelVersionsResponse(versions=map(converters.version_to_proto, page.items), next_page_token=page.next_page_token)

    def UpdateModelVersion(self, request: pb.UpdateModelVersionRequest, context: Any) -> model_pb2.ModelVersion:
        version = request.version
        fixed = [field.name for field in version.DESCRIPTOR.fields if field.name not in _VERSION_CHANGEABLE | {*_VERSION_IDENTITY}]
        paths = updated_fields(request.update_mask, version, immutable=fixed, identity=_VERSION_IDENTITY)
        changes = converters.version_changes_from_proto(version, paths)
        updated = self._metadata.update_version(current_project(), version.model, version.version, changes, etag=version.etag)
        return converters.version_to_proto(updated)

    def DeleteModelVersion(self, request: pb.DeleteModelVersionRequest, context: Any) -> Empty:
        self._metadata.delete_version(current_project(), request.model, request.version, etag=request.etag)
        return Empty()

    def RestoreModelVersion(self, request: pb.RestoreModelVersionRequest, context: Any) -> model_pb2.ModelVersion:
        return converters.version_to_proto(self._metadata.restore_version(current_project(), request.model, request.version))

    def FinalizeModelVersion(self, request: pb.FinalizeModelVersionRequest, context: Any) -> model_pb2.ModelVersion:
        return converters.version_to_proto(self._catalog.finalize_version(current_project(), request.model, request.version))

    def UploadArtifact(self, request_iterator: Iterator[pb.UploadArtifactRequest], context: Any) -> model_pb2.ModelFile:
        target, chunks = converters.artifact_upload_from_proto(request_iterator)
        return converters.file_to_proto(self._artifacts.add_file(current_project(), target.model, target.version, target.path, chunks))

    def DownloadArtifact(self, request: pb.DownloadArtifactRequest, context: Any) -> Iterator[HttpBody]:
        download = self._artifacts.download(current_project(), request.model, request.version, request.path)
        return (HttpBody(content_type=download.media_type, data=chunk) for chunk in download.chunks)

    def CheckBlobs(self, request: pb.CheckBlobsRequest, context: Any) -> pb.CheckBlobsResponse:
        return pb.CheckBlobsResponse(missing_digests=self._transfers.missing(request.digests))

    def BeginUpload(self, request: pb.BeginUploadRequest, context: Any) -> pb.Upload:
        return converters.upload_to_proto(self._transfers.begin(request.digest, request.size_bytes, request.upload_id))

    def UploadBlob(self, request_iterator: Iterator[pb.UploadBlobRequest], context: Any) -> pb.Upload:
        target, chunks = converters.blob_upload_from_proto(request_iterator)
        return converters.upload_to_proto(self._transfers.append(target.upload_id, target.offset_bytes, chunks))

    def DownloadBlob(self, request: pb.DownloadBlobRequest, context: Any) -> Iterator[pb.DownloadBlobResponse]:
        chunks = self._transfers.download(
            current_project(), request.digest, request.offset_bytes, is_verified_by_caller=request.verified_by_caller
        )
        return with_end((pb.DownloadBlobResponse(data=chunk) for chunk in chunks), pb.DownloadBlobResponse)

    def SetAlias(self, request: pb.SetAliasRequest, context: Any) -> model_pb2.Model:
        model = self._metadata.set_alias(current_project(), request.model, request.alias, request.version, etag=request.etag)
        return converters.model_to_proto(model)

    def DeleteAlias(self, request: pb.DeleteAliasRequest, context: Any) -> model_pb2.Model:
        return converters.model_to_proto(self._metadata.delete_alias(current_project(), request.model, request.alias))

    def SetModelStage(self, request: pb.SetModelStageRequest, context: Any) -> model_pb2.ModelVersion:
        stage = converters.stage_from_proto(request.stage)
        moved = self._metadata.set_stage(
            current_project(), request.model, request.version, stage, archive_others=request.archive_others, etag=request.etag
        )
        return converters.version_to_proto(moved)

    def GetModelVersionLineage(self, request: pb.GetModelVersionLineageRequest, context: Any) -> pb.ModelVersionLineage:
        return converters.lineage_graph_to_proto(self._metadata.lineage(current_project(), request.model, request.version))

    def VerifyModelVersion(self, request: pb.VerifyModelVersionRequest, context: Any) -> pb.VerifyModelVersionResponse:
        version = self._metadata.get_version(current_project(), request.model, request.version)
        return converters.verification_to_proto(self._catalog.verify_version(version))

    def SearchModelVersions(self, request: pb.SearchModelVersionsRequest, context: Any) -> pb.SearchModelVersionsResponse:
        page = self._metadata.list_versions(converters.query_from_proto(request, current_project()))
        return pb.SearchModelVersionsResponse(versions=map(converters.version_to_proto, page.items), next_page_token=page.next_page_token)

    def CompareModelVersions(self, request: pb.CompareModelVersionsRequest, context: Any) -> pb.CompareModelVersionsResponse:
        comparison = self._catalog.compare_versions(
            current_project(), request.model, request.version, request.other_model, request.other_version
        )
        return converters.comparison_to_proto(comparison)

    def GetModelStatistics(self, request: pb.GetModelStatisticsRequest, context: Any) -> pb.ModelStatistics:
        return converters.statistics_to_proto(self._metadata.get_statistics(current_project()))

    def CollectGarbage(self, request: pb.CollectGarbageRequest, context: Any) -> pb.CollectGarbageResponse:
        return converters.garbage_to_proto(self._catalog.collect_garbage(dry_run=request.validate_only))
