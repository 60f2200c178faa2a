"""Between the contract of the registry and the values of `model_management`, as a client needs them."""

from __future__ import annotations

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp
from mlops.registry.v1 import model_pb2, registry_service_pb2

from mlmesh.fields import enum_name
from mlmesh.model_files import signature_value
from model_management.catalog import Verification
from model_management.model import (
    DatasetReference,
    FileEntry,
    Lineage,
    LineageEdge,
    LineageGraph,
    ModelVersion,
    NewVersion,
    RegisteredModel,
    Stage,
    Statistics,
    VersionError,
    VersionReference,
    VersionState,
)
from model_management.signing import SignatureCheck, SignatureVerdict


def model_value(message: model_pb2.Model) -> RegisteredModel:
    """Reads a model."""
    return RegisteredModel(
        project=message.project,
        name=message.name,
        create_time=_moment(message.create_time),
        update_time=_moment(message.update_time),
        display_name=message.display_name,
        description=message.description,
        tags=dict(message.tags),
        aliases=dict(message.aliases),
        latest_version=message.latest_version,
        version_count=message.version_count,
        delete_time=_moment(message.delete_time) if message.HasField("delete_time") else None,
        creator=message.creator,
        etag=message.etag,
    )


def version_value(message: model_pb2.ModelVersion) -> ModelVersion:
    """Reads a version."""
    return ModelVersion(
        project=message.project,
        model=message.model,
        version=message.version,
        state=VersionState(enum_name(model_pb2.ModelVersionState, message.state).upper()),
        create_time=_moment(message.create_time),
        update_time=_moment(message.update_time),
        delete_time=_moment(message.delete_time) if message.HasField("delete_time") else None,
        error=_error_value(message),
        description=message.description,
        tags=dict(message.tags),
        stage=Stage(enum_name(model_pb2.ModelStage, message.stage)),
        aliases=tuple(message.aliases),
        format=message.format,
        files=tuple(FileEntry(file.path, file.digest, file.size_bytes) for file in message.files),
        digest=message.digest,
        size_bytes=message.size_bytes,
        signature=signature_value(message.signature),
        onnx_path=message.onnx_path,
        metrics=dict(message.metrics),
        parameters=dict(message.parameters),
        lineage=lineage_value(message.lineage),
        model_card=message.model_card,
        creator=message.creator,
        etag=message.etag,
    )


def files_message(new: NewVersion) -> list[model_pb2.ModelFile]:
    """Gives the files of a new version."""
    return [model_pb2.ModelFile(path=file.path, digest=file.digest, size_bytes=file.size_bytes) for file in new.files]


def lineage_message(lineage: Lineage) -> model_pb2.Lineage:
    """Gives a lineage."""
    return model_pb2.Lineage(
        datasets=[model_pb2.DatasetReference(name=one.name, uri=one.uri, digest=one.digest) for one in lineage.datasets],
        run_id=lineage.run_id,
        code_repository=lineage.code_repository,
        code_commit=lineage.code_commit,
        parents=[model_pb2.ModelVersionReference(model=parent.model, version=parent.version) for parent in lineage.parents],
    )


def lineage_value(message: model_pb2.Lineage) -> Lineage:
    """Reads a lineage."""
    return Lineage(
        datasets=tuple(DatasetReference(one.name, one.uri, one.digest) for one in message.datasets),
        run_id=message.run_id,
        code_repository=message.code_repository,
        code_commit=message.code_commit,
        parents=tuple(map(_reference_value, message.parents)),
    )


def lineage_graph_value(message: registry_service_pb2.ModelVersionLineage) -> LineageGraph:
    """Reads where a version stands among others."""
    return LineageGraph(
        lineage=lineage_value(message.lineage),
        ancestors=tuple(map(_edge_value, message.ancestors)),
        descendants=tuple(map(_edge_value, message.descendants)),
    )


def statistics_value(message: registry_service_pb2.ModelStatistics) -> Statistics:
    """Reads counts."""
    return Statistics(
        model_count=message.model_count,
        version_count=message.version_count,
        total_size_bytes=message.total_size_bytes,
        versions_by_stage=dict(message.versions_by_stage),
        versions_by_format=dict(message.versions_by_format),
    )


def verification_value(message: registry_service_pb2.VerifyModelVersionResponse) -> Verification:
    """Reads what a check of all files found."""
    check = message.signature
    # A server of before or after this client may say less or more; what is not understood is not trusted.
    unknown = SignatureVerdict.UNTRUSTED if message.signed else SignatureVerdict.UNSIGNED
    signature = SignatureCheck(
        verdict=SignatureVerdict.__members__.get(enum_name(registry_service_pb2.ModelSignatureVerdict, check.verdict).upper(), unknown),
        key_fingerprint=check.key_fingerprint,
        claimed_key_fingerprint=check.claimed_key_fingerprint,
        signed_model=check.signed_model,
        mismatched_paths=tuple(check.mismatched_paths),
        problem=check.problem,
    )
    return Verification(tuple(message.damaged_paths), signature)


def _reference_value(message: model_pb2.ModelVersionReference) -> VersionReference:
    return VersionReference(message.model, message.version)


def _edge_value(message: registry_service_pb2.LineageEdge) -> LineageEdge:
    return LineageEdge(_reference_value(message.parent), _reference_value(message.child))


def _error_value(message: model_pb2.ModelVersion) -> VersionError | None:
    if not message.HasField("error"):
        return None
    # The registry writes `REASON: what happened`.
    reason, _, text = message.error.message.partition(": ")
    return VersionError(reason, text) if text else VersionError("FAILED", message.error.message)


def _moment(stamp: Timestamp) -> datetime:
    return stamp.ToDatetime(UTC)
