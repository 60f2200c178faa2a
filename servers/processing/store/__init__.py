"""All SQL of the processing server: jobs and their logs, in the database that also has their tasks."""

from servers.processing.store.errors import JobNotFound
from servers.processing.store.jobs import Attempt, Jobs
from servers.processing.store.logs import LogPage, Logs
from servers.processing.store.opening import open_store
from servers.processing.store.standing import EngineLoad, Standing

__all__ = ["Attempt", "EngineLoad", "JobNotFound", "Jobs", "LogPage", "Logs", "Standing", "open_store"]
