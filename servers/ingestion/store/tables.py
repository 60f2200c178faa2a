"""The tables of the ingestion server."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, LargeBinary, MetaData, Table
from sqlalchemy.dialects import mysql

from sql_engine import ExactString, ExactText, JsonText, UtcDateTime

METADATA = MetaData()

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
    # From here on as the task was at its end: tasks are purged long before ingestions.
    Column("start_time", UtcDateTime),
    Column("end_time", UtcDateTime),
    Column("state", ExactString(16), nullable=False),
    Column("rows_read", BigInteger, nullable=False),
    Column("outcome", JsonText),
    Column("error_reason", ExactString(63), nullable=False),
    Column("error_message", ExactText(), nullable=False),
    Index("ingestions_by_create_time", "project", "create_time", "id"),
    Index("ingestions_by_dataset", "project", "dataset", "create_time", "id"),
    Index("ingestions_by_end_time", "end_time"),
)

ingestion_inputs = Table(
    "ingestion_inputs",
    METADATA,
    Column("ingestion_id", ExactString(36), ForeignKey("ingestions.id", ondelete="CASCADE"), primary_key=True),
    Column("part", Integer, primary_key=True, autoincrement=False),
    Column("data", LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb"), nullable=False),
)

uploads = Table(
    "uploads",
    METADATA,
    Column("id", ExactString(36), primary_key=True),
    Column("project", ExactString(63), nullable=False),
    Column("name", ExactString(255), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("expire_time", UtcDateTime, nullable=False),
    # NULL until its bytes have a place.
    Column("blob_id", ExactString(64)),
    Index("uploads_by_project", "project"),
    Index("uploads_by_expire_time", "expire_time"),
)

upload_uses = Table(
    "upload_uses",
    METADATA,
    Column("ingestion_id", ExactString(36), ForeignKey("ingestions.id", ondelete="CASCADE"), primary_key=True),
    Column("upload_id", ExactString(36), ForeignKey("uploads.id"), nullable=False),
    Index("upload_uses_by_upload", "upload_id"),
)

subscriptions = Table(
    "subscriptions",
    METADATA,
    Column("project", ExactString(63), primary_key=True),
    Column("name", ExactString(127), primary_key=True),
    Column("dataset", ExactString(127), nullable=False),
    Column("cluster", ExactString(127), nullable=False),
    Column("consumer_group", ExactString(255), nullable=False),
    Column("mode", ExactString(16), nullable=False),
    # What the worker needs to know beside these.
    Column("request", JsonText, nullable=False),
    Column("creator", ExactString(255), nullable=False),
    Column("create_time", UtcDateTime, nullable=False),
    Column("state", ExactString(16), nullable=False),
    # Of the work since it became active last: what an earlier one still reports counts no more.
    Column("task_id", ExactString(128), nullable=False),
    Column("is_started", Boolean, nullable=False),
    Column("accepts_loss", Boolean, nullable=False),
    # How often work has failed since it last told of something.
    Column("failures", Integer, nullable=False),
    Column("error", JsonText),
    Column("positions", JsonText, nullable=False),
    Column("rows_written", BigInteger, nullable=False),
    Column("rows_rejected", BigInteger, nullable=False),
    Column("rejected", JsonText, nullable=False),
    Column("version", BigInteger),
    Column("update_time", UtcDateTime, nullable=False),
    Index("subscriptions_by_group", "cluster", "consumer_group", unique=True),
    Index("subscriptions_by_dataset", "project", "dataset"),
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
