"""Errors of the mesh as exceptions: one class for each gRPC status code, each with the reason, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from mlmesh.feature_jobs import Materialization, TrainingSet
    from mlmesh.ingestions import Ingestion
    from mlmesh.processing_jobs import ProcessingJob


@dataclass(frozen=True)
class FieldViolation:
    """One field of a request that is wrong.

    Args:
        field: Path of the field, for example `model.name`.
        description: What is wrong with it, and what is allowed.
    """

    field: str
    description: str


class MeshError(Exception):
    """What a call to the mesh failed with.

    Args:
        message: What is wrong, as the server says it.
        reason: Stable reason in UPPER_SNAKE_CASE, for example `MODEL_NOT_FOUND`; empty where the server gave none.
        hint: What to do about it; empty where there is nothing to add.
        field_violations: Fields of the request that are wrong.
        metadata: Facts for programs.
        request_id: Identifies the request in the server's log; empty where it did not reach a server.
        retry_after_s: Seconds after which a retry may succeed; None where the server does not say.
    """

    code: ClassVar[str] = "UNKNOWN"
    """Name of the gRPC status code."""

    default_hint: ClassVar[str] = ""

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        hint: str = "",
        field_violations: Sequence[FieldViolation] = (),
        metadata: Mapping[str, str] | None = None,
        request_id: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.hint = hint or self.default_hint
        self.field_violations = tuple(field_violations)
        self.metadata = dict(metadata or {})
        self.request_id = request_id
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        """Returns the message, with the reason and what to do."""
        wrong = [f"  {violation.field}: {violation.description}" for violation in self.field_violations if violation.field]
        # A single violation is the message again, word for word.
        shown = wrong if len(wrong) > 1 or (wrong and self.field_violations[0].description not in self.message) else []
        head = f"{self.message} [{self.reason}]" if self.reason else self.message
        return "\n".join([head, *shown, *([f"  hint: {self.hint}"] if self.hint else [])])


class InvalidArgument(MeshError):
    """The request is wrong whatever the state of the mesh; `field_violations` names the fields."""

    code = "INVALID_ARGUMENT"


class NotFound(MeshError):
    """What the request names does not exist."""

    code = "NOT_FOUND"


class AlreadyExists(MeshError):
    """What the request would create exists."""

    code = "ALREADY_EXISTS"


class FailedPrecondition(MeshError):
    """The state of the mesh forbids it."""

    code = "FAILED_PRECONDITION"


class Aborted(MeshError):
    """Lost against a concurrent change."""

    code = "ABORTED"
    default_hint = "somebody else changed it meanwhile: read it again, and repeat the call with the new etag"


class OutOfRange(MeshError):
    """Beyond the end."""

    code = "OUT_OF_RANGE"


class PermissionDenied(MeshError):
    """The caller is known and may not."""

    code = "PERMISSION_DENIED"
    default_hint = "`mlmesh whoami` shows what you may do; an administrator can bind a role to you"


class Unauthenticated(MeshError):
    """The caller is not known."""

    code = "UNAUTHENTICATED"
    default_hint = "log in with `mlmesh login`, or give a token or an API key (MLMESH_TOKEN, MLMESH_API_KEY)"


class ResourceExhausted(MeshError):
    """A quota, a rate limit or a disk is full."""

    code = "RESOURCE_EXHAUSTED"


class Unavailable(MeshError):
    """The mesh, or something it needs, does not answer."""

    code = "UNAVAILABLE"
    default_hint = "`mlmesh status` shows a mesh on this machine; check the address otherwise"


class DeadlineExceeded(MeshError):
    """It took longer than the caller's time-out. A change may have been made all the same."""

    code = "DEADLINE_EXCEEDED"
    default_hint = "give it longer with timeout_s"


class Cancelled(MeshError):
    """The call was cancelled."""

    code = "CANCELLED"


class Unimplemented(MeshError):
    """The mesh does not have this method."""

    code = "UNIMPLEMENTED"
    default_hint = "the mesh may be older than this client: `mlmesh health` shows its version"


class Internal(MeshError):
    """A mistake in the mesh; its log has the cause under the request id."""

    code = "INTERNAL"


class DataLoss(MeshError):
    """Stored data is damaged, or was damaged on its way."""

    code = "DATA_LOSS"


class Unknown(MeshError):
    """Something else."""

    code = "UNKNOWN"


