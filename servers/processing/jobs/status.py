"""How data processing stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from servers.processing.engines.capabilities import Availability, availability
from servers.processing.engines.kinds import EngineKind, EngineSettings
from servers.processing.jobs.resources import addresses
from servers.processing.records import Job
from servers.processing.settings import ProcessingSettings
from servers.processing.store import EngineLoad, Jobs, Standing

_MOST_JOBS = 100


@dataclass(frozen=True)
class EngineStatus:
    """How an engine stands.

    Args:
        kind: Which.
        availability: Whether it can be used.
        load: Jobs of the project that it has.
    """

    kind: EngineKind
    availability: Availability
    load: EngineLoad


@dataclass(frozen=True)
class ProcessingStatus:
    """How data processing stands in a project.

    Args:
        engines: All of them.
        concurrent_jobs: Jobs that a server runs at the same time.
        running: The oldest first.
        queued: In the order in which they begin.
        job: The one that was asked for.
    """

    engines: Sequence[EngineStatus]
    concurrent_jobs: int
    running: Sequence[Job]
    queued: Sequence[Job]
    job: Job | None


def processing_status(project: str, job_id: str, standing: Standing, jobs: Jobs, settings: ProcessingSettings) -> ProcessingStatus:
    """Says how data processing stands.

    Args:
        project: Whose jobs.
        job_id: A job of which to say it, too; empty = none.
        standing: What waits and runs.
        jobs: What is known of jobs.
        settings: Of the server.

    Raises:
        JobNotFound: The project has none of this id.
    """
    job = jobs.get(project, job_id) if job_id else None
    loads = standing.loads(project)
    where = addresses(settings)
    engines = [
        EngineStatus(kind, availability(kind, EngineSettings(address=where[kind])), loads.get(kind.value, EngineLoad()))
        for kind in EngineKind
    ]
    # In this order, so that one which begins meanwhile is in one of both.
    waiting, running = standing.queued(project, _MOST_JOBS), standing.running(project, _MOST_JOBS)
    begun = {one.id for one in running}
    return ProcessingStatus(engines, settings.concurrent_jobs, running, [one for one in waiting if one.id not in begun], job)
