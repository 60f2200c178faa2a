"""Users, roles, credentials, signing keys and the audit log."""

import sqlalchemy as sa
from alembic import op

from sql_engine import ExactString, JsonText, UtcDateTime

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the tables."""
    _create_users()
    _create_roles()
    _create_credentials()
    _create_signing_keys()
    _create_audit_log()
    locks = op.create_table("locks", sa.Column("name", ExactString(32), primary_key=True))
    op.bulk_insert(locks, [{"name": "administrators"}, {"name": "audit"}])


def downgrade() -> None:
    """Drop the tables."""
    for table in (
        *("locks", "audit_events", "signing_keys", "revocations", "refresh_tokens", "sessions", "api_keys"),
        *("role_bindings", "roles", "login_attempts", "user_labels", "users"),
    ):
        op.drop_table(table)


def _create_users() -> None:
    op.create_table(
        "users",
        sa.Column("id", ExactString(36), primary_key=True),
        sa.Column("username", ExactString(128), nullable=False, unique=True),
        sa.Column("login_key", ExactString(64), nullable=False, unique=True),
        sa.Column("display_name", ExactString(255), nullable=False),
        sa.Column("email", ExactString(255), nullable=False),
        sa.Column("kind", ExactString(16), nullable=False),
        sa.Column("is_disabled", sa.Boolean, nullable=False),
        sa.Column("password_hash", ExactString(255)),
        sa.Column("create_time", UtcDateTime, nullable=False),
        sa.Column("update_time", UtcDateTime, nullable=False),
        sa.Column("last_login_time", UtcDateTime, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
    )
    op.create_index("users_by_create_time", "users", ["create_time", "id"])
    op.create_table(
        "user_labels",
        sa.Column("user_id", ExactString(36), sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("key", ExactString(63), primary_key=True),
        sa.Column("value", ExactString(255), nullable=False),
    )
    op.create_table(
        "login_attempts",
        sa.Column("login_key", ExactString(64), primary_key=True),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("last_failure_time", UtcDateTime, nullable=False, index=True),
        sa.Column("lock_expire_time", UtcDateTime),
    )


def _create_roles() -> None:
    op.create_table(
        "roles",
        sa.Column("name", ExactString(63), primary_key=True),
        sa.Column("display_name", ExactString(255), nullable=False),
        sa.Column("permissions", JsonText, nullable=False),
        sa.Column("is_built_in", sa.Boolean, nullable=False),
        sa.Column("create_time", UtcDateTime, nullable=False),
        sa.Column("update_time", UtcDateTime, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
    )
    op.create_table(
        "role_bindings",
        sa.Column("id", ExactString(36), primary_key=True),
        sa.Column("user_id", ExactString(36), sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
        sa.Column("role", ExactString(63), sa.ForeignKey("roles.name"), nullable=False, index=True),
        sa.Column("project", ExactString(63), nullable=False),
        sa.Column("create_time", UtcDateTime, nullable=False),
        sa.UniqueConstraint("user_id", "role", "project", name="one_binding_a_user_role_and_project"),
    )
    op.create_index("role_bindings_by_create_time", "role_bindings", ["create_time", "id"])


def _create_credentials() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", ExactString(32), primary_key=True),
        sa.Column("user_id", ExactString(36), sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("display_name", ExactString(255), nullable=False),
        sa.Column("scopes", JsonText, nullable=False),
        sa.Column("create_time", UtcDateTime, nullable=False),
        sa.Column("expire_time", UtcDateTime),
        sa.Column("last_use_time", UtcDateTime),
        sa.Column("revoke_time", UtcDateTime),
        sa.Column("token_group", ExactString(36), nullable=False, unique=True),
    )
    op.create_index("api_keys_by_create_time", "api_keys", ["create_time", "id"])
    op.create_table(
        "sessions",
        sa.Column("id", ExactString(36), primary_key=True),
        sa.Column("user_id", ExactString(36), sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
        sa.Column("scopes", JsonText, nullable=False),
        sa.Column("create_time", UtcDateTime, nullable=False),
        sa.Column("expire_time", UtcDateTime, nullable=False, index=True),
        sa.Column("revoke_time", UtcDateTime),
        sa.Column("token_group", ExactString(36), nullable=False, unique=True),
    )
    op.create_table(
        "refresh_tokens",
        sa.Column("digest", ExactString(64), primary_key=True),
        sa.Column("session_id", ExactString(36), sa.ForeignKey("sessions.id", ondelete="CASCADE"), nullable=False, index=True),
        sa.Column("expire_time", UtcDateTime, nullable=False, index=True),
        sa.Column("use_time", UtcDateTime),
    )
    op.create_table(
        "revocations",
        sa.Column("token_group", ExactString(36), primary_key=True),
        sa.Column("expire_time", UtcDateTime, nullable=False, index=True),
    )


def _create_signing_keys() -> None:
    op.create_table(
        "signing_keys",
        sa.Column("generation", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("key_id", ExactString(64), nullable=False, unique=True),
        sa.Column("public_jwk", JsonText, nullable=False),
        sa.Column("sealed_private_key", sa.LargeBinary(8192)),
        sa.Column("create_time", UtcDateTime, nullable=False),
        sa.Column("activate_time", UtcDateTime, nullable=False),
        sa.Column("expire_time", UtcDateTime),
    )


def _create_audit_log() -> None:
    op.create_table(
        "audit_events",
        sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("id", ExactString(36), nullable=False, unique=True),
        sa.Column("event_time", UtcDateTime, nullable=False),
        sa.Column("subject", ExactString(255), nullable=False, index=True),
        sa.Column("method", ExactString(255), nullable=False),
        sa.Column("project", ExactString(63), nullable=False),
        sa.Column("resource", ExactString(512), nullable=False),
        sa.Column("status_code", sa.SmallInteger, nullable=False),
        sa.Column("reason", ExactString(63), nullable=False),
        sa.Column("trace_id", ExactString(32), nullable=False),
        sa.Column("hash", ExactString(64), nullable=False),
    )
    op.create_index("audit_events_by_event_time", "audit_events", ["event_time", "sequence"])
