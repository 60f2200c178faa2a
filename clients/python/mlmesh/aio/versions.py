"""Versions of models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mlops.common.v1 import tensor_pb2
from mlops.registry.v1 import model_pb2, registry_service_pb2

from mlmesh.aio.models import ModelCalls
from mlmesh.aio.pages import Pager
from mlmesh.fields import enum_value, given, mask_of


class VersionCalls(ModelCalls):
    """Calls about versions."""

    async def create_model_version(
        self,
        model: str,
        *,
        files: Sequence[model_pb2.ModelFile] = (),
        description: str = "",
        tags: Mapping[str, str] | None = None,
        format: str = "",
        signature: tensor_pb2.Signature | None = None,
        onnx_path: str = "",
        metrics: Mapping[str, float] | None = None,
        parameters: Mapping[str, str] | None = None,
        lineage: model_pb2.Lineage | None = None,
        model_card: str = "",
        create_model: bool = False,
        project: str = "",
        request_id: str = "",
        timeout_s: float | None = None,
    ) -> model_pb2.ModelVersion:
        """Creates the next version. `push_version` uploads files and calls this.

        Args:
            model: Name of the model.
            files: Its files, each stored already; empty = it is PENDING until `upload_artifact` and `finalize_model_version`.
            description: What is new in it, in Markdown.
            tags: Tags.
            format: Format of its files, for example `sklearn`, `onnx`, `folder`.
            signature: Inputs and outputs.
            onnx_path: Which file is the ONNX form that serving runs.
            metrics: Evaluation results.
            parameters: Hyperparameters and whatever else the format keeps.
            lineage: What it was made from.
            model_card: Model card in Markdown.
            create_model: Whether a model that does not exist is created.
            project: Project; empty = `default`.
            request_id: A UUID; a repeat returns the first answer. Empty = one is made, for retries of this call.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.NotFound: There is no such model.
            mlmesh.errors.FailedPrecondition: A file is not stored.
        """
        version = model_pb2.ModelVersion(
            files=files,
            description=description,
            tags=tags,
            format=format,
            signature=signature,
            onnx_path=onnx_path,
            metrics=metrics,
            parameters=parameters,
            lineage=lineage,
            model_card=model_card,
        )
        request = registry_service_pb2.CreateModelVersionRequest(
            model=model, project=project, version=version, create_model=create_model, request_id=request_id
        )
        return await self._caller.unary(self._stub.CreateModelVersion, request, timeout_s=timeout_s)

    async def get_model_version(
        self, model: str, version: int, *, project: str = "", timeout_s: float | None = None
    ) -> model_pb2.ModelVersion:
        """Returns a version.

        Args:
            model: Name of the model.
            version: Version number.
            project: Project; empty = `default`.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.NotFound: There is none.
        """
        request = registry_service_pb2.GetModelVersionRequest(model=model, version=version, project=project)
        return await self._caller.unary(self._stub.GetModelVersion, request, timeout_s=timeout_s)

    async def resolve_model_version(
        self,
        model: str,
        *,
        version: int = 0,
        alias: str = "",
        stage: str = "",
        project: str = "",
        timeout_s: float | None = None,
    ) -> model_pb2.ModelVersion:
        """Returns the version that an alias, a stage or nothing at all stands for.

        Args:
            model: Name of the model.
            version: Version number; 0 leaves the choice to the others.
            alias: Alias, for example `champion`.
            stage: Stage, for example `production`; the newest version in it.
            project: Project; empty = `default`.
            timeout_s: Deadline, in seconds; None = the connection's.

        Returns:
            The version; without a choice that of the alias `default`, or else the newest.

        Raises:
            mlmesh.errors.NotFound: There is none.
        """
        request = registry_service_pb2.ResolveModelVersionRequest(
            model=model, version=version, alias=alias, stage=enum_value(model_pb2.ModelStage, stage or 0), project=project
        )
        return await self._caller.unary(self._stub.ResolveModelVersion, request, timeout_s=timeout_s)

    def list_model_versions(
        self,
        model: str,
        *,
        filter: str = "",
        order_by: str = "",
        show_deleted: bool = False,
        project: str = "",
        page_size: int = 0,
        timeout_s: float | None = None,
    ) -> Pager[model_pb2.ModelVersion]:
        """Lists the versions of a model, newest first unless ordered otherwise.

        Args:
            model: Name of the model.
            filter: AIP-160 filter, for example `stage = "PRODUCTION"`.
            order_by: Of `version`, `create_time`, `update_time`, each with ` desc` if wanted.
            show_deleted: Whether deleted versions are listed too.
            project: Project; empty = `default`.
            page_size: Most items a page; 0 = 50.
            timeout_s: Deadline of each page, in seconds; None = the connection's.
        """
        request = registry_service_pb2.ListModelVersionsRequest(
            model=model, project=project, filter=filter, order_by=order_by, page_size=page_size, show_deleted=show_deleted
        )
        return Pager(self._caller, self._stub.ListModelVersions, request, "versions", timeout_s)

    async def update_model_version(
        self,
        model: str,
        version: int,
        *,
        description: str | None = None,
        tags: Mapping[str, str] | None = None,
        metrics: Mapping[str, float] | None = None,
        parameters: Mapping[str, str] | None = None,
        model_card: str | None = None,
        project: str = "",
        etag: str = "",
        timeout_s: float | None = None,
    ) -> model_pb2.ModelVersion:
        """Changes what is said of a version; what is None stays. Its files never change.

        Args:
            model: Name of the model.
            version: Version number.
            description: What is new in it, in Markdown.
            tags: All tags it has from now on.
            metrics: All metrics it has from now on.
            parameters: All parameters it has from now on.
            model_card: Model card in Markdown.
            project: Project; empty = `default`.
            etag: The etag last seen; empty = whatever it is now.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.Aborted: The version has changed since `etag`.
        """
        changes = given(description=description, tags=tags, metrics=metrics, parameters=parameters, model_card=model_card)
        changed = model_pb2.ModelVersion(model=model, version=version, project=project, etag=etag, **changes)
        request = registry_service_pb2.UpdateModelVersionRequest(version=changed, update_mask=mask_of(changes))
        return await self._caller.unary(self._stub.UpdateModelVersion, request, timeout_s=timeout_s)

    async def delete_model_version(
        self, model: str, version: int, *, project: str = "", etag: str = "", timeout_s: float | None = None
    ) -> None:
        """Deletes a version; `restore_model_version` undoes it until the retention ends.

        Args:
            model: Name of the model.
            version: Version number.
            project: Project; empty = `default`.
            etag: The etag last seen; empty = whatever it is now.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.FailedPrecondition: An alias points at it.
        """
        request = registry_service_pb2.DeleteModelVersionRequest(model=model, version=version, project=project, etag=etag)
        await self._caller.unary(self._stub.DeleteModelVersion, request, timeout_s=timeout_s)

    async def restore_model_version(
        self, model: str, version: int, *, project: str = "", timeout_s: float | None = None
    ) -> model_pb2.ModelVersion:
        """Undoes `delete_model_version`.

        Args:
            model: Name of the model.
            version: Version number.
            project: Project; empty = `default`.
            timeout_s: Deadline, in seconds; None = the connection's.
        """
        request = registry_service_pb2.RestoreModelVersionRequest(model=model, version=version, project=project)
        return await self._caller.unary(self._stub.RestoreModelVersion, request, timeout_s=timeout_s)

    async def finalize_model_version(
        self, model: str, version: int, *, project: str = "", timeout_s: float | None = None
    ) -> model_pb2.ModelVersion:
        """Verifies the files of a PENDING version and makes it READY.

        Args:
            model: Name of the model.
            version: Version number.
            project: Project; empty = `default`.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.FailedPrecondition: It is not PENDING, or has no files.
        """
        request = registry_service_pb2.FinalizeModelVersionRequest(model=model, version=version, project=project)
        return await self._caller.unary(self._stub.FinalizeModelVersion, request, timeout_s=timeout_s)

    async def set_model_stage(
        self,
        model: str,
        version: int,
        stage: str,
        *,
        archive_others: bool = False,
        project: str = "",
        etag: str = "",
        timeout_s: float | None = None,
    ) -> model_pb2.ModelVersion:
        """Moves a version to a stage.

        Args:
            model: Name of the model.
            version: Version number.
            stage: `none`, `development`, `staging`, `production` or `archived`.
            archive_others: Whether other versions in that stage become ARCHIVED in the same step.
            project: Project; empty = `default`.
            etag: The etag last seen; empty = whatever it is now.
            timeout_s: Deadline, in seconds; None = the connection's.
        """
        request = registry_service_pb2.SetModelStageRequest(
            model=model,
            project=project,
            version=version,
            stage=enum_value(model_pb2.ModelStage, stage),
            archive_others=archive_others,
            etag=etag,
        )
        return await self._caller.unary(self._stub.SetModelStage, request, timeout_s=timeout_s)

    async def get_model_version_lineage(
        self, model: str, version: int, *, project: str = "", timeout_s: float | None = None
    ) -> registry_service_pb2.ModelVersionLineage:
        """Returns what a version was made from, through all generations, and what was made from it.

        Args:
            model: Name of the model.
            version: Version number.
            project: Project; empty = `default`.
            timeout_s: Deadline, in seconds; None = the connection's.
        """
        request = registry_service_pb2.GetModelVersionLineageRequest(model=model, version=version, project=project)
        return await self._caller.unary(self._stub.GetModelVersionLineage, request, timeout_s=timeout_s)

    async def verify_model_version(
        self, model: str, version: int, *, project: str = "", timeout_s: float | None = None
    ) -> registry_service_pb2.VerifyModelVersionResponse:
        """Has the server read every file of a version: which are damaged, and what its signature is worth by the keys it trusts.

        Args:
            model: Name of the model.
            version: Version number.
            project: Project; empty = `default`.
            timeout_s: Deadline, in seconds; None = the connection's.
        """
        request = registry_service_pb2.VerifyModelVersionRequest(model=model, version=version, project=project)
        return await self._caller.unary(self._stub.VerifyModelVersion, request, timeout_s=timeout_s)

    def search_model_versions(
        self, *, filter: str = "", order_by: str = "", project: str = "", page_size: int = 0, timeout_s: float | None = None
    ) -> Pager[model_pb2.ModelVersion]:
        """Searches versions over all models of a project.

        Args:
            filter: AIP-160 filter, for example `metrics.roc_auc > 0.7 AND tags.team = "a"`.
            order_by: Of `model`, `version`, `create_time`, `update_time`, each with ` desc` if wanted.
            project: Project; empty = `default`.
            page_size: Most items a page; 0 = 50.
            timeout_s: Deadline of each page, in seconds; None = the connection's.
        """
        request = registry_service_pb2.SearchModelVersionsRequest(project=project, filter=filter, order_by=order_by, page_size=page_size)
        return Pager(self._caller, self._stub.SearchModelVersions, request, "versions", timeout_s)

    async def compare_model_versions(
        self,
        model: str,
        version: int,
        other_version: int,
        *,
        other_model: str = "",
        project: str = "",
        timeout_s: float | None = None,
    ) -> registry_service_pb2.CompareModelVersionsResponse:
        """Compares two versions.

        Args:
            model: Name of the model.
            version: First version.
            other_version: Second version.
            other_model: Model of the second version; empty = the same.
            project: Project; empty = `default`.
            timeout_s: Deadline, in seconds; None = the connection's.
        """
        request = registry_service_pb2.CompareModelVersionsRequest(
            model=model, project=project, version=version, other_model=other_model, other_version=other_version
        )
        return await self._caller.unary(self._stub.CompareModelVersions, request, timeout_s=timeout_s)
