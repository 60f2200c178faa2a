"""What the table of loaded models is made of: entries with a state, and views of them for others to read."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Protocol

from servers.runtime.errors import DomainError
from servers.serving.batch_queue import BatchLimits, ModelQueue, Outputs
from servers.serving.batch_sharing import sharing_of
from servers.serving.errors import ModelLoadFailed
from servers.serving.model_source import SourceVersion
from servers.serving.own_process import OwnProcess
from servers.serving.signature import Signature
from servers.serving.statistics import Statistics, StatisticsView
from servers.serving.tensors import Feeds


class State(Enum):
    """Where a loaded version is in its life."""

    LOADING = "LOADING"
    READY = "READY"
    UNLOADING = "UNLOADING"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class Limits:
    """What the table may hold.

    Args:
        max_models: Versions in memory; the least recently used makes room.
        max_bytes: Size of their files together, likewise.
        max_failed: FAILED entries kept to tell why.
        max_waiting: Calls that wait for a load at the same time.
        load_wait_s: Longest time a call waits for a load, in seconds.
    """

    max_models: int
    max_bytes: int
    max_failed: int
    max_waiting: int
    load_wait_s: float


class Session(Protocol):
    """A model, warmed, wherever it runs."""

    @property
    def signature(self) -> Signature:
        """What it takes and gives."""

    def run(self, feeds: Feeds, outputs: tuple[int, ...] = ()) -> Outputs:
        """Runs it, unless it runs elsewhere."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a load brings.

    Args:
        session: The model, warmed.
        digest: Digest of the file that is run.
        size_bytes: Size of its files.
        statistics: Counts its predictions.
        queue: Calls that wait for it.
        own_process: Where it runs, if not here.
    """

    session: Session
    digest: str
    size_bytes: int
    statistics: Statistics
    queue: ModelQueue
    own_process: OwnProcess | None = None


def loaded_model(
    source: SourceVersion, session: Session, digest: str, size_bytes: int, statistics: Statistics, limits: BatchLimits
) -> Loaded:
    """Gives a session the queue in which its calls wait.

    Args:
        source: The version.
        session: The model, warmed.
        digest: Digest of the file that is run.
        size_bytes: Size of its files.
        statistics: Counts its predictions.
        limits: What a run and the queue may hold.
    """
    name = f"`{source.name}` version {source.version}"
    queue = ModelQueue(name, session.signature, sharing_of(session.signature), session.run, limits, statistics)
    if not isinstance(session, OwnProcess):
        return Loaded(session, digest, size_bytes, statistics, queue)
    queue.elsewhere = session.batches(queue).submit
    return Loaded(session, digest, size_bytes, statistics, queue, session)


class Loader(Protocol):
    """Fetches, checks, loads and warms a version."""

    def __call__(self, version: SourceVersion, reserve: Callable[[int], None]) -> Loaded:
        """Loads; calls `reserve` with the size in bytes once that is known, before memory is taken."""
        ...


@dataclass(eq=False)
class Entry:
    """One version in the table.

    Its mutable fields are written under the table's lock, with two exceptions, because a prediction is not to wait for a lock: `used_at`,
    and `leases`, which is a list instead of a number since adding to a list and taking from it are atomic.
    """

    source: SourceVersion
    state: State = State.LOADING
    loaded: Loaded | None = None
    error: DomainError | None = None
    size_bytes: int = 0
    leases: list[None] = field(default_factory=list)
    used_at: float = 0.0
    started_at: float = 0.0
    load_time: datetime | None = None
    load_duration_s: float = 0.0
    settled: Future[None] = field(default_factory=Future)
    """Done when the version is READY or FAILED."""
    emptied: threading.Event = field(default_factory=threading.Event)

    @property
    def model(self) -> Loaded:
        """What was loaded; for those who hold a lease."""
        assert self.loaded is not None  # noqa: S101  # it stays as long as the lease
        return self.loaded


@dataclass(frozen=True, slots=True)
class ModelView:
    """What can be told of an entry."""

    project: str
    name: str
    version: int
    state: State
    error: str
    digest: str
    size_bytes: int
    signature: Signature | None
    load_time: datetime | None
    load_duration_s: float
    statistics: StatisticsView


def failure_of(entry: Entry) -> DomainError:
    """A fresh exception for each caller, since raising one puts a traceback into it."""
    error = entry.error
    assert error is not None  # noqa: S101  # set together with FAILED
    if isinstance(error, ModelLoadFailed):
        named = f"`{entry.source.name}` version {entry.source.version}"
        text = f"{named} cannot be loaded: {error.message}. Save it anew, or call LoadModel to try again"
        return type(error)(text, preconditions=[("MODEL_LOADS", entry.source.name, error.message)])
    return type(error)(
        error.message,
        metadata=error.metadata,
        field_violations=error.field_violations,
        preconditions=error.preconditions,
        resource=error.resource,
        retry_after_s=error.retry_after_s,
        reason=error.reason,
    )


def view_of(entry: Entry) -> ModelView:
    """What can be told of an entry now."""
    loaded = entry.loaded
    return ModelView(
        project=entry.source.project,
        name=entry.source.name,
        version=entry.source.version,
        state=entry.state,
        error=entry.error.message if entry.error is not None else "",
        digest=loaded.digest if loaded is not None else "",
        size_bytes=entry.size_bytes,
        signature=loaded.session.signature if loaded is not None else None,
        load_time=entry.load_time,
        load_duration_s=entry.load_duration_s,
        statistics=loaded.statistics.view(loaded.queue.sharing.refusal) if loaded is not None else StatisticsView(),
    )
