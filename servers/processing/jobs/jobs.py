"""Jobs as their callers handle them: taken, looked at, listed, cancelled, taken again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from mlops.processing.v1.processing_job_pb2 import JobSpec
from sqlalchemy import Connection, Engine

from servers.processing.errors import JobNotRetryable, JobOfPipeline
from servers.processing.jobs.checking import Checking
from servers.processing.records import InputState, Job, NewJob, OutputState, Progress, StateChange
from servers.processing.store import Jobs
from servers.processing.store.errors import JobNotFound
from servers.runtime.auth import Principal
from servers.runtime.effects import effect_id, made_before
from servers.runtime.paging import Listing
from servers.runtime.work import NewTask, TaskTable
from servers.runtime.work.job_state import JobState
from sql_engine import write

KIND = "process"
"""Kind of the tasks."""

# Attempts that fail are counted by the job; those that were lost with their server are not, up to this many.
_LOST_SERVERS = 100


@dataclass(frozen=True)
class JobRequest:
    """A job that somebody wants.

    Args:
        project: Where.
        spec: What it is to do.
        display_name: For people.
        labels: Labels.
        retry_of: The job of which it is a repeat; empty where it is none.
    """

    project: str
    spec: JobSpec
    display_name: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    retry_of: str = ""


class Processing:
    """Takes jobs. Other parts of the server create theirs with `create`, too.

    Args:
        engine: The component's database.
        tasks: Its tasks.
        jobs: What is known of jobs.
        checking: Checks them.
        clock: The time now.
    """

    def __init__(
        self,
        engine: Engine,
        tasks: TaskTable,
        jobs: Jobs,
        checking: Checking,
        clock: Callable[[], datetime],
    ) -> None:
        self._engine = engine
        self._tasks = tasks
        self._jobs = jobs
        self._checking = checking
        self._clock = clock

    def create(
        self,
        request: JobRequest,
        caller: Principal,
        check: Callable[[], None],
        keep_beside: Callable[[Connection, str], object] = lambda _connection, _job_id: None,
    ) -> Job:
        """Checks a job and takes it; a worker does it from now on, whatever becomes of this process.

        Args:
            request: The job.
            caller: Who wants it, with her rights.
            check: Called now and then while it is checked.
            keep_beside: Called with the job's id in the transaction that takes it, for records that have to come into being with it.

        Raises:
            DomainError: What is wrong with it.
        """
        if (before := self.made_before(request.project)) is not None:
            return before
        new = self._checked(request, caller, check)
        most_attempts = new.spec.max_attempts + _LOST_SERVERS

        def keep(connection: Connection) -> None:
            self._jobs.add(connection, new)
            keep_beside(connection, new.id)
            task = NewTask(task_id=new.id, kind=KIND, payload={}, priority=new.spec.priority, max_attempts=most_attempts)
            self._tasks.enqueue(connection, task)

        write(self._engine, keep)
        return self._jobs.get(new.project, new.id)

    def made_before(self, project: str) -> Job | None:
        """Returns the job that an earlier attempt at the current request has taken; see `servers.runtime.effects`."""
        return made_before(lambda job_id: self._jobs.get(project, job_id), JobNotFound)

    def foreseen(self, request: JobRequest, caller: Principal, check: Callable[[], None]) -> Job:
        """Returns a job as it would be taken. It is not kept, so it has no id.

        Raises:
            DomainError: What is wrong with it.
        """
        new = self._checked(request, caller, check)
        return Job(
            id="",
            project=new.project,
            display_name=new.display_name,
            labels=new.labels,
            spec=new.spec,
            state=JobState.QUEUED,
            history=(StateChange(JobState.QUEUED, new.create_time),),
            error=None,
            progress=Progress(),
            inputs=new.inputs,
            outputs=new.outputs,
            attempt=0,
            retry_of=new.retry_of,
            creator=new.creator,
            create_time=new.create_time,
        )

    def retry(self, project: str, job_id: str, caller: Principal, check: Callable[[], None]) -> Job:
        """Takes a job that failed or was cancelled again, over the same versions of its inputs.

        Raises:
            JobNotFound: The project has none of this id.
            JobNotRetryable: It has not ended, or ended well.
            JobOfPipeline: It was a run or a check of a pipeline.
            DomainError: What is wrong with it now.
        """
        job = self._jobs.get(project, job_id)
        if job.state not in (JobState.FAILED, JobState.CANCELLED):
            raise JobNotRetryable(job_id, job.state.value)
        if job.run is not None:
            raise JobOfPipeline(job_id, job.run.pipeline)
        return self.create(JobRequest(project, job.spec, job.display_name, job.labels, job_id), caller, check)

    def get(self, project: str, job_id: str) -> Job:
        """Returns a job.

        Raises:
            JobNotFound: The project has none of this id.
        """
        return self._jobs.get(project, job_id)

    def page(self, project: str, listing: Listing) -> tuple[list[Job], str]:
        """Returns a page of a project's jobs, and the token of the next one."""
        return self._jobs.page(project, listing)

    def cancel(self, project: str, job_id: str) -> Job:
        """Ends a job that waits, and stops one that runs; one that has ended stays as it is.

        Raises:
            JobNotFound: The project has none of this id.
        """
        self._jobs.get(project, job_id)

        def apply(connection: Connection) -> None:
            task = self._tasks.cancel(job_id, connection=connection)
            if task is not None and not task.state.is_terminal:
                self._jobs.note_cancelling(connection, job_id, self._clock())

        write(self._engine, apply)
        return self._jobs.get(project, job_id)

    def _checked(self, request: JobRequest, caller: Principal, check: Callable[[], None]) -> NewJob:
        checked = self._checking.checked(request.spec, request.project, caller, check)
        return NewJob(
            id=effect_id(),
            project=request.project,
            display_name=request.display_name,
            labels=dict(request.labels),
            spec=checked.spec,
            inputs=tuple(InputState(each.name, each.dataset, each.version) for each in checked.spec.inputs),
            outputs=tuple(OutputState(each.step, each.dataset) for each in checked.spec.outputs),
            creator=caller.display_name,
            create_time=self._clock(),
            retry_of=request.retry_of,
        )
