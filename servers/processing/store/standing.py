"""What waits and what runs, counted and ordered in SQL."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Engine, case, func, or_, select

from servers.processing.records import Job
from servers.processing.store.job_rows import IN_TURN, IS_QUEUED, IS_RUNNING, SHORT, SOURCE
from servers.processing.store.jobs import jobs_of
from servers.processing.store.tables import jobs
from servers.runtime.work.task_rows import tasks


@dataclass(frozen=True)
class EngineLoad:
    """What an engine has to do.

    Args:
        running: Jobs that it runs.
        queued: Jobs that wait for it.
    """

    running: int = 0
    queued: int = 0


class Standing:
    """How the jobs of a project stand.

    Args:
        engine: The component's database.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def loads(self, project: str) -> dict[str, EngineLoad]:
        """Counts jobs by the name of their engine; engines without any are left out."""
        # By one look: a job that begins between two would be in neither.
        counts = [func.sum(case((condition, 1), else_=0)) for condition in (IS_RUNNING, IS_QUEUED)]
        counted = (
            select(jobs.c.engine, *counts)
            .select_from(SOURCE)
            .where(jobs.c.project == project, or_(IS_RUNNING, IS_QUEUED))
            .group_by(jobs.c.engine)
        )
        with self._engine.connect() as connection:
            return {engine: EngineLoad(int(running), int(queued)) for engine, running, queued in connection.execute(counted)}

    def running(self, project: str, most: int) -> list[Job]:
        """Returns jobs that run, the oldest first."""
        return self._found(project, IS_RUNNING, (tasks.c.start_time, jobs.c.id), most)

    def queued(self, project: str, most: int) -> list[Job]:
        """Returns jobs that wait, in the order in which they begin."""
        return self._found(project, IS_QUEUED, IN_TURN, most)

    def _found(self, project: str, condition: object, order: tuple[object, ...], most: int) -> list[Job]:
        query = select(*SHORT).select_from(SOURCE).where(jobs.c.project == project, condition).order_by(*order).limit(most)  # type: ignore[arg-type]
        with self._engine.connect() as connection:
            return jobs_of(connection, connection.execute(query).mappings().all())
