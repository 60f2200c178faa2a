"""What can be wrong with a pipeline."""

from __future__ import annotations

from servers.processing.errors import InvalidJob
from servers.runtime.errors import Aborted, AlreadyExists, FailedPrecondition, NotFound

_RESOURCE = "mlops.processing.v1.Pipeline"


class InvalidPipeline(InvalidJob):
    """The parts of a pipeline contradict each other."""

    reason = "INVALID_PIPELINE"


class PipelineNotFound(NotFound):
    """There is no such pipeline, or it is another project's."""

    reason = "PIPELINE_NOT_FOUND"

    def __init__(self, project: str, name: str) -> None:
        super().__init__(
            f"there is no pipeline {name!r} in project {project!r}; ListPipelines lists those that there are",
            metadata={"project": project, "name": name},
            resource=(_RESOURCE, name),
        )


class PipelineVersionNotFound(NotFound):
    """A pipeline has not had the version yet."""

    reason = "PIPELINE_VERSION_NOT_FOUND"

    def __init__(self, name: str, version: int, newest: int) -> None:
        super().__init__(
            f"the pipeline {name!r} has no version {version}; its newest is {newest}",
            metadata={"name": name, "version": str(version), "newest_version": str(newest)},
            resource=(_RESOURCE, name),
        )


class PipelineExists(AlreadyExists):
    """The project has a pipeline of the name."""

    reason = "PIPELINE_EXISTS"

    def __init__(self, project: str, name: str) -> None:
        super().__init__(
            f"project {project!r} has a pipeline {name!r} already; change it with UpdatePipeline, or take another name",
            metadata={"project": project, "name": name},
            resource=(_RESOURCE, name),
        )


class PipelineRunning(AlreadyExists):
    """A pipeline is run by one job at a time."""

    reason = "PIPELINE_RUNNING"

    def __init__(self, name: str, job_id: str) -> None:
        super().__init__(
            f"the pipeline {name!r} is run by job {job_id}; wait for its end, or cancel it",
            metadata={"name": name, "job_id": job_id},
            resource=("mlops.processing.v1.ProcessingJob", job_id),
        )


class PipelineInUse(FailedPrecondition):
    """A pipeline that runs cannot be deleted."""

    reason = "PIPELINE_IN_USE"

    def __init__(self, name: str, job_id: str) -> None:
        message = f"the pipeline {name!r} is run by job {job_id}; wait for its end, or cancel it, then delete the pipeline"
        super().__init__(message, metadata={"name": name, "job_id": job_id}, preconditions=[("PIPELINE", name, message)])


class PipelineNotRun(FailedPrecondition):
    """Only outputs that a run has made can be compared."""

    reason = "PIPELINE_NOT_RUN"

    def __init__(self, name: str, why: str) -> None:
        message = f"there is nothing to compare, because {why}; run the pipeline {name!r}"
        super().__init__(message, metadata={"name": name}, preconditions=[("PIPELINE", name, message)])


class PipelineChanged(Aborted):
    """Somebody changed the pipeline between reading it and taking its run."""

    reason = "PIPELINE_CHANGED"

    def __init__(self, name: str) -> None:
        super().__init__(f"the pipeline {name!r} was changed meanwhile; repeat the call", metadata={"name": name})
