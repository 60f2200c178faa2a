"""The tables of the ingestion server."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, LargeBinary, MetaData, Table
from sqlalchemy.dialects import mysql

from sql_engine import ExactString, ExactText, JsonText, UtcDateTime

METADATA = MetaData()

NOT_ENDED = ""
"""Stands in `ingestions.state` as long as the task says what the state is."""

ingestions = Table(
    "ingestions",
    METADATA,
    # Also that of its task.
    Column("id", ExactString(36), primary_key=True),
    Column("project", ExactString(63), nullable=False),
    Column("dataset", ExactString(127), nullable=False),
    Column("source", ExactString(2048), nullable=False),
    Column("mode", ExactString(16), nullable=False),
    Column("request", JsonText, nullable=False),
    Column("creator", ExactString(255), nullable=False),
    Column("create_time", UtcDateTime, nullable=False),
    # From here on as the task was at its end: tasks are purged, ingestions stay.
    Column("start_time", UtcDateTime),
    Column("end_time", UtcDateTime),
    Column("state", ExactString(16), nullable=False),
    Column("rows_read", BigInteger, nullable=False),
    Column("outcome", JsonText),
    Column("error_reason", ExactString(63), nullable=False),
    Column("error_message", ExactText(), nullable=False),
    Index("ingestions_by_create_time", "project", "create_time", "id"),
    Index("ingestions_by_dataset", "project", "dataset", "create_time", "id"),
)

ingestion_inputs = Table(
    "ingestion_inputs",
    METADATA,
    Column("ingestion_id", ExactString(36), ForeignKey("ingestions.id", ondelete="CASCADE"), primary_key=True),
    Column("part", Integer, primary_key=True, autoincrement=False),
    Column("data", LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb"), nullable=False),
)

datasets = Table(
    "datasets",
    METADATA,
    Column("project", ExactString(63), primary_key=True),
    Column("name", ExactString(127), primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("columns", JsonText, nullable=False),
    Column("row_count", BigInteger, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("create_time", UtcDateTime, nullable=False),
    Column("update_time", UtcDateTime, nullable=False),
    Index("datasets_by_create_time", "project", "create_time", "name"),
    Index("datasets_by_update_time", "project", "update_time", "name"),
)
