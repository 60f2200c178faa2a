"""What is asked for and is not there."""

from __future__ import annotations

from servers.runtime.errors import NotFound


class JobNotFound(NotFound):
    """There is no such job, or it is another project's.

    Args:
        job_id: What was asked for.
        project: Where; empty = anywhere.
    """

    reason = "PROCESSING_JOB_NOT_FOUND"

    def __init__(self, job_id: str, project: str = "") -> None:
        where = f" in project {project!r}" if project else ""
        super().__init__(
            f"there is no processing job {job_id!r}{where}; ListProcessingJobs lists those that there are",
            metadata={"id": job_id} | ({"project": project} if project else {}),
            resource=("mlops.processing.v1.ProcessingJob", job_id),
        )
