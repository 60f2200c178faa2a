"""The tables of the processing server."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, LargeBinary, MetaData, Table
from sqlalchemy.dialects import mysql

from sql_engine import ExactString, ExactText, JsonText, UtcDateTime

METADATA = MetaData()

BYTES = LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb")

jobs = Table(
    "processing_jobs",
    METADATA,
    # Also that of its task.
    Column("id", ExactString(36), primary_key=True),
    Column("project", ExactString(63), nullable=False),
    Column("display_name", ExactString(255), nullable=False),
    Column("engine", ExactString(16), nullable=False),
    Column("priority", Integer, nullable=False),
    # JobSpec, whole, and as lists have it.
    Column("spec", BYTES, nullable=False),
    Column("short_spec", BYTES, nullable=False),
    Column("retry_of", ExactString(36), nullable=False),
    Column("creator", ExactString(255), nullable=False),
    Column("create_time", UtcDateTime, nullable=False),
    Column("history", JsonText, nullable=False),
    Column("inputs", JsonText, nullable=False),
    # What expectations found of inputs, by their name; may be long.
    Column("validations", JsonText, nullable=False),
    Column("outputs", JsonText, nullable=False),
    # Number of the attempt; the next one has the same where the server was lost.
    Column("attempt", Integer, nullable=False),
    Column("failures", Integer, nullable=False),
    # Of whoever works on it; what an attempt that was overtaken writes counts no more.
    Column("attempt_token", ExactString(36), nullable=False),
    Column("error", JsonText),
    # How many lines were logged, also those that are no longer kept.
    Column("log_lines", BigInteger, nullable=False),
    # From here on as the task was at its end: tasks are purged, jobs stay longer.
    Column("start_time", UtcDateTime),
    Column("end_time", UtcDateTime),
    Column("state", ExactString(16), nullable=False),
    Column("progress", JsonText),
    Index("processing_jobs_by_create_time", "project", "create_time", "id"),
    Index("processing_jobs_by_display_name", "project", "display_name", "id"),
    Index("processing_jobs_by_end_time", "end_time"),
    Index("processing_jobs_by_state", "state", "project"),
)

job_labels = Table(
    "processing_job_labels",
    METADATA,
    Column("job_id", ExactString(36), ForeignKey("processing_jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("key", ExactString(63), primary_key=True),
    Column("value", ExactString(255), nullable=False),
)

log_lines = Table(
    "processing_log_lines",
    METADATA,
    Column("job_id", ExactString(36), ForeignKey("processing_jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("time", UtcDateTime, nullable=False),
    Column("level", ExactString(16), nullable=False),
    Column("source", ExactString(255), nullable=False),
    Column("text", ExactText(), nullable=False),
)
