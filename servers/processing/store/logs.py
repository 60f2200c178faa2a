"""Log lines of jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import Connection, Engine, delete, insert, select, update

from servers.processing.log_lines import LogLine
from servers.processing.store.tables import jobs, log_lines
from sql_engine import write


@dataclass(frozen=True)
class LogPage:
    """Lines of a log.

    Args:
        lines: The lines, the oldest first.
        cursor: Number of the last; that from which was asked where there is none.
        cut: Lines between the cursor that was asked for and the first one that are no longer kept.
    """

    lines: tuple[LogLine, ...]
    cursor: int
    cut: int


class Logs:
    """The logs of all jobs. Of each the newest lines are kept: they say why it ended.

    Args:
        engine: The component's database.
        most_lines: Lines that are kept of a job.
    """

    def __init__(self, engine: Engine, most_lines: int) -> None:
        self._engine = engine
        self._most_lines = most_lines

    def append(self, job_id: str, lines: Sequence[LogLine]) -> None:
        """Adds lines to a log, and lets go of the oldest beyond what is kept. A job that is no longer there takes none."""

        def add(connection: Connection) -> None:
            count = connection.execute(select(jobs.c.log_lines).where(jobs.c.id == job_id).with_for_update()).scalar_one_or_none()
            if count is None:
                return
            total = count + len(lines)
            kept = lines[-self._most_lines :]
            first = total - len(kept) + 1
            rows = [{"job_id": job_id, "number": first + place, **asdict(line)} for place, line in enumerate(kept)]
            connection.execute(insert(log_lines), rows)
            if total > self._most_lines:
                old = (log_lines.c.job_id == job_id) & (log_lines.c.number <= total - self._most_lines)
                connection.execute(delete(log_lines).where(old))
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(log_lines=total))

        if lines:
            write(self._engine, add)

    def read(self, job_id: str, after: int, most: int) -> LogPage:
        """Reads lines.

        Args:
            job_id: Whose.
            after: Number of the line before the first; 0 = from the beginning.
            most: Lines at most.
        """
        found = select(log_lines).where(log_lines.c.job_id == job_id, log_lines.c.number > after).order_by(log_lines.c.number).limit(most)
        with self._engine.connect() as connection:
            rows = connection.execute(found).all()
        lines = tuple(LogLine(row.time, row.level, row.source, row.text) for row in rows)
        return LogPage(lines, rows[-1].number if rows else after, rows[0].number - after - 1 if rows else 0)
