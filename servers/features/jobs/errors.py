"""What can be wrong with training sets and materialisations."""

from __future__ import annotations

import grpc

from servers.features.offline.errors import InvalidTrainingSet
from servers.runtime.data_process.errors import OperationFailed
from servers.runtime.errors import DomainError, FailedPrecondition, NotFound

_TRAINING_SET = "mlops.features.v1.TrainingSet"
_MATERIALIZATION = "mlops.features.v1.Materialization"


class TrainingSetNotFound(NotFound):
    """There is no such training set, or it is another project's."""

    reason = "TRAINING_SET_NOT_FOUND"

    def __init__(self, training_set_id: str, project: str = "") -> None:
        where = f" in project {project!r}" if project else ""
        super().__init__(
            f"there is no training set {training_set_id!r}{where}; ListTrainingSets lists those that there are",
            metadata={"id": training_set_id} | ({"project": project} if project else {}),
            resource=(_TRAINING_SET, training_set_id),
        )


class MaterializationNotFound(NotFound):
    """There is no such materialisation, or it is another project's."""

    reason = "MATERIALIZATION_NOT_FOUND"

    def __init__(self, materialization_id: str, project: str = "") -> None:
        where = f" in project {project!r}" if project else ""
        super().__init__(
            f"there is no materialisation {materialization_id!r}{where}; ListMaterializations lists those that there are",
            metadata={"id": materialization_id} | ({"project": project} if project else {}),
            resource=(_MATERIALIZATION, materialization_id),
        )


class InvalidSpine(InvalidTrainingSet):
    """The spine does not have what the features need.

    Args:
        field: Path of the field of the request.
        message: What is wrong, what is allowed and what to do.
    """

    reason = "INVALID_SPINE"

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}", field_violations=[(field, message)], metadata={"field": field})


class ViewHasNoRows(FailedPrecondition):
    """The dataset of a view is made by its first rows, and there were none."""

    reason = "FEATURE_VIEW_HAS_NO_ROWS"

    def __init__(self, view: str, dataset: str) -> None:
        message = f"the feature view {view!r} has no rows, its dataset {dataset!r} does not exist yet; push some, or materialise the view"
        super().__init__(message, metadata={"view": view, "dataset": dataset}, preconditions=[("FEATURE_VIEW", view, message)])


class ViewMaterializes(FailedPrecondition):
    """A view whose materialisation has not ended cannot be deleted: it would write vectors that nobody expects."""

    reason = "FEATURE_VIEW_MATERIALIZES"

    def __init__(self, view: str, materialization_id: str) -> None:
        message = f"the feature view {view!r} is materialised by {materialization_id}, which is about to end; repeat the call"
        super().__init__(message, metadata={"view": view, "id": materialization_id}, preconditions=[("FEATURE_VIEW", view, message)])


class FeatureJobTimedOut(DomainError):
    """An attempt took longer than it may."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED
    reason = "FEATURE_JOB_TIMED_OUT"

    def __init__(self, timeout_s: float) -> None:
        super().__init__(
            f"the attempt was not over after {timeout_s:g} s (MLMESH_FEATURES_JOB_TIMEOUT_S); give it less to do, or allow more",
            metadata={"timeout_s": f"{timeout_s:g}"},
        )


class ComputationFailed(OperationFailed):
    """The processing job failed. Another attempt here would find the same job, so there is none."""

    @classmethod
    def of(cls, error: DomainError, job_id: str) -> ComputationFailed:
        """Makes the error of a job."""
        text = f"the processing job {job_id} failed: {error.message}"
        return cls(error.code.name, error.reason, text, metadata={**error.metadata, "processing_job_id": job_id})


class ComputationCancelled(FailedPrecondition):
    """Somebody cancelled the processing job."""

    reason = "PROCESSING_JOB_CANCELLED"

    def __init__(self, job_id: str) -> None:
        message = f"the processing job {job_id} was cancelled by somebody else; ask for it again"
        super().__init__(message, metadata={"processing_job_id": job_id}, preconditions=[("PROCESSING_JOB", job_id, message)])
