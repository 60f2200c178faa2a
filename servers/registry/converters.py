"""Between the registry's contract and the values of the model library, one pair of functions a message."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Protocol, TypeVar

from google.rpc import code_pb2, status_pb2
from mlops.common.v1 import tensor_pb2
from mlops.registry.v1 import model_pb2, registry_service_pb2

from model_management.catalog import Verification
from model_management.comparison import Comparison
from model_management.garbage import GarbageReport
from model_management.model import (
    DatasetReference,
    FileEntry,
    Lineage,
    LineageEdge,
    LineageGraph,
    ModelChanges,
    ModelVersion,
    NewModel,
    NewVersion,
    RegisteredModel,
    Stage,
    Statistics,
    VersionChanges,
    VersionError,
    VersionReference,
    VersionState,
)
from model_management.query import ListQuery
from model_management.signature import Signature, TensorSpec
from model_management.signing import SignatureCheck
from servers.registry.transfers import UploadProgress
from servers.runtime.errors import InvalidArgument
from servers.runtime.timestamps import timestamp

_DATATYPE_PREFIX = "DATA_TYPE_"
_VERDICT_PREFIX = "MODEL_SIGNATURE_VERDICT_"
_STAGE_PREFIX = "MODEL_STAGE_"
_STATE_PREFIX = "MODEL_VERSION_STATE_"


class _ListRequest(Protocol):
    """What every list request has."""

    filter: str
    order_by: str
    page_size: int
    page_token: str


def query_from_proto(request: _ListRequest, project: str, model: str = "") -> ListQuery:
    """Reads which page of which list is wanted."""
    return ListQuery(
        projects=frozenset({project}),
        model=model,
        filter=request.filter,
        order_by=request.order_by,
        page_size=request.page_size,
        page_token=request.page_token,
        include_deleted=getattr(request, "show_deleted", False),
    )


def artifact_upload_from_proto(
    requests: Iterator[registry_service_pb2.UploadArtifactRequest],
) -> tuple[registry_service_pb2.UploadArtifactRequest, Iterator[bytes]]:
    """Reads the first message, which says where the file belongs, and gives the bytes of it and all others."""
    first = _first(requests)
    return first, (message.body.data for message in chain((first,), requests))


def blob_upload_from_proto(
    requests: Iterator[registry_service_pb2.UploadBlobRequest],
) -> tuple[registry_service_pb2.UploadBlobRequest, Iterator[bytes]]:
    """Reads the first message, which says which upload goes on, and gives the bytes of it and all others."""
    first = _first(requests)
    return first, (message.body.data or message.data for message in chain((first,), requests))


def model_to_proto(model: RegisteredModel) -> model_pb2.Model:
    """Gives a model as the contract has it."""
    return model_pb2.Model(
        name=model.name,
        project=model.project,
        display_name=model.display_name,
        description=model.description,
        tags=model.tags,
        aliases=model.aliases,
        latest_version=model.latest_version,
        version_count=model.version_count,
        create_time=timestamp(model.create_time),
        update_time=timestamp(model.update_time),
        delete_time=timestamp(model.delete_time),
        creator=model.creator,
        etag=model.etag,
    )


def new_model_from_proto(message: model_pb2.Model) -> NewModel:
    """Reads what a caller says about a model that is to be created."""
    return NewModel(display_name=message.display_name, description=message.description, tags=dict(message.tags))


def model_changes_from_proto(message: model_pb2.Model, paths: frozenset[str]) -> ModelChanges:
    """Reads what a caller wants to change of a model; `paths` are the fields that the update names."""
    return ModelChanges(
        display_name=message.display_name if "display_name" in paths else None,
        description=message.description if "description" in paths else None,
        tags=dict(message.tags) if "tags" in paths else None,
    )


def version_to_proto(version: ModelVersion) -> model_pb2.ModelVersion:
    """Gives a version as the contract has it."""
    return model_pb2.ModelVersion(
        model=version.model,
        version=version.version,
        project=version.project,
        state=state_to_proto(version.state),
        error=_version_error_to_proto(version.error),
        description=version.description,
        tags=version.tags,
        stage=stage_to_proto(version.stage),
        aliases=version.aliases,
        format=version.format,
        files=[file_to_proto(file) for file in version.files],
        digest=version.digest,
        size_bytes=version.size_bytes,
        signature=signature_to_proto(version.signature) if version.signature is not None else None,
        onnx_path=version.onnx_path,
        metrics=version.metrics,
        parameters=version.parameters,
        lineage=lineage_to_proto(version.lineage),
        model_card=version.model_card,
        create_time=timestamp(version.create_time),
        update_time=timestamp(version.update_time),
        delete_time=timestamp(version.delete_time),
        creator=version.creator,
        etag=version.etag,
    )


def new_version_from_proto(message: model_pb2.ModelVersion) -> NewVersion:
    """Reads what a caller says about a version that is to be created."""
    return NewVersion(
        description=message.description,
        tags=dict(message.tags),
        format=message.format or "folder",
        files=tuple(file_from_proto(file) for file in message.files),
        signature=signature_from_proto(message.signature) if message.HasField("signature") else None,
        onnx_path=message.onnx_path,
        metrics=dict(message.metrics),
        parameters=dict(message.parameters),
        lineage=lineage_from_proto(message.lineage),
        model_card=message.model_card,
    )


def version_changes_from_proto(message: model_pb2.ModelVersion, paths: frozenset[str]) -> VersionChanges:
    """Reads what a caller wants to change of a version; `paths` are the fields that the update names."""
    return VersionChanges(
        description=message.description if "description" in paths else None,
        tags=dict(message.tags) if "tags" in paths else None,
        metrics=dict(message.metrics) if "metrics" in paths else None,
        parameters=dict(message.parameters) if "parameters" in paths else None,
        model_card=message.model_card if "model_card" in paths else None,
    )


def file_to_proto(file: FileEntry) -> model_pb2.ModelFile:
    """Gives a file as the contract has it."""
    return model_pb2.ModelFile(path=file.path, digest=file.digest, size_bytes=file.size_bytes)


def file_from_proto(message: model_pb2.ModelFile) -> FileEntry:
    """Reads a file."""
    return FileEntry(path=message.path, digest=message.digest, size_bytes=message.size_bytes)


def lineage_to_proto(lineage: Lineage) -> model_pb2.Lineage:
    """Gives a lineage as the contract has it."""
    return model_pb2.Lineage(
        datasets=[model_pb2.DatasetReference(name=item.name, uri=item.uri, digest=item.digest) for item in lineage.datasets],
        run_id=lineage.run_id,
        code_repository=lineage.code_repository,
        code_commit=lineage.code_commit,
        parents=[reference_to_proto(parent) for parent in lineage.parents],
    )


def lineage_from_proto(message: model_pb2.Lineage) -> Lineage:
    """Reads a lineage."""
    return Lineage(
        datasets=tuple(DatasetReference(item.name, item.uri, item.digest) for item in message.datasets),
        run_id=message.run_id,
        code_repository=message.code_repository,
        code_commit=message.code_commit,
        parents=tuple(VersionReference(parent.model, parent.version) for parent in message.parents),
    )


def reference_to_proto(reference: VersionReference) -> model_pb2.ModelVersionReference:
    """Gives a reference to a version as the contract has it."""
    return model_pb2.ModelVersionReference(model=reference.model, version=reference.version)


def lineage_graph_to_proto(graph: LineageGraph) -> registry_service_pb2.ModelVersionLineage:
    """Gives where a version stands among others as the contract has it."""
    return registry_service_pb2.ModelVersionLineage(
        lineage=lineage_to_proto(graph.lineage),
        ancestors=[_edge_to_proto(edge) for edge in graph.ancestors],
        descendants=[_edge_to_proto(edge) for edge in graph.descendants],
    )


def signature_to_proto(signature: Signature) -> tensor_pb2.Signature:
    """Gives a signature as the contract has it."""
    return tensor_pb2.Signature(
        inputs=[_spec_to_proto(spec) for spec in signature.inputs],
        outputs=[_spec_to_proto(spec) for spec in signature.outputs],
    )


def signature_from_proto(message: tensor_pb2.Signature) -> Signature:
    """Reads a signature."""
    return Signature(
        inputs=tuple(_spec_from_proto(spec) for spec in message.inputs),
        outputs=tuple(_spec_from_proto(spec) for spec in message.outputs),
    )


def upload_to_proto(upload: UploadProgress) -> registry_service_pb2.Upload:
    """Gives where an upload stands as the contract has it."""
    return registry_service_pb2.Upload(
        id=upload.upload_id,
        digest=upload.digest,
        size_bytes=upload.size_bytes,
        offset_bytes=upload.offset_bytes,
        complete=upload.is_complete,
    )


def verification_to_proto(verification: Verification) -> registry_service_pb2.VerifyModelVersionResponse:
    """Gives what a check of all files found as the contract has it."""
    return registry_service_pb2.VerifyModelVersionResponse(
        intact=verification.is_intact,
        damaged_paths=verification.damaged_paths,
        signed=verification.is_signed,
        signature=signature_check_to_proto(verification.signature),
    )


def signature_check_to_proto(check: SignatureCheck) -> registry_service_pb2.ModelSignatureCheck:
    """Gives whether and by whom a version is signed as the contract has it."""
    return registry_service_pb2.ModelSignatureCheck(
        verdict=registry_service_pb2.ModelSignatureVerdict.Value(_VERDICT_PREFIX + check.verdict.name),
        key_fingerprint=check.key_fingerprint,
        claimed_key_fingerprint=check.claimed_key_fingerprint,
        signed_model=check.signed_model,
        mismatched_paths=check.mismatched_paths,
        problem=check.problem,
    )


def comparison_to_proto(comparison: Comparison) -> registry_service_pb2.CompareModelVersionsResponse:
    """Gives two versions side by side as the contract has them."""
    return registry_service_pb2.CompareModelVersionsResponse(
        differences=[
            registry_service_pb2.Difference(field=item.field, value=item.value, other_value=item.other_value)
            for item in comparison.differences
        ],
        signature_compatible=comparison.is_signature_compatible,
    )


def garbage_to_proto(report: GarbageReport) -> registry_service_pb2.CollectGarbageResponse:
    """Gives what a garbage collection did as the contract has it."""
    return registry_service_pb2.CollectGarbageResponse(
        removed_blob_count=report.removed_blob_count, freed_bytes=report.freed_bytes, purged_version_count=report.purged_version_count
    )


def statistics_to_proto(statistics: Statistics) -> registry_service_pb2.ModelStatistics:
    """Gives counts as the contract has them."""
    return registry_service_pb2.ModelStatistics(
        model_count=statistics.model_count,
        version_count=statistics.version_count,
        total_size_bytes=statistics.total_size_bytes,
        versions_by_stage=statistics.versions_by_stage,
        versions_by_format=statistics.versions_by_format,
    )


def stage_to_proto(stage: Stage) -> model_pb2.ModelStage.ValueType:
    """Gives a stage as the contract has it."""
    return model_pb2.ModelStage.Value(_STAGE_PREFIX + stage.name)


def stage_from_proto(stage: model_pb2.ModelStage.ValueType) -> Stage:
    """Reads a stage; unspecified is none."""
    return Stage[model_pb2.ModelStage.Name(stage).removeprefix(_STAGE_PREFIX)] if stage else Stage.NONE


def state_to_proto(state: VersionState) -> model_pb2.ModelVersionState.ValueType:
    """Gives the state of a version as the contract has it."""
    return model_pb2.ModelVersionState.Value(_STATE_PREFIX + state.name)


_Message = TypeVar("_Message")


def _first(requests: Iterator[_Message]) -> _Message:
    first = next(requests, None)
    if first is None:
        raise InvalidArgument("The stream ended before its first message, which says what is uploaded.", reason="STREAM_EMPTY")
    return first


def _spec_to_proto(spec: TensorSpec) -> tensor_pb2.TensorSpec:
    return tensor_pb2.TensorSpec(name=spec.name, datatype=tensor_pb2.DataType.Value(_DATATYPE_PREFIX + spec.datatype), shape=spec.shape)


def _spec_from_proto(message: tensor_pb2.TensorSpec) -> TensorSpec:
    return TensorSpec(message.name, tensor_pb2.DataType.Name(message.datatype).removeprefix(_DATATYPE_PREFIX), tuple(message.shape))


def _edge_to_proto(edge: LineageEdge) -> registry_service_pb2.LineageEdge:
    return registry_service_pb2.LineageEdge(parent=reference_to_proto(edge.parent), child=reference_to_proto(edge.child))


def _version_error_to_proto(error: VersionError | None) -> status_pb2.Status | None:
    return status_pb2.Status(code=code_pb2.DATA_LOSS, message=f"{error.reason}: {error.message}") if error is not None else None