class IngestionFailed(MeshError):
    """An ingestion that was waited for has failed, or was cancelled; nothing of it is written.

    Args:
        ingestion: It as it ended; `ingestion.error.code` is the status code of its cause.
    """

    code = "FAILED_PRECONDITION"

    def __init__(self, ingestion: Ingestion) -> None:
        what = f"ingestion {ingestion.id} into {ingestion.dataset}"
        if ingestion.error is not None:
            super().__init__(f"{what} failed: {ingestion.error.message}", reason=ingestion.error.reason)
        else:
            ended = "was cancelled" if ingestion.state == "cancelled" else ingestion.state
            super().__init__(f"{what} {ended}", reason=ingestion.state.upper())
        self.ingestion = ingestion


class IngestionUnfinished(DeadlineExceeded):
    """An ingestion took longer than the caller wants to wait. It goes on.

    Args:
        ingestion: It as it was last seen.
    """

    def __init__(self, ingestion: Ingestion) -> None:
        super().__init__(
            f"ingestion {ingestion.id} into {ingestion.dataset} is still {ingestion.state}; it goes on",
            reason="INGESTION_UNFINISHED",
            hint=f"wait on with mesh.ingestion.wait_for_ingestion({ingestion.id!r}), or see `mlmesh data show {ingestion.id}`",
        )
        self.ingestion = ingestion


class ProcessingFailed(MeshError):
    """A processing job that was waited for has failed, or was cancelled.

    Args:
        job: It as it ended; `job.error.code` is the status code of its cause, `job.outputs` has what was written before.
    """

    code = "FAILED_PRECONDITION"

    def __init__(self, job: ProcessingJob) -> None:
        what = f"processing job {job.id}"
        if job.error is not None:
            super().__init__(f"{what} failed: {job.error.message}", reason=job.error.reason)
        else:
            ended = "was cancelled" if job.state == "cancelled" else job.state
            super().__init__(f"{what} {ended}", reason=job.state.upper())
        self.job = job


class ProcessingUnfinished(DeadlineExceeded):
    """A processing job took longer than the caller wants to wait. It goes on.

    Args:
        job: It as it was last seen.
    """

    def __init__(self, job: ProcessingJob) -> None:
        super().__init__(
            f"processing job {job.id} is still {job.state}; it goes on",
            reason="PROCESSING_UNFINISHED",
            hint=f"wait on with mesh.processing.wait_for_processing_job({job.id!r}), or see `mlmesh processing show {job.id}`",
        )
        self.job = job


class FeatureJobFailed(MeshError):
    """A training set or a materialisation that was waited for has failed, or was cancelled.

    Args:
        job: It as it ended; `job.error.code` is the status code of its cause.
    """

    code = "FAILED_PRECONDITION"

    def __init__(self, job: TrainingSet | Materialization) -> None:
        what, _ = _feature_job(job)
        if job.error is not None:
            super().__init__(f"{what} failed: {job.error.message}", reason=job.error.reason)
        else:
            ended = "was cancelled" if job.state == "cancelled" else job.state
            super().__init__(f"{what} {ended}", reason=job.state.upper())
        self.job = job


class FeatureJobUnfinished(DeadlineExceeded):
    """A training set or a materialisation took longer than the caller wants to wait. It goes on.

    Args:
        job: It as it was last seen.
    """

    def __init__(self, job: TrainingSet | Materialization) -> None:
        what, kind = _feature_job(job)
        super().__init__(
            f"{what} is still {job.state}; it goes on",
            reason="FEATURE_JOB_UNFINISHED",
            hint=f"wait on with mesh.features.wait_for_{kind}({job.id!r})",
        )
        self.job = job


def _feature_job(job: TrainingSet | Materialization) -> tuple[str, str]:
    """Returns what a job is, in words and in the names of methods."""
    view = getattr(job, "view", "")
    return (f"materialization {job.id} of {view}", "materialization") if view else (f"training set {job.id}", "training_set")


class NotConnected(MeshError):
    """There is no mesh to connect to: no address was given, and none runs on this machine."""

    code = "UNAVAILABLE"
    default_hint = "start one with `mlmesh up`, or say where it is: mlmesh.connect(url=...) or MLMESH_URL"


ERRORS_BY_CODE: Mapping[str, type[MeshError]] = {
    kind.code: kind
    for kind in (
        *(InvalidArgument, NotFound, AlreadyExists, FailedPrecondition, Aborted, OutOfRange, PermissionDenied, Unauthenticated),
        *(ResourceExhausted, Unavailable, DeadlineExceeded, Cancelled, Unimplemented, Internal, DataLoss, Unknown),
    )
}
"""Class of each gRPC status code by its name."""
