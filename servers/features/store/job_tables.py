"""The tables of materialisations and training sets."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, LargeBinary, MetaData, Table, UniqueConstraint
from sqlalchemy.dialects import mysql

from sql_engine import ExactString, JsonText, UtcDateTime

METADATA = MetaData()

BYTES = LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb")

materializations = Table(
    "features_materializations",
    METADATA,
    # Also that of its task.
    Column("id", ExactString(36), primary_key=True),
    Column("project", ExactString(63), nullable=False),
    Column("view", ExactString(100), nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("view_version_id", ExactString(36), nullable=False),
    # The version of the view as long as this has not ended: there is one at a time. Null from then on.
    Column("open_view_version_id", ExactString(36)),
    Column("mode", ExactString(16), nullable=False),
    Column("effective_mode", ExactString(16), nullable=False),
    Column("processing_job_id", ExactString(36), nullable=False),
    # Of the dataset, and when it was written; of all attempts.
    Column("dataset_version", BigInteger),
    Column("dataset_time", UtcDateTime),
    Column("error", JsonText),
    Column("creator", ExactString(255), nullable=False),
    Column("create_time", UtcDateTime, nullable=False),
    # From here on as the task was at its end: tasks are purged, materialisations stay longer.
    Column("start_time", UtcDateTime),
    Column("end_time", UtcDateTime),
    Column("state", ExactString(16), nullable=False),
    Column("progress", JsonText),
    UniqueConstraint("open_view_version_id", name="features_materializations_by_open"),
    Index("features_materializations_by_create_time", "project", "create_time", "id"),
    Index("features_materializations_by_view", "project", "view", "create_time"),
    Index("features_materializations_by_end_time", "end_time"),
)

old_generations = Table(
    "features_old_generations",
    METADATA,
    # Name of the vectors in the online store.
    Column("online_name", ExactString(200), primary_key=True),
    Column("view_version_id", ExactString(36), nullable=False),
    # Readers in other processes may know of them until then.
    Column("drop_time", UtcDateTime, nullable=False),
    Index("features_old_generations_by_drop_time", "drop_time"),
    Index("features_old_generations_by_view", "view_version_id"),
)

training_sets = Table(
    "features_training_sets",
    METADATA,
    # Also that of its task.
    Column("id", ExactString(36), primary_key=True),
    Column("project", ExactString(63), nullable=False),
    Column("dataset", ExactString(127), nullable=False),
    Column("feature_service", ExactString(100), nullable=False),
    # TrainingSetSpec, with everything filled in.
    Column("spec", BYTES, nullable=False),
    Column("inputs", JsonText, nullable=False),
    Column("spine_version", BigInteger, nullable=False),
    # What makes it: JobSpec, and how its outputs are read.
    Column("job", BYTES, nullable=False),
    Column("reading", JsonText, nullable=False),
    Column("processing_job_id", ExactString(36), nullable=False),
    Column("dataset_version", BigInteger),
    Column("row_count", BigInteger, nullable=False),
    # A TrainingSet with the leak report and the replay alone; may be long.
    Column("findings", BYTES),
    Column("error", JsonText),
    Column("creator", ExactString(255), nullable=False),
    Column("create_time", UtcDateTime, nullable=False),
    # From here on as the task was at its end.
    Column("start_time", UtcDateTime),
    Column("end_time", UtcDateTime),
    Column("state", ExactString(16), nullable=False),
    Index("features_training_sets_by_create_time", "project", "create_time", "id"),
    Index("features_training_sets_by_end_time", "end_time"),
)

training_set_views = Table(
    "features_training_set_views",
    METADATA,
    Column("training_set_id", ExactString(36), ForeignKey("features_training_sets.id", ondelete="CASCADE"), primary_key=True),
    Column("view_version_id", ExactString(36), primary_key=True),
    # Without a foreign key: a training set stays where its views are deleted.
    Column("view_id", ExactString(36), nullable=False),
    Column("view_version", BigInteger, nullable=False),
    Index("features_training_set_views_by_view", "view_id"),
)
