"""The tables of pipelines."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Table, UniqueConstraint

from servers.processing.store.tables import BYTES, METADATA
from sql_engine import ExactString, ExactText, JsonText, UtcDateTime, exact_float

pipelines = Table(
    "processing_pipelines",
    METADATA,
    # Of this pipeline alone: another one may get its name once it is deleted.
    Column("id", ExactString(36), primary_key=True),
    Column("project", ExactString(63), nullable=False),
    Column("name", ExactString(127), nullable=False),
    Column("display_name", ExactString(255), nullable=False),
    Column("description", ExactText(), nullable=False),
    Column("version", BigInteger, nullable=False),
    # Counts what people changed.
    Column("revision", BigInteger, nullable=False),
    # What its outputs are made of.
    Column("checkpoint", JsonText),
    # At most one run at a time: whoever wants to be it puts its job here where nobody's is.
    Column("running_job_id", ExactString(36), nullable=False),
    Column("creator", ExactString(255), nullable=False),
    Column("create_time", UtcDateTime, nullable=False),
    Column("update_time", UtcDateTime, nullable=False),
    UniqueConstraint("project", "name", name="processing_pipelines_by_name"),
    Index("processing_pipelines_by_job", "running_job_id"),
)

pipeline_labels = Table(
    "processing_pipeline_labels",
    METADATA,
    Column("pipeline_id", ExactString(36), ForeignKey("processing_pipelines.id", ondelete="CASCADE"), primary_key=True),
    Column("key", ExactString(63), primary_key=True),
    Column("value", ExactString(255), nullable=False),
)

pipeline_versions = Table(
    "processing_pipeline_versions",
    METADATA,
    Column("pipeline_id", ExactString(36), ForeignKey("processing_pipelines.id", ondelete="CASCADE"), primary_key=True),
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    # PipelineSpec.
    Column("spec", BYTES, nullable=False),
    Column("full_only_reason", ExactText(), nullable=False),
    Column("creator", ExactString(255), nullable=False),
    Column("create_time", UtcDateTime, nullable=False),
)

pipeline_runs = Table(
    "processing_pipeline_runs",
    METADATA,
    # Runs and checks; they stay as long as their jobs, also where the pipeline is deleted.
    Column("job_id", ExactString(36), ForeignKey("processing_jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("project", ExactString(63), nullable=False),
    Column("pipeline_id", ExactString(36), nullable=False),
    Column("pipeline", ExactString(127), nullable=False),
    Column("pipeline_version", BigInteger, nullable=False),
    Column("is_check", Boolean, nullable=False),
    Column("request", JsonText, nullable=False),
    Column("outcome", JsonText),
    # CheckResult.
    Column("check_result", BYTES),
    Index("processing_pipeline_runs_by_pipeline", "project", "pipeline"),
)

output_quality = Table(
    "processing_output_quality",
    METADATA,
    Column("id", ExactString(36), primary_key=True),
    Column("pipeline_id", ExactString(36), ForeignKey("processing_pipelines.id", ondelete="CASCADE"), nullable=False),
    # Without a reference: it stays where its job is forgotten.
    Column("job_id", ExactString(36), nullable=False),
    Column("dataset", ExactString(127), nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("row_count", BigInteger, nullable=False),
    Column("columns", JsonText, nullable=False),
    Column("create_time", UtcDateTime, nullable=False),
    UniqueConstraint("job_id", "dataset", name="processing_output_quality_by_job"),
    Index("processing_output_quality_by_time", "pipeline_id", "dataset", "create_time"),
)

quality_alerts = Table(
    "processing_quality_alerts",
    METADATA,
    Column("id", ExactString(36), primary_key=True),
    Column("pipeline_id", ExactString(36), ForeignKey("processing_pipelines.id", ondelete="CASCADE"), nullable=False),
    Column("project", ExactString(63), nullable=False),
    Column("pipeline", ExactString(127), nullable=False),
    Column("rule", ExactString(127), nullable=False),
    Column("job_id", ExactString(36), nullable=False),
    Column("dataset", ExactString(127), nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("value", exact_float()),
    Column("message", ExactText(), nullable=False),
    Column("state", ExactString(16), nullable=False),
    Column("create_time", UtcDateTime, nullable=False),
    Column("resolve_time", UtcDateTime),
    Index("processing_quality_alerts_by_time", "project", "create_time", "id"),
    Index("processing_quality_alerts_by_pipeline", "pipeline_id", "state"),
)
