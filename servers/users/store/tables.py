"""The tables of the users server."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, LargeBinary, MetaData, SmallInteger, Table, UniqueConstraint

from sql_engine import ExactString, JsonText, UtcDateTime

METADATA = MetaData()

NEVER = datetime(1970, 1, 1, tzinfo=UTC)
"""Stands for no time at all where a column cannot be NULL."""

users = Table(
    "users",
    METADATA,
    Column("id", ExactString(36), primary_key=True),
    Column("username", ExactString(128), nullable=False, unique=True),
    # What `login_attempts` are kept under: the attempts of a name exist before, and without, its user.
    Column("login_key", ExactString(64), nullable=False, unique=True),
    Column("display_name", ExactString(255), nullable=False),
    Column("email", ExactString(255), nullable=False),
    Column("kind", ExactString(16), nullable=False),
    Column("is_disabled", Boolean, nullable=False),
    Column("password_hash", ExactString(255)),
    Column("create_time", UtcDateTime, nullable=False),
    Column("update_time", UtcDateTime, nullable=False),
    # `NEVER` until the first login: pages are cut by values of the order, which cannot be NULL.
    Column("last_login_time", UtcDateTime, nullable=False),
    Column("revision", Integer, nullable=False),
    Index("users_by_create_time", "create_time", "id"),
)

user_labels = Table(
    "user_labels",
    METADATA,
    Column("user_id", ExactString(36), ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("key", ExactString(63), primary_key=True),
    Column("value", ExactString(255), nullable=False),
)

login_attempts = Table(
    "login_attempts",
    METADATA,
    Column("login_key", ExactString(64), primary_key=True),
    Column("failures", Integer, nullable=False),
    Column("last_failure_time", UtcDateTime, nullable=False, index=True),
    Column("lock_expire_time", UtcDateTime),
)

roles = Table(
    "roles",
    METADATA,
    Column("name", ExactString(63), primary_key=True),
    Column("display_name", ExactString(255), nullable=False),
    Column("permissions", JsonText, nullable=False),
    Column("is_built_in", Boolean, nullable=False),
    Column("create_time", UtcDateTime, nullable=False),
    Column("update_time", UtcDateTime, nullable=False),
    Column("revision", Integer, nullable=False),
)

role_bindings = Table(
    "role_bindings",
    METADATA,
    Column("id", ExactString(36), primary_key=True),
    Column("user_id", ExactString(36), ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("role", ExactString(63), ForeignKey("roles.name"), nullable=False, index=True),
    Column("project", ExactString(63), nullable=False),
    Column("create_time", UtcDateTime, nullable=False),
    UniqueConstraint("user_id", "role", "project", name="one_binding_a_user_role_and_project"),
    Index("role_bindings_by_create_time", "create_time", "id"),
)

api_keys = Table(
    "api_keys",
    METADATA,
    Column("id", ExactString(32), primary_key=True),
    Column("user_id", ExactString(36), ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("digest", LargeBinary(32), nullable=False),
    Column("display_name", ExactString(255), nullable=False),
    Column("scopes", JsonText, nullable=False),
    Column("create_time", UtcDateTime, nullable=False),
    Column("expire_time", UtcDateTime),
    Column("last_use_time", UtcDateTime),
    Column("revoke_time", UtcDateTime),
    Column("token_group", ExactString(36), nullable=False, unique=True),
    Index("api_keys_by_create_time", "create_time", "id"),
)

sessions = Table(
    "sessions",
    METADATA,
    Column("id", ExactString(36), primary_key=True),
    Column("user_id", ExactString(36), ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("scopes", JsonText, nullable=False),
    Column("create_time", UtcDateTime, nullable=False),
    Column("expire_time", UtcDateTime, nullable=False, index=True),
    Column("revoke_time", UtcDateTime),
    Column("token_group", ExactString(36), nullable=False, unique=True),
)

refresh_tokens = Table(
    "refresh_tokens",
    METADATA,
    Column("digest", ExactString(64), primary_key=True),
    Column("session_id", ExactString(36), ForeignKey("sessions.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("expire_time", UtcDateTime, nullable=False, index=True),
    # Used ones stay until they expire: only so a second use can be told from an invention.
    Column("use_time", UtcDateTime),
)

revocations = Table(
    "revocations",
    METADATA,
    Column("token_group", ExactString(36), primary_key=True),
    Column("expire_time", UtcDateTime, nullable=False, index=True),
)

signing_keys = Table(
    "signing_keys",
    METADATA,
    # Two servers that rotate at the same time make the same generation, and one of them fails.
    Column("generation", Integer, primary_key=True, autoincrement=False),
    Column("key_id", ExactString(64), nullable=False, unique=True),
    Column("public_jwk", JsonText, nullable=False),
    Column("sealed_private_key", LargeBinary(8192)),
    Column("create_time", UtcDateTime, nullable=False),
    Column("activate_time", UtcDateTime, nullable=False),
    Column("expire_time", UtcDateTime),
)

audit_events = Table(
    "audit_events",
    METADATA,
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("id", ExactString(36), nullable=False, unique=True),
    Column("event_time", UtcDateTime, nullable=False),
    Column("subject", ExactString(255), nullable=False, index=True),
    Column("method", ExactString(255), nullable=False),
    Column("project", ExactString(63), nullable=False),
    Column("resource", ExactString(512), nullable=False),
    Column("status_code", SmallInteger, nullable=False),
    Column("reason", ExactString(63), nullable=False),
    Column("trace_id", ExactString(32), nullable=False),
    Column("hash", ExactString(64), nullable=False),
    Index("audit_events_by_event_time", "event_time", "sequence"),
)

locks = Table(
    "locks",
    METADATA,
    # A row to lock where a rule spans rows, such as "one administrator is left". SQLite's writers come one by one anyway.
    Column("name", ExactString(32), primary_key=True),
)

ADMINISTRATORS_LOCK = "administrators"
AUDIT_LOCK = "audit"
