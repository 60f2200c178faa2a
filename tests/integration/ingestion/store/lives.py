"""Ingestions that are brought into a state by the real task table."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, event

from servers.ingestion.records import Ingestion, NewIngestion
from servers.ingestion.store import Ingestions
from servers.runtime.work import Failure, Lease, NewTask, TaskTable
from servers.runtime.work.job_state import JobState
from sql_engine import write
from tests.integration.runtime.work.conftest import Clock

FAILURE = Failure("SOURCE_AWAY", "The source does not answer.")
OUTCOME = {"rows_read": 9, "version": 3, "rejected": [{"row": 2, "column": "größe", "value": "x", "reason": "It is no number."}]}
LEASE_S = 15


@dataclass(frozen=True)
class Lives:
    """Begins ingestions and brings them to an end."""

    engine: Engine
    ingestions: Ingestions
    tasks: TaskTable
    clock: Clock

    def new(self, ingestion_id: str = "one", **fields: Any) -> NewIngestion:
        known: dict[str, Any] = {
            "id": ingestion_id,
            "project": "default",
            "dataset": "flights",
            "source": "s3://bucket/flüge.csv",
            "mode": "APPEND",
            "request": {"source": {"kind": "given"}, "keys": ["größe"], "limit": 2**40},
            "creator": "ada",
            "create_time": self.clock.now,
        }
        return NewIngestion(**known | fields)

    def begin(self, ingestion_id: str = "one", data: bytes | None = None, *, max_attempts: int = 3, **fields: Any) -> NewIngestion:
        """Adds an ingestion with its task, which alone has its kind: so it can be claimed whatever else waits."""
        new = self.new(ingestion_id, **fields)

        def keep(connection: Connection) -> None:
            self.ingestions.add(connection, new, data)
            self.tasks.enqueue(
                connection, NewTask(task_id=ingestion_id, kind=f"ingest-{ingestion_id}", payload={}, max_attempts=max_attempts)
            )

        write(self.engine, keep)
        return new

    def claim(self, ingestion_id: str = "one") -> Lease:
        [lease] = self.tasks.claim("worker", [f"ingest-{ingestion_id}"], lease_s=LEASE_S)
        return lease

    def bring(self, ingestion_id: str, state: JobState) -> None:
        """Brings one that waits into a state."""
        if state is JobState.QUEUED:
            return
        lease = self.claim(ingestion_id)
        if state in (JobState.CANCELLING, JobState.CANCELLED):
            self.tasks.cancel(ingestion_id)
        if state is JobState.SUCCEEDED:
            self.succeed(lease)
        elif state is JobState.FAILED:
            self.tasks.fail(lease, FAILURE)
        elif state is JobState.CANCELLED:
            self.tasks.end_cancelled(lease)

    def succeed(self, lease: Lease) -> None:
        def finish(connection: Connection) -> None:
            self.ingestions.record_outcome(connection, lease.task.task_id, OUTCOME)
            self.tasks.succeed(lease, connection=connection)

        write(self.engine, finish)

    def found(self, ingestion_id: str = "one") -> Ingestion:
        return self.ingestions.get("default", ingestion_id)


@contextmanager
def statements(engine: Engine) -> Iterator[list[str]]:
    """Notes what is executed within a block."""
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", note)
